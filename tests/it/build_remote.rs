//! What `ADD` takes from an address: files by HTTP, and repositories by git.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use polyarch::build::context::{Remote, RemoteError, Repository, check_out, fetch};
use polyarch::build::{Kind, Match};
use polyarch::containerfile::Ignore;
use polyarch::image::registry::Options;
use polyarch::layer::Digest;
use polyarch::progress::Silent;
use tempfile::TempDir;

use crate::support::http::{Fault, Server};

/// A server that gives these answers, one a connection, and the first lines of what it was asked.
fn server(answers: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let _ = lines.find(String::is_empty);
            let _ = sender.send(first);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (format!("http://{address}"), receiver)
}

fn ok(head: &str, body: &str) -> String {
    format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\nConnection: close\r\n{head}\r\n{body}", body.len())
}

fn options() -> Options {
    Options { pause: Duration::ZERO, tries: 3, ..Options::default() }
}

fn fetched(url: &str, checksum: Option<&str>, folder: &Path) -> Result<Match, RemoteError> {
    fetch(url, checksum, folder, &options(), &Silent)
}

#[test]
fn a_file_has_its_servers_name_and_time_and_is_its_owners() {
    let folder = TempDir::new().unwrap();
    let redirected =
        "HTTP/1.1 302 x\r\nLocation: /other/place\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answers = vec![
        redirected.into(),
        ok("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "text"),
        ok("", "text"),
    ];
    let (url, asked) = server(answers);
    let digest = Digest::of(b"text").to_string();
    let one = fetched(&format!("{url}/a/my%20file.txt?x=/y"), Some(&digest), folder.path()).unwrap();
    assert_eq!(one.path, "my file.txt");
    let entry = &one.entries[0];
    assert_eq!((entry.mode, entry.time), (0o600, (784_111_777, 0)));
    assert_eq!(entry.kind, Kind::File { size: 4, digest: digest.clone() });
    assert_eq!(fs::read(&entry.file).unwrap(), b"text");
    assert_eq!(asked.recv().unwrap(), "GET /a/my%20file.txt?x=/y HTTP/1.1");
    assert_eq!(asked.recv().unwrap(), "GET /other/place HTTP/1.1");
    // The same content is the same to the cache, whatever its time; one without a time has the first of all.
    let other = fetched(&format!("{url}/a/my%20file.txt"), None, folder.path()).unwrap();
    assert_eq!((other.digest(), other.entries[0].time), (one.digest(), (0, 0)));
}

#[test]
fn what_is_not_as_it_should_be_is_told() {
    let folder = TempDir::new().unwrap();
    let files = TempDir::new().unwrap();
    fs::write(files.path().join("f"), "text").unwrap();
    let server = Server::new(files.path());
    let wrong = Digest::of(b"other").to_string();
    let err = fetched(&server.url("f"), Some(&wrong), folder.path()).unwrap_err();
    assert!(matches!(err, RemoteError::Digest { .. }), "{err}");
    assert!(err.hint().unwrap().contains(&Digest::of(b"text").to_string()));
    assert!(matches!(
        fetched(&server.url("f"), Some("md5:0"), folder.path()),
        Err(RemoteError::Checksum { .. })
    ));
    assert!(matches!(
        fetched(&server.url("none"), None, folder.path()),
        Err(RemoteError::Status { status: 404, .. })
    ));
    // What may pass is tried again, and what breaks off is not taken for the whole.
    server.fail("f", [Fault::Status(503), Fault::Truncate(2)]);
    let one = fetched(&server.url("f"), None, folder.path()).unwrap();
    assert_eq!(fs::read(&one.entries[0].file).unwrap(), b"text");
    server.fail("f", [Fault::Truncate(2), Fault::Truncate(2), Fault::Truncate(2)]);
    assert!(matches!(fetched(&server.url("f"), None, folder.path()), Err(RemoteError::Receive { .. })));
    let err = fetched("http://user:hunter2@127.0.0.1:1/f", None, folder.path()).unwrap_err();
    assert!(!format!("{err} {err:?}").contains("hunter2"), "{err:?}");
    let (round, _) = self::server(vec![
        "HTTP/1.1 302 x\r\nLocation: /f\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into();
        10
    ]);
    assert!(matches!(fetched(&format!("{round}/f"), None, folder.path()), Err(RemoteError::Answer { .. })));
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=main", "-C"])
        .arg(folder)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of a repository with two commits, the first of which has the tag `v1`; its address, and both commits.
fn repository(folder: &Path) -> (Server, String, [String; 2]) {
    let work = folder.join("work");
    fs::create_dir_all(work.join("sub")).unwrap();
    git(&work, &["init", "--quiet", "."]);
    let mut commits = Vec::new();
    for text in ["one", "two"] {
        fs::write(work.join("file"), text).unwrap();
        fs::write(work.join("sub/prog"), text).unwrap();
        fs::set_permissions(work.join("sub/prog"), fs::Permissions::from_mode(0o755)).unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "-m", text]);
        commits.push(git(&work, &["rev-parse", "HEAD"]));
    }
    git(&work, &["tag", "v1", &commits[0]]);
    let place = folder.join("place");
    fs::create_dir(&place).unwrap();
    git(folder, &["clone", "--quiet", "--bare", "work", "place/r.git"]);
    let bare = place.join("r.git");
    git(&bare, &["update-server-info"]);
    // git asks for it by this name, and takes it where it is a plain file.
    fs::copy(bare.join("info/refs"), bare.join("info/refs?service=git-upload-pack")).unwrap();
    let server = Server::new(&place);
    let url = server.url("r.git");
    (server, url, [commits[0].clone(), commits[1].clone()])
}

#[test]
fn a_repository_is_taken_at_its_branch_tag_or_commit() {
    let folder = TempDir::new().unwrap();
    let (_server, url, [first, second]) = repository(folder.path());
    let none = Ignore::default();
    let mut number = 0;
    let mut out = |source: &str, checksum: Option<&str>, keep: bool| {
        number += 1;
        let place = folder.path().join(format!("out{number}"));
        fs::create_dir(&place).unwrap();
        let Some(Remote::Repository(repository)) = Remote::of(source) else { panic!("{source}") };
        check_out(&repository, checksum, keep, &none, &place, &Silent).map(|mut it| it.remove(0))
    };
    let paths =
        |one: &Match| one.entries.iter().map(|it| it.path.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let content = |one: &Match, path: &str| {
        let entry = one.entries.iter().find(|it| it.path == path).unwrap();
        fs::read_to_string(&entry.file).unwrap()
    };
    let head = out(&url, None, false).unwrap();
    assert_eq!(paths(&head), ["", "file", "sub", "sub/prog"]);
    assert_eq!(content(&head, "file"), "two");
    assert_eq!(head.entries[3].mode & 0o777, 0o755);
    for (reference, text) in
        [("main", "two"), ("v1", "one"), (first.as_str(), "one"), (second.as_str(), "two")]
    {
        assert_eq!(
            content(&out(&format!("{url}#{reference}"), None, false).unwrap(), "file"),
            text,
            "{reference}"
        );
    }
    let sub = out(&format!("{url}#v1:sub"), Some(&first), false).unwrap();
    assert_eq!((paths(&sub), content(&sub, "prog").as_str()), (vec![String::new(), "prog".into()], "one"));
    assert!(paths(&out(&url, None, true).unwrap()).contains(&".git/HEAD".to_owned()));
    for (source, checksum, told) in [
        (format!("{url}#none"), None, "none"),
        (format!("{url}#--upload-pack=x"), None, "no branch"),
        (format!("{url}#main"), Some(first.as_str()), "where `--checksum` wants"),
        (format!("{url}#main:none"), None, "`none` is not there"),
        (url.replace("r.git", "x.git"), None, "x.git"),
    ] {
        let err = out(&source, checksum, false).unwrap_err().to_string();
        assert!(err.contains(told), "{source}: {err}");
    }
    assert!(Repository::of("https://h/a.git").is_some() && Remote::of("a/b").is_none());
}
