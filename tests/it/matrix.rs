//! `matrix`: the platforms of a build as jobs.

use serde_json::Value;

use crate::support::Cx;

fn printed(args: &[&str]) -> String {
    Cx::new().run([&["matrix"], args].concat()).success()
}

#[test]
fn platforms_and_targets_become_jobs() {
    let some = "linux/arm/v7,routeros/mmips,mips64le,linux/arm/v7";
    assert_eq!(printed(&["--platform", some]), "linux/arm/v7\nlinux/mipsle\nlinux/mips64le\n");
    assert_eq!(printed(&["--platform", some, "--index", "1"]), "linux/mipsle\n");
    let jobs: Value = serde_json::from_str(&printed(&["--platform", some, "--format", "json"])).unwrap();
    assert_eq!(jobs[0]["name"], "linux-arm-v7");
    assert_eq!((&jobs[0]["variant"], &jobs[0]["debian"]), (&"v7".into(), &"armhf".into()));
    assert_eq!((&jobs[1]["target"], &jobs[1]["emulated"]), (&"routeros/mmips".into(), &true.into()));
    let host: Value =
        serde_json::from_str(&printed(&["--platform", "linux/amd64", "--format", "json"])).unwrap();
    assert_eq!(host[0]["emulated"], Value::from(cfg!(not(target_arch = "x86_64"))));
    let all = printed(&["--platform", "all"]);
    assert!(all.lines().count() > 15 && all.contains("linux/s390x\n") && !all.contains("routeros"), "{all}");
}

#[test]
fn each_system_reads_its_form() {
    let line = printed(&["--platform", "linux/arm64,linux/riscv64", "--format", "github"]);
    assert_eq!(line.lines().count(), 1);
    let github: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(github["include"][1]["platform"], "linux/riscv64");
    let gitlab: Value =
        serde_json::from_str(&printed(&["--platform", "linux/arm64,linux/arm/v5", "--format", "gitlab"]))
            .unwrap();
    assert_eq!(gitlab["build:linux-arm-v5"]["extends"], ".build");
    assert_eq!(gitlab["build:linux-arm-v5"]["variables"]["PLATFORM"], "linux/arm/v5");
}

#[test]
fn mistakes_are_told() {
    let failed = |args: &[&str]| Cx::new().run([&["matrix"], args].concat()).failure(2);
    assert!(failed(&["--platform", "linux/arm64", "--index", "1"]).contains("`completions: 1`"));
    assert!(failed(&["--platform", "linux/arm64,linux/am64"]).contains("linux/am64"));
    assert!(failed(&[]).contains("--platform"));
}
