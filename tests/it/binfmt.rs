//! `binfmt`, in registries of its own and, in one test, in the host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use polyarch::binfmt::{self, Concern, Status};
use polyarch::binfmt::{Form, REGISTRY, Rule};
use polyarch::target::{Catalogue, Platform};

use rustix::process::Signal;

use crate::support::handlers::{
    INSIDE, escaped, executable, handlers, hellos, host_changes, host_stays, in_a_private_registry, work,
    write,
};
use crate::support::{Cx, Ran, ran};

fn concerns<'a>(status: &'a Status, name: &str) -> &'a [Concern] {
    &status.entries.iter().find(|entry| entry.entry.name == name).unwrap().concerns
}

#[test]
fn status_tells_what_serves_and_what_endangers() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry("binfmt::status_tells_what_serves_and_what_endangers", |folder| {
            executable(&folder.join("interpreters/q"), b"#!/bin/sh\n");
            fs::write(folder.join("interpreters/plain"), "").unwrap();
        });
    };
    let registry = folder.join("registry");
    let interpreter = folder.join("interpreters/q").display().to_string();
    let plain = folder.join("interpreters/plain").display().to_string();
    let (mips, mips_mask) = escaped("mips", 40);
    let (old, old_mask) = escaped("mips", 20);
    let (ppc, ppc_mask) = escaped("ppc", 20);
    let (class, class_mask) = escaped("ppc", 7);
    let (_, strict) = ("", "\\xff".repeat(9) + &ppc_mask[36..]);
    let host = &Catalogue::builtin().target(&Platform::host().to_string()).unwrap().qemu.guest;
    let (own, own_mask) = escaped(host, 20);
    for line in [
        format!(":mips:M::{mips}:{mips_mask}:{interpreter}:FP"),
        format!(":gone:M::{ppc}:{ppc_mask}:/no/such/emulator:P"),
        format!(":strict:M::{ppc}:{strict}:{interpreter}:F"),
        format!(":plain:M::{ppc}:{ppc_mask}:{plain}:C"),
        format!(":old:M::{old}:{old_mask}:{interpreter}:OCF"),
        ":jar:E::jar::/usr/bin/jexec:".to_owned(),
        ":text:M:2:ab::/usr/bin/text:".to_owned(),
    ] {
        write(&registry, &line);
    }
    let status = binfmt::status(&registry).unwrap();
    assert!(status.mounted && status.enabled);
    let names: Vec<_> = status.entries.iter().map(|entry| entry.entry.name.to_str().unwrap()).collect();
    assert_eq!(names, ["text", "jar", "old", "plain", "strict", "gone", "mips"]);
    // The old mask takes n32's programs with o32's, and all that the right rule takes.
    assert_eq!(status.entries[2].guests, ["mips", "mipsn32"]);
    assert_eq!(status.entries[6].guests, ["mips"]);
    assert_eq!(status.entries[6].shadowed_by.as_deref(), Some("old".as_ref()));
    assert_eq!(status.entries[4].shadowed_by.as_deref(), Some("plain".as_ref()));
    assert_eq!(status.entries[0].shadowed_by, None);
    assert_eq!(concerns(&status, "mips"), []);
    assert_eq!(concerns(&status, "gone"), [Concern::InterpreterMissing, Concern::NotFixed]);
    assert_eq!(concerns(&status, "strict"), [Concern::Partial { guest: "ppc".into() }]);
    assert_eq!(
        concerns(&status, "plain"),
        [Concern::InterpreterNotExecutable, Concern::NotFixed, Concern::Credentials]
    );
    assert_eq!(concerns(&status, "old"), [Concern::Credentials]);
    assert_eq!(concerns(&status, "text"), [Concern::InterpreterMissing]);
    assert_eq!(status.serving("mips").unwrap().entry.name, "old");
    assert!(status.serving("riscv64").is_none());
    let service = |name: &str| status.targets.iter().find(|service| service.target == name).unwrap();
    assert_eq!(service("routeros/mipsbe").entry.as_deref(), Some("old".as_ref()));
    assert!(service(&Platform::host().to_string()).native);

    // One that is switched off neither serves nor shadows.
    fs::write(registry.join("old"), "0").unwrap();
    let status = binfmt::status(&registry).unwrap();
    assert_eq!(status.serving("mips").unwrap().entry.name, "mips");
    assert_eq!(status.entries[6].shadowed_by, None);

    // These would take this test's own programs, so it starts none from here on.
    write(&registry, &format!(":own:M::{own}:{own_mask}:{interpreter}:F"));
    write(&registry, &format!(":class:M::{class}:{class_mask}:{interpreter}:F"));
    let status = binfmt::status(&registry).unwrap();
    assert!(matches!(concerns(&status, "own"), [Concern::HostPrograms { .. }]));
    assert_eq!(concerns(&status, "class")[0], Concern::CutShort { bytes: 7 });
    assert_eq!(status.serving("ppc").unwrap().entry.name, "class");
    fs::write(registry.join("status"), "0").unwrap();
    let status = binfmt::status(&registry).unwrap();
    assert!(!status.enabled && status.serving("mips").is_none() && status.entries.len() == 9);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["entries"][8]["kind"]["magic"].as_str().unwrap().len(), 80);
    fs::write(registry.join("status"), "-1").unwrap();

    let status = binfmt::status(&folder.join("unmounted")).unwrap();
    assert!(!status.mounted && !status.enabled && status.entries.is_empty());
    assert!(status.targets.iter().all(|service| service.entry.is_none()));
}

/// Root of a namespace whose registry is the private one, with folders of its own where handlers are kept; gives one to work in.
fn as_root_of_a_namespace(folder: &Path) -> PathBuf {
    ran(Command::new("mount").args(["-t", "binfmt_misc", "none", REGISTRY])).success();
    for place in ["/etc/binfmt.d", "/run", "/usr/local"] {
        ran(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "none", place])).success();
    }
    let work = work(folder);
    fs::create_dir_all(work.join("home")).unwrap();
    work
}

fn polyarch(folder: &Path, args: &[&str]) -> Ran {
    ran(Command::new(env!("CARGO_BIN_EXE_polyarch"))
        .args(args)
        .env("HOME", folder.join("home"))
        .current_dir(folder))
}

#[test]
fn handlers_come_and_go_beside_those_of_others() {
    let name = "binfmt::handlers_come_and_go_beside_those_of_others";
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(name, |folder| {
            executable(&folder.join("interpreters/q"), b"#!/bin/sh\n");
            let cx = Cx::new();
            hellos(&cx);
            for name in ["mips", "arm"] {
                fs::copy(cx.path(format!("hello-{name}")), folder.join("programs").join(name)).unwrap();
            }
        });
    };
    let work = as_root_of_a_namespace(&folder);
    let registry = Path::new(REGISTRY);
    let interpreter = folder.join("interpreters/q").display().to_string();
    let (mips, mask) = escaped("mips", 40);
    // Somebody else's: the very rule under another name, an old one under the name of ours, another under a custom one.
    for line in [
        format!(":qemu-mips:M::{mips}:{mask}:{interpreter}:F"),
        format!(":polyarch-ppc:M::{}:{}:{interpreter}:F", escaped("ppc", 19).0, escaped("ppc", 19).1),
        ":foreign:E::foreign::/usr/bin/foreign:".to_owned(),
    ] {
        write(registry, &line);
    }
    let others = handlers();
    for _ in 0..2 {
        let rows = polyarch(
            &folder,
            &["binfmt", "register", "mips", "linux/arm", "routeros/mipsbe", "--format", "json"],
        );
        let rows: serde_json::Value = serde_json::from_str(&rows.success()).unwrap();
        let outcomes: Vec<(&str, &str)> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["name"].as_str().unwrap(), row["outcome"].as_str().unwrap()))
            .collect();
        assert_eq!(outcomes, [("polyarch-arm", "registered"), ("polyarch-mips", "registered")]);
        assert_eq!(ran(&mut Command::new(folder.join("programs/mips"))).success(), "hello from mips\n");
        assert_eq!(ran(&mut Command::new(folder.join("programs/arm"))).success(), "hello from armv7l\n");
        let again = polyarch(&work, &["binfmt", "register", "mips", "arm"]).success();
        assert_eq!(again.matches("unchanged").count(), 2, "{again}");
        let flags = polyarch(&work, &["binfmt", "register", "--flags", "POF", "mips"]).success();
        assert!(flags.contains("replaced"), "{flags}");
        let status = binfmt::status(registry).unwrap();
        assert_eq!(status.serving("mips").unwrap().entry.name, "polyarch-mips");
        assert_eq!(status.serving("mips").unwrap().entry.flags.to_string(), "POF");
        let text = polyarch(&work, &["binfmt", "status"]).success();
        assert!(text.contains("shadowed by   polyarch-mips") && text.contains("routeros/mipsbe"), "{text}");
        let gone = polyarch(&work, &["binfmt", "unregister", "--all"]);
        // That of another under our name stays, and is told.
        let text = gone.failure(2);
        assert!(text.contains("`polyarch-ppc` that is not polyarch's"), "{text}");
        assert_eq!(handlers(), others);
    }
    let refused = polyarch(&work, &["binfmt", "register", "ppc"]).failure(2);
    assert!(
        refused.contains("`polyarch-ppc` that is not polyarch's") && refused.contains("hint:"),
        "{refused}"
    );
    // Under a name that others use, the rule alone does not make an entry ours.
    let refused = polyarch(&work, &["binfmt", "unregister", "mips", "--name-prefix", "qemu-"]).failure(2);
    assert!(refused.contains("`qemu-mips` that is not polyarch's"), "{refused}");
    polyarch(&work, &["binfmt", "register", "arm", "--name-prefix", "qemu-"]).success();
    assert!(registry.join("qemu-arm").exists());
    let out = polyarch(&work, &["binfmt", "unregister", "arm", "--name-prefix", "qemu-"]).success();
    assert!(out.contains("removed"), "{out}");
    assert_eq!(handlers(), others);
    let out = polyarch(&work, &["binfmt", "unregister", "arm"]).success();
    assert!(out.contains("absent"), "{out}");

    let all = polyarch(&work, &["binfmt", "register", "--all", "--name-prefix", "all-"]);
    assert!(all.stderr.contains("`tilegx` is left out"), "{}", all.stderr);
    let all = all.success();
    let own = Catalogue::builtin().target(&Platform::host().to_string()).unwrap();
    for guest in Catalogue::builtin().guests() {
        let there = registry.join(format!("all-{}", guest.name)).exists();
        assert!(!(there && own.runs_natively(&guest.name)), "{all}");
    }
    assert!(all.lines().count() > 25, "{all}");
    polyarch(&work, &["binfmt", "unregister", "--all", "--name-prefix", "all-"]).success();
    assert_eq!(handlers(), others);
    fs::write(registry.join("status"), "-1").unwrap();
}

#[test]
fn persistent_handlers_are_files_and_stable_emulators() {
    let name = "binfmt::persistent_handlers_are_files_and_stable_emulators";
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(name, |_| {});
    };
    let folder = as_root_of_a_namespace(&folder);
    let registry = Path::new(REGISTRY);
    // In a folder that others can write, so it cannot be the emulator of a machine.
    let given = folder.join("qemu");
    fs::copy("/usr/bin/qemu-mips-static", &given).unwrap();
    let out = polyarch(&folder, &["binfmt", "register", "--persistent", "--emulator", "./qemu", "mips"]);
    assert!(out.stderr.contains("neither systemd nor OpenRC") || Path::new("/run/systemd/system").exists());
    let out = out.success();
    let file = Path::new(binfmt::BINFMT_D).join("polyarch-mips.conf");
    let copy = Path::new(binfmt::EMULATORS).join("qemu-mips");
    assert!(out.contains(&*file.to_string_lossy()) && out.contains(&*copy.to_string_lossy()), "{out}");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    assert!(line.starts_with(":polyarch-mips:M::") && line.ends_with("/qemu-mips:PF"), "{line}");
    // As at the next start: the file alone makes the handler, and it is known as ours.
    fs::write(registry.join("polyarch-mips"), "-1").unwrap();
    write(registry, line);
    let again =
        polyarch(&folder, &["binfmt", "register", "--persistent", "--emulator", "./qemu", "mips"]).success();
    assert!(again.contains("unchanged"), "{again}");
    polyarch(&folder, &["binfmt", "unregister", "mips"]).success();
    assert!(!file.exists() && !copy.exists() && !registry.join("polyarch-mips").exists());

    // Somebody's own file is not written over, nor removed.
    fs::write(&file, ":mine:E::x::/bin/x:\n").unwrap();
    let refused =
        polyarch(&folder, &["binfmt", "register", "--persistent", "--emulator", "./qemu", "mips"]).failure(2);
    assert!(refused.contains("was not written by polyarch"), "{refused}");
    assert!(!registry.join("polyarch-mips").exists() && !copy.exists());
    polyarch(&folder, &["binfmt", "unregister", "mips"]).failure(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), ":mine:E::x::/bin/x:\n");
    fs::write(registry.join("status"), "-1").unwrap();
}

#[test]
fn wrong_requests_are_refused_before_the_kernel_is_asked() {
    let cx = Cx::new();
    let _still = host_stays();
    let host = Platform::host().to_string();
    let refused = |args: &[&str]| {
        let ran = ran(cx.as_nobody(env!("CARGO_BIN_EXE_polyarch")).arg("binfmt").args(args));
        ran.failure(2)
    };
    assert!(refused(&["register", &host]).contains("runs the programs of"));
    assert!(refused(&["register", "--flags", "FX", "mips"]).contains("`X` is none of the flags"));
    assert!(refused(&["register", "--name-prefix", "a/b", "mips"]).contains("a prefix begins"));
    assert!(refused(&["register"]).contains("required arguments were not provided"));
    assert!(refused(&["register", "mips", "--all"]).contains("cannot be used with"));
    assert!(refused(&["register", "--emulator", "/bin/true", "mips", "arm"]).contains("several are named"));
    assert!(refused(&["register", "mipz"]).contains("mips"));
    let long = format!("/{}/qemu-{{guest}}", "x".repeat(120));
    assert!(refused(&["export", "--format", "proc", "--interpreter", &long, "mips"]).contains("127 bytes"));
    assert!(refused(&["export", "--format", "proc", "--interpreter", "qemu", "mips"]).contains("absolute"));
    let name = "n".repeat(255);
    assert!(refused(&["export", "--format", "proc", "--name-prefix", &name, "mips"]).contains("255"));
    assert!(refused(&["export", "--format", "proc", "--interpreter", "/q", "--all"]).contains("{guest}"));
    assert!(refused(&["export", "--format", "kubernetes", "mips"]).contains("--image"));
    // An ordinary user is told what can be had instead.
    let unpermitted = refused(&["register", "mips"]);
    assert!(unpermitted.contains("polyarch binfmt exec"), "{unpermitted}");
}

#[test]
fn exports_register_what_register_does() {
    let name = "binfmt::exports_register_what_register_does";
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(name, |_| {});
    };
    let folder = as_root_of_a_namespace(&folder);
    fs::create_dir(folder.join("interpreters")).unwrap();
    let registry = Path::new(REGISTRY);
    let export = |format: &str, more: &[&str]| {
        let args = ["binfmt", "export", "--format", format, "--all", "-o", format];
        polyarch(&folder, &[&args[..], more].concat()).success();
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder.join(format)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    };
    // The emulators of all guests, as far as the kernel looks.
    executable(&folder.join("interpreters/q'x"), b"#!/bin/sh\n");
    for guest in Catalogue::builtin().guests() {
        let path = folder.join(format!("interpreters/q'x-{}", guest.name));
        fs::copy(folder.join("interpreters/q'x"), path).unwrap();
    }
    let pattern = folder.join("interpreters/q'x-{guest}").display().to_string();
    let pattern = ["--interpreter", &*pattern];
    let clear = || fs::write(registry.join("status"), "-1").unwrap();

    let files = export("proc", &pattern);
    for file in &files {
        fs::write(registry.join("register"), fs::read(file).unwrap()).unwrap();
    }
    let expected = handlers();
    assert_eq!(expected.len(), files.len() + 2);
    assert!(files.len() > 28, "{}", files.len());
    clear();

    for file in export("binfmt.d", &pattern) {
        assert_eq!(file.extension().unwrap(), "conf");
        // As systemd-binfmt does: a line is one write.
        for line in fs::read_to_string(file).unwrap().lines() {
            assert_eq!(Rule::parse(line.as_bytes()).unwrap().line(), line.as_bytes());
            write(registry, line);
        }
    }
    assert_eq!(handlers(), expected);
    clear();

    let [file] = &export("kubernetes", &[&pattern[..], &["--image", "example.org/emulators:1"]].concat())[..]
    else {
        panic!("more than one file")
    };
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let json = ran(Command::new("python3").args(["-c", read]).arg(file)).success();
    let set: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((set["kind"].as_str(), set["apiVersion"].as_str()), (Some("DaemonSet"), Some("apps/v1")));
    let pod = &set["spec"]["template"];
    assert_eq!(set["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(pod["spec"]["nodeSelector"]["kubernetes.io/arch"], Platform::host().architecture);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "example.org/emulators:1");
    let command: Vec<&str> =
        container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    // An older entry of one of the names gives way.
    write(registry, ":polyarch-mips:E::x::/bin/x:");
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(&command[1..])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        assert!(line.starts_with("registered: polyarch-"), "{line}");
        assert_eq!(handlers(), expected);
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(handlers().len(), 2, "the pod leaves its handlers behind");
    }
    clear();

    // Debian's own tool takes them into a database of its own.
    let files = export("update-binfmts", &pattern);
    let update = |args: &[&str]| {
        let mut command = Command::new("update-binfmts");
        command
            .arg("--admindir")
            .arg(folder.join("admin"))
            .arg("--importdir")
            .arg(folder.join("update-binfmts"));
        ran(command.args(args)).success()
    };
    fs::create_dir(folder.join("admin")).unwrap();
    update(&["--import"]);
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = update(&["--display", name]);
        let interpreter = folder.join(format!("interpreters/q'x-{}", name.trim_start_matches("polyarch-")));
        assert!(text.contains(&format!("interpreter = {}", interpreter.display())), "{text}");
    }
    update(&["--enable"]);
    assert_eq!(handlers(), expected);
    clear();
}

/// The one test that touches the host's own registry; nothing else may while it does.
#[test]
fn the_hosts_own_registry_is_left_as_it_was() {
    let cx = Cx::new();
    hellos(&cx);
    if !rustix::process::geteuid().is_root() {
        let refused = cx.run(["binfmt", "register", "mips"]).failure(2);
        assert!(refused.contains("polyarch binfmt exec"), "{refused}");
        return;
    }
    let _turn = host_changes();
    let registry = Path::new(REGISTRY);
    let mounted = binfmt::is_mounted(registry);
    if !mounted {
        ran(Command::new("mount").args(["-t", "binfmt_misc", "none", REGISTRY])).success();
    }
    let _unmount = Undo(move || {
        if !mounted {
            let _ = Command::new("umount").arg(REGISTRY).status();
        }
    });
    let first = handlers();
    // Of Debian's tool, by its own way, and of a foreign one by hand. Neither takes what a test runs meanwhile.
    executable(&cx.path("interpreter"), b"#!/bin/sh\n");
    let import = cx.file(
        "import/polytest-debian",
        format!("package polytest\ninterpreter {}\nmagic POLYTEST1\n", cx.path("interpreter").display()),
    );
    fs::create_dir(cx.path("admin")).unwrap();
    let update = |args: &[&str]| {
        let mut command = cx.command("update-binfmts");
        command.arg("--admindir").arg(cx.path("admin")).arg("--importdir").arg(import.parent().unwrap());
        ran(command.args(args)).success();
    };
    let _remove = Undo(|| {
        for name in ["polytest-debian", "polytest-foreign", "polyarch-mips"] {
            let _ = fs::write(registry.join(name), "-1");
        }
    });
    update(&["--import"]);
    update(&["--enable", "polytest-debian"]);
    write(registry, ":polytest-foreign:E::polytest::/usr/bin/polytest:");
    let beside = handlers();
    assert_eq!(beside.len(), first.len() + 2);
    for _ in 0..2 {
        let out = cx.run(["binfmt", "register", "routeros/mipsbe"]).success();
        assert!(out.contains("registered"), "{out}");
        let status: serde_json::Value =
            serde_json::from_str(&cx.run(["binfmt", "status", "--format", "json"]).success()).unwrap();
        let service = |target: &str| {
            let targets = status["targets"].as_array().unwrap().iter();
            targets.clone().find(|service| service["target"] == target).unwrap()["entry"].clone()
        };
        assert_eq!(service("linux/mips"), "polyarch-mips");
        assert_eq!(ran(&mut cx.command("./hello-mips")).success(), "hello from mips\n");
        let out = cx.run(["binfmt", "unregister", "routeros/mipsbe"]).success();
        assert!(out.contains("removed"), "{out}");
        assert_eq!(handlers(), beside);
        let served = binfmt::status(registry).unwrap().serving("mips").is_some();
        assert_ne!(served, does_not_run(&mut cx.command("./hello-mips")));
    }
    update(&["--disable", "polytest-debian"]);
    fs::write(registry.join("polytest-foreign"), "-1").unwrap();
    assert_eq!(handlers(), first);
}

/// Whether the kernel finds nobody who runs the program.
fn does_not_run(command: &mut Command) -> bool {
    matches!(command.output(), Err(err) if err.raw_os_error() == Some(8))
}

/// Done when it goes, however the test ends.
struct Undo<F: Fn()>(F);

impl<F: Fn()> Drop for Undo<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn a_rule_for_the_hosts_own_programs_is_never_installed() {
    let cx = Cx::new();
    let own = &Catalogue::builtin().target(&Platform::host().to_string()).unwrap().qemu.guest;
    let own = Catalogue::builtin().guest(own).unwrap();
    let rule = Rule::for_guest(own, "polyarch-own", "/bin/true", binfmt::Flags::default()).unwrap();
    let refused = binfmt::install(&cx.path("no-registry"), own, &rule);
    assert!(matches!(refused, Err(binfmt::BinfmtError::Rule { .. })), "{refused:?}");
    // What it says is for the user.
    let text = polyarch_error(&refused.unwrap_err());
    assert!(text.contains("/bin/true"), "{text}");
    // `O` alone is nothing that binfmt-support knows.
    let flags = binfmt::Flags { open_binary: true, ..Default::default() };
    let mips = Catalogue::builtin().guest("mips").unwrap();
    let rule = Rule::for_guest(mips, "x", "/q", flags).unwrap();
    assert!(binfmt::export(&Form::UpdateBinfmts, &[rule]).is_err());
}

fn polyarch_error(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(err), |err| err.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// All keys of `value`.
fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        _ => {}
    }
}

/// Each key of the JSON, and each kind of concern, is told in the documentation.
#[test]
fn documented_keys_are_the_keys() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/binfmt.md")).unwrap();
    // A registry of every kind of entry, as the kernel would have one.
    let name = "binfmt::documented_keys_are_the_keys";
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return in_a_private_registry(name, |_| {});
    };
    let registry = folder.join("registry");
    write(&registry, ":magic:M::POLYTEST::/bin/true:F");
    write(&registry, ":extension:E::polytest::/bin/x:");
    let (ppc, mask) = escaped("ppc", 20);
    write(&registry, &format!(":shadowed:M::{ppc}:{mask}:/bin/true:F"));
    write(&registry, &format!(":shadowing:M::{ppc}:{mask}:/bin/true:F"));
    let mut found = std::collections::BTreeSet::new();
    keys(&serde_json::to_value(binfmt::status(&registry).unwrap()).unwrap(), &mut found);
    let all = [
        Concern::HostPrograms { program: "/bin/sh".into() },
        Concern::CutShort { bytes: 7 },
        Concern::InterpreterMissing,
        Concern::InterpreterNotExecutable,
        Concern::NotFixed,
        Concern::Credentials,
        Concern::Partial { guest: "mips".into() },
        Concern::Unknown,
    ];
    for concern in all {
        let value = serde_json::to_value(&concern).unwrap();
        found.insert(value["kind"].as_str().unwrap().to_owned());
        keys(&value, &mut found);
    }
    for outcome in ["Registered", "Replaced", "Unchanged", "Removed", "Absent"] {
        found.insert(outcome.to_lowercase());
    }
    assert!(found.len() > 35, "{found:?}");
    let missing: Vec<&String> = found.iter().filter(|word| !docs.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/binfmt.md does not tell {missing:?}");
    fs::write(registry.join("status"), "-1").unwrap();
}
