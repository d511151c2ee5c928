//! Registries: the real one, on loopback, and one that answers as a test wants it to.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Cx;

/// Debian's `docker-registry`, in the test's own folder. It ends with the test.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
}

impl Registry {
    /// Starts one; `more` goes into its configuration.
    pub(crate) fn new(cx: &Cx, name: &str, more: &str) -> Self {
        // The port may be taken by another in between, so there is a second try.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = cx.path(format!("{name}-data"));
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
                folder.display()
            );
            let config = cx.file(&format!("{name}.yml"), config);
            let mut command = cx.command("docker-registry");
            command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && child.try_wait().unwrap().is_none() {
                    return Self { child, host: format!("127.0.0.1:{port}") };
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        panic!("docker-registry does not start");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Told {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The connection breaks after so many bytes of the content.
    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

/// A registry that answers as it is told to, and remembers what it was asked. `None` is no answer at all.
pub(crate) struct Fake {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&Asked, usize) -> Option<Told> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                // A client that goes away in the middle is part of what is tested.
                thread::spawn(move || serve(&stream.unwrap(), &shared, &*answer));
            }
        });
        Self { host, asked }
    }

    /// The requests whose path has `part` in it.
    pub(crate) fn asked(&self, part: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.contains(part)).cloned().collect()
    }
}

fn serve(
    mut stream: &TcpStream,
    shared: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, usize) -> Option<Told>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { method, path, headers, body };
    let number = {
        let mut shared = shared.lock().unwrap();
        shared.push(asked.clone());
        // The how manieth of its kind it is, from 0.
        shared.iter().filter(|one| one.method == asked.method && one.path == asked.path).count() - 1
    };
    let told = answer(&asked, number)?;
    write!(stream, "HTTP/1.1 {} x\r\nConnection: close\r\n", told.status).ok()?;
    if !told.headers.iter().any(|(name, _)| name == "Content-Length") {
        write!(stream, "Content-Length: {}\r\n", told.body.len()).ok()?;
    }
    for (name, value) in &told.headers {
        write!(stream, "{name}: {value}\r\n").ok()?;
    }
    stream.write_all(b"\r\n").ok()?;
    if asked.method != "HEAD" {
        stream.write_all(&told.body[..told.cut.unwrap_or(told.body.len()).min(told.body.len())]).ok()?;
    }
    Some(())
}

/// Makes a root certificate, `DIR/root.crt`, and one for 127.0.0.1 and localhost by it, `DIR/server.crt` and `.key`.
pub(crate) fn certificates(cx: &Cx, dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let run = |args: &str| {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .env("HOME", cx.path("home"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {key} -keyout root.key -out root.crt -days 2 -subj /CN=test-root"));
    run(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    run(
        "x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 -extfile ext -out server.crt",
    );
}
