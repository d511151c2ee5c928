//! A web server on loopback that serves a folder, and fails on demand.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One failure of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It answers with this status and no content.
    Status(u16),
    /// It sends so many bytes of the content and hangs up.
    Truncate(usize),
    /// It sends so many bytes of the content and nothing more, but keeps the connection.
    Hang(usize),
    /// It answers rightly, but so much later.
    Delay(Duration),
    /// It hangs up without an answer.
    Refuse,
}

/// One request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    faults: HashMap<String, VecDeque<Fault>>,
    requests: Vec<Request>,
}

/// The server. It ends with the test.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves the files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (folder, shared) = (folder.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (folder, shared) = (folder.clone(), Arc::clone(&shared));
                // A client that goes away in the middle is part of what is tested.
                thread::spawn(move || {
                    let _ = answer(&stream.unwrap(), &folder, &shared);
                });
            }
        });
        Self { address, state }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Makes the next requests for `path` fail, one fault each.
    pub(crate) fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.entry(format!("/{path}")).or_default().extend(faults);
    }

    /// The requests for `path` until now.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let path = format!("/{path}");
        let requests = &self.state.lock().unwrap().requests;
        requests.iter().filter(|request| request.path == path).cloned().collect()
    }
}

fn answer(mut stream: &TcpStream, folder: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.trim().to_owned());
        }
    }
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(Request { path: path.clone(), range: range.clone() });
        state.faults.get_mut(&path).and_then(VecDeque::pop_front)
    };
    if let Some(Fault::Delay(pause)) = fault {
        thread::sleep(pause);
    }
    let file: PathBuf = folder.join(path.trim_start_matches('/').replace("%25", "%"));
    let (status, head, body) = match (fault, fs::read(file)) {
        (Some(Fault::Refuse), _) => return Ok(()),
        (Some(Fault::Status(status)), _) => (status, String::new(), Vec::new()),
        (_, Err(_)) => (404, String::new(), b"no such file".to_vec()),
        (_, Ok(content)) => {
            let from = range
                .as_deref()
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
            match from {
                None => (200, String::new(), content),
                Some(from) if from >= content.len() => (416, String::new(), Vec::new()),
                Some(from) => {
                    let head =
                        format!("Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len());
                    (206, head, content[from..].to_vec())
                }
            }
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n",
        body.len()
    )?;
    match fault {
        Some(Fault::Truncate(count)) => stream.write_all(&body[..count.min(body.len())]),
        Some(Fault::Hang(count)) => {
            stream.write_all(&body[..count.min(body.len())])?;
            // Until the client has enough of it, and no longer than any test.
            stream.set_read_timeout(Some(Duration::from_mins(1)))?;
            let _ = stream.read(&mut [0]);
            Ok(())
        }
        _ => stream.write_all(&body),
    }
}
