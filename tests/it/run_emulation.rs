//! What emulators are told besides the program: CPU models, stacks, variables; on every way that there is.

use polyarch::image::{self, Access, History, ImageConfiguration, ImageRef, NewImage, NewLayer};
use polyarch::layer::{Content, LayerFile};

use crate::support::cc::{Cc, compile};
use crate::support::{Cx, Ran, ran};

/// Ways on which emulators have options.
const WAYS: [&str; 2] = ["private", "trace"];

/// A program that asks the CPU for more than an ARM926 has.
const ARM: &str = r#"
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "try")) {
        /* movw r0, #0: ARMv6T2 and later. */
        __asm__ volatile(".inst 0xe3000000" ::: "r0");
        puts("it has it");
    } else if (!strcmp(word, "child")) {
        char *words[] = {"zero", "try", NULL}, *none[] = {NULL};
        if (fork() == 0) { execve("/proc/self/exe", words, none); return 99; }
        int status;
        wait(&status);
        printf("child %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    } else if (!strcmp(word, "env")) {
        extern char **environ;
        for (; *environ; environ++) puts(*environ);
    } else if (!strcmp(word, "name")) {
        char line[4096] = "";
        int len = readlink("/proc/self/exe", line, sizeof line - 1);
        printf("%.*s", len, line);
        for (int i = 0; i < argc; i++) printf(" [%s]", argv[i]);
        puts("");
    } else if (!strcmp(word, "deep")) {
        volatile char *room = alloca(24 << 20);
        for (int at = (24 << 20) - 1; at > 0; at -= 4096) room[at] = 1;
        puts("deep");
    }
    return 0;
}
"#;

/// Multiplies, with the FPU's help or without, and ends with 42.
const MIPS: &str = r#"
#ifdef __mips_soft_float
double __muldf3(double a, double b) { (void)b; return a; }
#endif
/* With an argument of that kind the compiler notes the float ABI. */
__attribute__((noinline)) double square(double number) { return number * number; }
void __start(void) {
    volatile double number = square(1.5);
    __asm__ volatile("li $2, 4001\n\tli $4, 42\n\tsyscall" ::: "$2", "$4");
    for (;;) {}
}
"#;

const POWERPC: &str = r#"
#ifdef _SOFT_FLOAT
double __muldf3(double a, double b) { (void)b; return a; }
#endif
/* With an argument of that kind the compiler notes the float ABI. */
__attribute__((noinline)) double square(double number) { return number * number; }
void _start(void) {
    volatile double number = square(1.5);
    __asm__ volatile("li 0, 1\n\tli 3, 42\n\tsc" ::: "r0", "r3");
    for (;;) {}
}
"#;

/// An image for `architecture` whose program is `/p`.
fn image(cx: &Cx, name: &str, architecture: &str, cc: &Cc<'_>) -> String {
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/p"]}},
        "rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    let config: ImageConfiguration = serde_json::from_str(&config).unwrap();
    let files = vec![LayerFile { path: "p".into(), mode: 0o755, content: Content::Copy(compile(cc)) }];
    let layer = NewLayer { files, time: 0 };
    let reference = format!("oci:{}:{name}", cx.path("images").display());
    let image = NewImage { config, layers: vec![(&layer, History::default())] };
    image::write(&image, &reference.parse::<ImageRef>().unwrap(), &Access::default()).unwrap();
    reference
}

fn arm(cx: &Cx) -> String {
    let cc = Cc { triple: "arm-linux-gnueabi", flags: &["-static", "-s", "-O1", "-w"], source: ARM };
    image(cx, "arm", "arm", &cc)
}

/// The same program as a bundle, whose first process is an emulator by itself.
fn arm_bundle(cx: &Cx) -> String {
    let cc = Cc { triple: "arm-linux-gnueabi", flags: &["-static", "-s", "-O1", "-w"], source: ARM };
    let program = cx.path("p");
    std::fs::copy(compile(&cc), &program).unwrap();
    ran(cx.polyarch().arg("bundle").arg(program).args(["-o", "oci:images:bundle"])).success();
    "oci:images:bundle".into()
}

fn run(cx: &Cx, options: &[&str], image: &str, words: &[&str]) -> Ran {
    ran(cx.polyarch().arg("run").args(options).arg(image).args(words))
}

#[test]
fn a_cpu_model_holds_for_every_program_and_none_sees_it() {
    let cx = Cx::new();
    for image in [arm(&cx), arm_bundle(&cx)] {
        for way in WAYS {
            let plain = ["--emulation", way];
            assert_eq!(run(&cx, &plain, &image, &["try"]).success(), "it has it\n", "{way} {image}");
            assert_eq!(
                run(&cx, &plain, &image, &["child"]).success(),
                "it has it\nchild 0\n",
                "{way} {image}"
            );
            for model in [["--cpu", "arm926"], ["--target", "linux/arm/v5"]] {
                let options = [&plain[..], &model].concat();
                let err = run(&cx, &options, &image, &["try"]).failure(132);
                let expected = "was ended by an instruction that the CPU model `arm926";
                assert!(err.contains(expected) && err.contains("float ABI soft"), "{way} {image}: {err}");
                // Nor does a child without any environment get away.
                let child = run(&cx, &options, &image, &["child"]).success();
                assert_eq!(child, "child 132\n", "{way} {image}");
                let env = run(&cx, &options, &image, &["env"]).success();
                assert!(env.contains("PATH=") && !env.contains("QEMU"), "{way} {image}: {env}");
                let name = run(&cx, &options, &image, &["name", "", "a b"]).success();
                let (file, name_of) =
                    if image.ends_with(":bundle") { ("/bin/.p.guest", "/bin/p") } else { ("/p", "/p") };
                assert_eq!(name, format!("{file} [{name_of}] [name] [] [a b]\n"), "{way}");
            }
        }
    }
}

#[test]
fn a_program_that_a_board_cannot_run_fails_here_and_its_twin_does_not() {
    let cx = Cx::new();
    let rest = ["-O1", "-static", "-nostdlib", "-fno-pic"];
    let cases = [
        ("mips", "mips-linux-gnu", MIPS, "routeros/mipsbe", "24Kc", vec!["-mno-abicalls"]),
        ("ppc", "powerpc-linux-gnu", POWERPC, "routeros/ppc", "e500v2", vec![]),
    ];
    for (architecture, triple, source, target, cpu, more) in cases {
        for float in ["-mhard-float", "-msoft-float"] {
            let flags = [&[float], &rest[..], &more].concat();
            let name = format!("{architecture}{float}");
            let image = image(&cx, &name, architecture, &Cc { triple, flags: &flags, source });
            for way in WAYS {
                assert_eq!(run(&cx, &["--emulation", way], &image, &[]).status, 42, "{way} {name}");
                for model in [["--target", target], ["--cpu", cpu]] {
                    let out = run(&cx, &[&["--emulation", way], &model[..]].concat(), &image, &[]);
                    if float == "-msoft-float" {
                        assert_eq!(out.status, 42, "{way} {name} {model:?}: {}", out.stderr);
                        continue;
                    }
                    let err = out.failure(132);
                    assert!(err.contains("`/p` (") && err.contains(cpu), "{way} {name}: {err}");
                    if model[0] == "--target" {
                        let why = format!("it does not fit `{target}`: its float ABI is hard");
                        assert!(err.contains(&why), "{way} {name}: {err}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_is_told_before_anything_is_started() {
    let cx = Cx::new();
    let image = arm(&cx);
    let err = run(&cx, &["--cpu", "arm9266"], &image, &["try"]).failure(125);
    assert!(err.contains("no CPU model `arm9266`") && err.contains("did you mean `arm926`?"), "{err}");
    let err = run(&cx, &["--cpu", "max,nothing=off"], &image, &["try"]).failure(125);
    assert!(err.contains("no CPU model `max,nothing=off`") && err.contains("not found"), "{err}");
    let err = run(&cx, &["--target", "routeros/mipsbee"], &image, &["try"]).failure(125);
    assert!(err.contains("did you mean `routeros/mipsbe`?"), "{err}");
    let err = run(&cx, &["--target", "routeros/mipsbe"], &image, &["try"]).failure(125);
    assert!(err.contains("the image's programs are for arm"), "{err}");
    let err = run(&cx, &["--emulation", "direct"], &image, &["try"]).failure(125);
    assert!(err.contains("no emulator in the cache executes foreign programs by itself"), "{err}");
    let err = run(&cx, &["--emulation", "host", "--cpu", "arm926"], &image, &["try"]).failure(125);
    assert!(err.contains("the host's handlers run programs for arm with no options"), "{err}");
    let native =
        Cc { triple: "x86_64-linux-gnu", flags: &["-static", "-s", "-O1", "-w"], source: "int main(){}" };
    let native = self::image(&cx, "native", "amd64", &native);
    let err = run(&cx, &["--cpu", "arm926"], &native, &[]).failure(125);
    assert!(err.contains("no foreign programs for `--cpu`") && err.contains("--target"), "{err}");
    run(&cx, &["--cpu", "arm926", "--target", "linux/arm/v5"], &native, &[]).success();
}

#[test]
fn stacks_and_variables_are_the_guests() {
    let cx = Cx::new();
    for image in [arm(&cx), arm_bundle(&cx)] {
        for way in WAYS {
            let options = ["--emulation", way, "--stack-size", "48m", "--guest-env", "ONLY=the guest's"];
            assert_eq!(run(&cx, &options[..2], &image, &["deep"]).status, 139, "{way} {image}");
            assert_eq!(run(&cx, &options, &image, &["deep"]).success(), "deep\n", "{way} {image}");
            let env = run(&cx, &options, &image, &["env"]).success();
            assert!(env.lines().any(|line| line == "ONLY=the guest's"), "{way} {image}: {env}");
        }
    }
}
