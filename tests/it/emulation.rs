//! The ways by which a foreign program reaches its emulator: one table of calls, made on every way by callers of every
//! kind, so that the ways cannot differ.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use polyarch::image::{self, Access, History, ImageConfiguration, ImageRef, NewImage, NewLayer};
use polyarch::layer::{Content, LayerFile};

use crate::support::cc::{Cc, compile};
use crate::support::handlers;
use crate::support::probe::{bundle, is_running, names};
use crate::support::{Cx, Ran, ran};

const SOURCE: &str = include_str!("support/caller.c");

/// (name in the image, compiler, what `uname -m` says): guests of three kinds, and the host's own of two.
const MACHINES: &[(&str, &str, &str)] = &[
    ("amd64", "x86_64-linux-gnu", "x86_64"),
    ("i386", "i686-linux-gnu", "x86_64"),
    ("mips", "mips-linux-gnu", "mips"),
    ("arm", "arm-linux-gnueabihf", "armv7l"),
    ("aarch64", "aarch64-linux-gnu", "aarch64"),
];

/// Those of [`MACHINES`] that the host runs itself.
const NATIVE: &[&str] = &["amd64", "i386"];

/// Ways that need nothing of the host.
const WAYS: [&str; 2] = ["private", "trace"];
/// The way `trace` as it is on kernels where there is no listening to what is executed.
const OLD_TRACE: &str = "trace, before Linux 5.5";

fn program(triple: &str) -> PathBuf {
    compile(&Cc { triple, flags: &["-static", "-s", "-O1", "-w", "-pthread"], source: SOURCE })
}

/// An image of programs for all of the machines, and of scripts that they interpret.
fn mixed(cx: &Cx) -> String {
    let mut files = Vec::new();
    let mut add = |path: &str, mode: u32, content: Content| {
        files.push(LayerFile { path: path.into(), mode, content });
    };
    let text = |text: &str| Content::Bytes(text.as_bytes().to_vec());
    for folder in ["t", "t/folder", "t/closed", "s", "c"] {
        add(folder, 0o755, Content::Folder);
    }
    add("t/text", 0o755, text("echo\n"));
    add("t/nothing", 0o755, text(""));
    add("t/circle", 0o777, Content::Link("circle".into()));
    for (machine, triple, _) in MACHINES {
        let copy = || Content::Copy(program(triple));
        add(&format!("t/{machine}"), 0o755, copy());
        for alias in ["-", "env-", "name-longer-than-fifteen-", "link-"] {
            add(&format!("t/{alias}{machine}"), 0o777, Content::Link(format!("../t/{machine}")));
        }
        add(&format!("t/setuid-{machine}"), 0o4755, copy());
        add(&format!("t/closed/{machine}"), 0o644, copy());
        add(&format!("t/folder/{machine}"), 0o755, Content::Folder);
        add(&format!("c/{machine}"), 0o755, copy());
        let scripts = format!("s/{machine}");
        add(&scripts, 0o755, Content::Folder);
        let mut script = |name: &str, mode: u32, line: &str| {
            add(&format!("{scripts}/{name}"), mode, text(&format!("{line}\n")));
        };
        script("script", 0o755, &format!("#!/t/{machine}"));
        script("argument", 0o755, &format!("#! \t/t/{machine} \t args x "));
        script("1", 0o755, &format!("#!/t/{machine} args"));
        for depth in 2..=6 {
            script(&depth.to_string(), 0o755, &format!("#!/{scripts}/{} n{depth}", depth - 1));
        }
        script("loop", 0o755, &format!("#!/{scripts}/loop"));
        script("near", 0o755, &format!("#!../t/{machine} args"));
        script("env", 0o755, &format!("#!/t/env-{machine} {machine}"));
        script("gone", 0o755, "#!/none");
        script("closed", 0o755, &format!("#!/t/closed/{machine}"));
        script("empty", 0o755, "#! ");
        script("mode", 0o644, &format!("#!/t/{machine}"));
    }
    written(cx, "mixed", files)
}

fn written(cx: &Cx, name: &str, files: Vec<LayerFile>) -> String {
    let config =
        r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config: ImageConfiguration = serde_json::from_str(config).unwrap();
    let layer = NewLayer { files, time: 0 };
    let reference = format!("oci:{}:{name}", cx.path(name).display());
    let image = NewImage { config, layers: vec![(&layer, History::default())] };
    image::write(&image, &reference.parse::<ImageRef>().unwrap(), &Access::default()).unwrap();
    reference
}

fn run(cx: &Cx, way: &str, image: &str, words: &[&str]) -> Ran {
    ran(polyarch(cx, way).arg(image).args(words))
}

/// `run` on that way.
fn polyarch(cx: &Cx, way: &str) -> Command {
    if way != OLD_TRACE {
        let mut command = cx.polyarch();
        command.args(["run", "--emulation", way]);
        return command;
    }
    // The kernel can say that it is 2.6.
    let mut command = cx.command("setarch");
    command.args(["--uname-2.6", env!("CARGO_BIN_EXE_polyarch"), "run", "--emulation", "trace"]);
    command
}

/// What a native caller says of executing `machine`'s programs, by the kernel's documentation and source.
fn expected(caller: &str, machine: &str, uname: &str) -> String {
    let text = include_str!("support/caller.txt").replace("MACHINE", machine).replace("UNAME", uname);
    let own = MACHINES.iter().find(|(name, ..)| *name == caller).unwrap().2;
    let text = text.replace("CALLER", own);
    if !NATIVE.contains(&machine) {
        return text;
    }
    // The host's own programs need no emulator, which counts as one more interpreter.
    let deep = text.lines().find(|line| line.starts_with("scripts as deep")).unwrap();
    let (_, words) = deep.split_once(": ").unwrap();
    let last = format!("[n4] [/s/{machine}/4]");
    let deeper = words.replace(&last, &format!("{last} [n5] [/s/{machine}/5]"));
    let text = text.replace("scripts too deep: ELOOP", &format!("scripts too deep: {deeper}"));
    // Nor does it matter that they cannot be reached by name any more once they run.
    let plain = format!(": {uname} [zero] [args] [] [a b]");
    ["descriptor that closes", "in a folder that closes"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("\n{name}: ENOENT"), &format!("\n{name}{plain}")))
}

/// Shows the first line that differs.
#[track_caller]
fn assert_same(found: &str, expected: &str, what: &str) {
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{what}:\n{found}");
}

#[test]
fn programs_of_the_host_execute_all_others_on_every_way_as_the_kernel_has_it() {
    let cx = Cx::new();
    let image = mixed(&cx);
    // Each from a copy of its own, which nobody else executes: `/t`'s are opened for writing.
    let others = |caller: &str| {
        let is_guest = |machine: &str| !NATIVE.contains(&machine);
        MACHINES
            .iter()
            .filter(move |(machine, ..)| is_guest(machine) || *machine == caller)
            .collect::<Vec<_>>()
    };
    for caller in NATIVE {
        let (path, others) = (format!("/c/{caller}"), others(caller));
        let words: Vec<&str> =
            [path.as_str(), "cases"].into_iter().chain(others.iter().map(|other| other.0)).collect();
        let expected: String =
            others.iter().map(|(machine, _, uname)| expected(caller, machine, uname)).collect();
        for way in WAYS.into_iter().chain([OLD_TRACE]) {
            let out = run(&cx, way, &image, &words).success();
            assert_same(&out, &expected, &format!("{way}: from {caller}"));
        }
    }
}

#[test]
fn guests_execute_all_others_on_every_way_alike() {
    let cx = Cx::new();
    let image = mixed(&cx);
    for (caller, machine) in [("mips", "mips"), ("arm", "aarch64"), ("aarch64", "amd64"), ("aarch64", "arm")]
    {
        let words = [&format!("/c/{caller}"), "cases", machine];
        let transcripts = WAYS.map(|way| run(&cx, way, &image, &words).success());
        for (way, transcript) in WAYS.into_iter().zip(&transcripts) {
            assert_same(transcript, &transcripts[0], &format!("{way}: {machine} from {caller}"));
        }
        // What is not the emulator's own business is as the kernel has it.
        let uname = MACHINES.iter().find(|(name, ..)| *name == machine).unwrap().2;
        let kernel = expected(caller, machine, uname);
        let same = transcripts[1].lines().filter(|line| kernel.lines().any(|other| other == *line)).count();
        assert!(same > 50, "{same} of the lines of {machine} from {caller}");
    }
}

#[test]
fn the_hosts_handlers_do_as_well() {
    let cx = Cx::new();
    let image = mixed(&cx);
    // A namespace of its own stands for the host, so that the host's own registry stays as it is.
    let on_host = |flags: &str, words: &[&str]| {
        let mut script = String::from("set -e; mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; ");
        for guest in ["mips", "arm", "aarch64"] {
            let (magic, mask) = handlers::escaped(guest, usize::MAX);
            let line = format!(":{guest}:M::{magic}:{mask}:/usr/bin/qemu-{guest}-static:{flags}");
            script = [&script, "printf '%s' '", &line, "' >/proc/sys/fs/binfmt_misc/register; "].concat();
        }
        script += "exec \"$@\"";
        let mut command = cx.command("unshare");
        command.args(["-Urm", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_polyarch")]).args(words);
        ran(&mut command)
    };
    let guests = ["mips", "arm", "aarch64"];
    let uname = |machine: &str| MACHINES.iter().find(|(name, ..)| *name == machine).unwrap().2;
    let words = ["run", "--emulation", "host", &image, "/c/amd64", "cases"];
    let words: Vec<&str> = words.into_iter().chain(guests).collect();
    let expected: String = guests.map(|machine| expected("amd64", machine, uname(machine))).concat();
    assert_same(&on_host("PF", &words).success(), &expected, "host");
    // Without `F` the emulator is not there in the container.
    let foreign = bundle(&cx, "mips-linux-gnu", "probe");
    let words = ["run", "--emulation", "host", &foreign];
    assert_eq!(on_host("PF", &words).success(), "uname -m = mips\n");
    let err = on_host("P", &words).failure(125);
    assert!(err.contains("the host has no handler that runs mips") && err.contains("flag `F`"), "{err}");
    // The other ways pass the host's handlers by, wrong as they may be.
    for way in WAYS {
        let words = ["run", "--emulation", way, &image, "/t/amd64", "case", "mips", "plain"];
        assert_eq!(on_host("P", &words).success(), "mips [zero] [args] [] [a b]\n", "{way}");
    }
}

#[test]
fn a_name_that_looks_like_an_option_is_none() {
    let cx = Cx::new();
    let image = mixed(&cx);
    let out = run(&cx, "trace", &image, &["/t/amd64", "case", "mips", "option"]).success();
    assert_eq!(out, "mips [zero] [args] [] [a b]\n");
}

#[test]
fn many_programs_at_once_and_in_a_row() {
    let cx = Cx::new();
    let image = mixed(&cx);
    for way in WAYS {
        for (caller, machine) in [("amd64", "mips"), ("mips", "mips"), ("aarch64", "amd64")] {
            let (caller, program) = (format!("/t/{caller}"), format!("/t/{machine}"));
            let out = run(&cx, way, &image, &[&caller, "storm", "100", &program]).success();
            assert_eq!(out, "100\n", "{way}: {program} from {caller}");
        }
        let out = run(&cx, way, &image, &["/t/amd64", "threads", "/t/arm"]).success();
        assert_eq!(out, "160\n", "{way}");
    }
}

/// What hangs, fails.
fn run_soon(cx: &Cx, way: &str, image: &str, words: &[&str]) -> Ran {
    let command = polyarch(cx, way);
    let mut limited = cx.command("timeout");
    limited.args(["-k", "5", "60"]).arg(command.get_program()).args(command.get_args());
    ran(limited.arg(image).args(words))
}

#[test]
fn threads_that_execute_programs_at_once_end_as_one() {
    let cx = Cx::new();
    let image = mixed(&cx);
    for way in WAYS.into_iter().chain([OLD_TRACE]) {
        for (caller, machine) in [("amd64", "mips"), ("i386", "arm"), ("amd64", "amd64")] {
            let (caller, program) = (format!("/t/{caller}"), format!("/t/{machine}"));
            let out = run_soon(&cx, way, &image, &[&caller, "race", "30", &program]).success();
            assert_eq!(out, "30\n", "{way}: {program} from {caller}");
        }
    }
}

/// The start of a program that executes `/mips` in a way of its own and ends with the error if that fails.
const ODD: &str = r#"
__asm__(
    ".macro words width\n .balign 8\n argv: .\\width path, exit, three, 0\n envp: .\\width 0\n .endm\n"
    ".macro end\n neg %eax\n mov %eax, %edi\n mov $60, %eax\n syscall\n .endm\n"
    ".section TEXTS\n"
    "path: .asciz \"/mips\"\n exit: .asciz \"exit\"\n three: .asciz \"3\"\n words WIDTH\n"
    ".text\n .globl _start\n _start:\n"
    CODE
    "end\n");
"#;

/// As `int $0x80`, which takes 32 bits of each register.
const INT_80: &str = "mov $11, %eax\n mov $path, %ebx\n mov $argv, %ecx\n mov $envp, %edx\n int $0x80\n";
const EXECVE: &str = "mov $59, %eax\n mov $path, %edi\n mov $argv, %esi\n mov $envp, %edx\n syscall\n";

#[test]
fn calls_of_programs_without_a_usual_stack_or_with_more_in_the_registers_than_counts() {
    let cx = Cx::new();
    let no_stack = "mov %rsp, %rbx\n and $-4096, %rbx\n sub $0x100000, %rbx\n mov $0x200, %ebp\n\
        1: mov %rbx, %rdi\n mov $4096, %esi\n mov $11, %eax\n syscall\n\
        add $4096, %rbx\n dec %ebp\n jnz 1b\n";
    let high = "movabs $0x7fff00001234, %rbp\n movabs $0x123400000000, %rsi\n";
    let at = "mov $322, %eax\n mov $-100, %edi\n mov $path, %esi\n mov $argv, %edx\n mov $envp, %r10d\n\
        movabs $0x100000000, %r8\n syscall\n";
    // Without any memory to write the emulator's path to, the kernel is left with a program that it cannot execute.
    let refused = libc::ENOEXEC;
    let cases: [(&str, &str, &str, String, [i32; 3]); 6] = [
        ("clean", ".data", "long", format!("xor %ebp, %ebp\n{INT_80}"), [3; 3]),
        ("high", ".data", "long", format!("{high}{INT_80}"), [3; 3]),
        ("none", ".data", "quad", format!("xor %esp, %esp\n{EXECVE}"), [3; 3]),
        ("stack", ".rodata", "quad", format!("xor %esp, %esp\n{EXECVE}"), [3; 3]),
        ("nowhere", ".rodata", "quad", format!("{no_stack}{EXECVE}"), [3, refused, refused]),
        ("flags", ".data", "quad", at.into(), [3; 3]),
    ];
    let mut files = vec![LayerFile {
        path: "mips".into(),
        mode: 0o755,
        content: Content::Copy(program("mips-linux-gnu")),
    }];
    for (name, section, width, code, _) in &cases {
        let source = ODD
            .replace("TEXTS", section)
            .replace("WIDTH", width)
            .replace("CODE", &format!("\"{}\"", code.replace('\n', "\\n")));
        let flags = ["-static", "-nostdlib", "-no-pie"];
        let odd = compile(&Cc { triple: "x86_64-linux-gnu", flags: &flags, source: &source });
        files.push(LayerFile { path: (*name).into(), mode: 0o755, content: Content::Copy(odd) });
    }
    let reference = written(&cx, "odd", files);
    for (name, .., expected) in &cases {
        for (way, expected) in WAYS.into_iter().chain([OLD_TRACE]).zip(expected) {
            let out = run_soon(&cx, way, &reference, &[&format!("/{name}")]);
            assert_eq!(out.status, *expected, "{way}: {name}: {}", out.stderr);
        }
    }
}

#[test]
fn another_root_in_the_container_has_the_emulators_too() {
    let cx = Cx::new();
    let image = mixed(&cx);
    for way in ["private"] {
        for caller in ["amd64", "mips"] {
            let out = run(&cx, way, &image, &[&format!("/t/{caller}"), "root", "/mips"]).success();
            assert_eq!(out, "mips [zero] [args]\n", "{way}: from {caller}");
        }
    }
}

#[test]
fn a_traced_container_ends_as_any_other() {
    let cx = Cx::new();
    let image = bundle(&cx, "mips-linux-gnu", "traced-probe");
    for way in ["trace", OLD_TRACE] {
        traced_containers_end(&cx, way, &image);
    }
}

fn traced_containers_end(cx: &Cx, way: &str, image: &str) {
    let trace = |words: &[&str]| run(cx, way, image, words);
    for status in [0, 7, 125, 255] {
        assert_eq!(trace(&["exit", &status.to_string()]).status, status);
    }
    // An emulator ends itself by the guest's signal, which the kernel keeps from a container's first process.
    for signal in [1, 2, 6, 15] {
        assert_eq!(trace(&["raise", &signal.to_string()]).status, 128 + signal);
    }
    assert_eq!(trace(&["fault"]).status, 128 + 11);
    assert_eq!(trace(&["child", "/bin/traced-probe", "raise", "15"]).success(), "child 143\n");
    let err = ran(polyarch(cx, way).args(["--entrypoint", "/none", image])).failure(127);
    assert!(err.contains("`/none` was not found"), "{err}");

    let start = || {
        let mut command = polyarch(cx, way);
        command.args([image, "child", "/bin/traced-probe", "wait"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let mut child = start();
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        child.wait().unwrap();
        let begin = Instant::now();
        while is_running("traced-probe") {
            assert!(begin.elapsed() < Duration::from_secs(20), "{signal:?} leaves something behind");
            std::thread::yield_now();
        }
    }
    trace(&["exit", "0"]).success();
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
}

#[test]
fn a_way_that_is_not_to_be_had_says_so() {
    let cx = Cx::new();
    let image = bundle(&cx, "mips-linux-gnu", "probe");
    let run = |way: &str| {
        // A process has one tracer: whoever is traced already can have no other.
        let mut command = cx.command("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            env!("CARGO_BIN_EXE_polyarch"),
            "run",
            "--emulation",
            way,
            &image,
        ]);
        ran(&mut command)
    };
    assert_eq!(run("private").success(), "uname -m = mips\n");
    let err = run("trace").failure(125);
    assert!(err.contains("tracing the container is not permitted") && err.contains("hint"), "{err}");
    assert_eq!(names(&cx.path("home/.cache/polyarch/run")), ["lock"]);
    let err = cx.run(["run", "--emulation", "magic", &image]).failure(125);
    assert!(err.contains("private, host, trace"), "{err}");
}

#[test]
fn a_debugger_in_a_traced_container_has_all_but_what_executes_foreign_programs() {
    let cx = Cx::new();
    let image = mixed(&cx);
    let strace = |machine: &str| {
        let mut command = cx.polyarch();
        command.args(["run", "--emulation", "trace"]);
        // The machine's own, with its libraries.
        for folder in ["/usr", "/lib", "/lib64"] {
            command.args(["-v", &format!("{folder}:{folder}:ro")]);
        }
        ran(command.args([&image, "/usr/bin/strace", "-qq", "-f", "/t/amd64", "case", machine, "plain"]))
    };
    let out = strace("amd64");
    assert!(out.stderr.contains("execve(\"/t/amd64\", [\"zero\", \"args\""), "{}", out.stderr);
    assert_eq!(out.success(), "x86_64 [zero] [args] [] [a b]\n");
    assert!(strace("mips").stderr.contains("EPERM (Operation not permitted)"));
}

#[test]
fn the_way_is_named() {
    let cx = Cx::new();
    let image = bundle(&cx, "mips-linux-gnu", "probe");
    for way in WAYS {
        let err = cx.run(["-v", "run", "--emulation", way, &image]).stderr;
        assert!(err.contains(&format!("({way})")), "{err}");
    }
    let err = cx.run(["-v", "run", &image]).stderr;
    assert!(err.contains("(private)"), "{err}");
}
