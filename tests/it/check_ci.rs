//! What `ci/` gives to CI systems is run here as they run it: the steps of their files, by bash, in an empty folder, with stand-ins for
//! the runner's variables and for cargo.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::check_output::program;
use crate::check_report::hold_against_schema;
use crate::support::oci::{Img, layout};
use crate::support::{Cx, Ran, ran};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A YAML file of the project, read by another's reader.
fn yaml(cx: &Cx, name: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let text = ran(cx.command("python3").args(["-c", script]).arg(root().join(name))).success();
    serde_json::from_str(&text).unwrap()
}

fn executable(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Puts a cargo into `stand-ins` that writes down how it was called, and installs the program that is tested.
fn stand_ins(cx: &Cx) -> PathBuf {
    let folder = cx.path("stand-ins");
    let cargo = format!(
        "#!/bin/bash\nset -e\necho \"$RUSTUP_TOOLCHAIN $*\" >>{log}\n\
         while [ $# -gt 0 ]; do if [ \"$1\" = --root ]; then root=$2; fi; shift; done\n\
         mkdir -p \"$root/bin\"\nln -sf {program} \"$root/bin/polyarch\"\n",
        log = cx.path("cargo.log").display(),
        program = env!("CARGO_BIN_EXE_polyarch"),
    );
    executable(&folder.join("cargo"), &cargo);
    executable(
        &folder.join("rustup"),
        &format!("#!/bin/sh\necho \"$*\" >>{}\n", cx.path("rustup.log").display()),
    );
    folder
}

/// An image for arm64: a good one, or one with a program for amd64 in its last layer.
fn image(cx: &Cx, name: &str, is_good: bool) -> String {
    let image =
        Img::new("linux/arm64").file("/bin/app", program("arm64"), 0o755).layer("COPY tool /bin/tool");
    let tool = program(if is_good { "arm64" } else { "amd64" });
    layout(cx, &format!("work space/{name}"), &[image.file("/bin/tool", tool, 0o755)], &[])
        .replace("work space/", "")
}

/// GitHub's runner, as far as a composite action sees it.
struct Runner<'a> {
    cx: &'a Cx,
    action: Value,
    /// The inputs that are given.
    with: BTreeMap<&'static str, String>,
    outputs: String,
    summary: String,
}

impl<'a> Runner<'a> {
    fn new(cx: &'a Cx, with: &[(&'static str, &str)]) -> Self {
        fs::create_dir_all(cx.path("work space")).unwrap();
        fs::create_dir_all(cx.path("temp")).unwrap();
        Self {
            cx,
            action: yaml(cx, "ci/action.yml"),
            with: with.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            outputs: String::new(),
            summary: String::new(),
        }
    }

    /// The value of `${{ inputs.NAME }}`, or a text without any such expression.
    fn value(&self, text: &str) -> String {
        let Some(name) = text.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}")) else {
            assert!(!text.contains("${{"), "{text}");
            return text.to_owned();
        };
        let declared = &self.action["inputs"][name];
        assert!(declared.is_object(), "the action has no input `{name}`");
        let default = declared["default"].as_str().map(str::to_owned);
        self.with.get(name).cloned().or(default).unwrap_or_else(|| panic!("`{name}` has no value"))
    }

    /// Runs all steps that run something, until one fails.
    fn run(&mut self) -> Ran {
        let stand_ins = stand_ins(self.cx);
        let file = |name: &str| self.cx.file(&format!("temp/{name}"), "");
        let (outputs, summary, added) = (file("output"), file("summary"), file("path"));
        let mut last = None;
        for step in self.action["runs"]["steps"].as_array().unwrap() {
            let Some(script) = step["run"].as_str() else { continue };
            assert_eq!(step["shell"], "bash");
            assert!(!script.contains("${{"), "what is given must not be read as a command: {script}");
            let script = self.cx.file("temp/script.sh", script);
            let folder =
                step["working-directory"].as_str().map(|folder| self.value(folder)).unwrap_or_default();
            let before = fs::read_to_string(&added).unwrap();
            let search = before.lines().chain([stand_ins.to_str().unwrap(), "/usr/bin", "/bin"]);
            let mut command = self.cx.command("bash");
            command
                .args(["--noprofile", "--norc", "-eo", "pipefail"])
                .arg(script)
                .current_dir(self.cx.path("work space").join(folder))
                .env("PATH", search.collect::<Vec<_>>().join(":"))
                .env("GITHUB_ACTION_PATH", root().join("ci"))
                .env("GITHUB_WORKSPACE", self.cx.path("work space"))
                .env("RUNNER_TEMP", self.cx.path("temp"))
                .env("RUNNER_TOOL_CACHE", self.cx.path("tools"))
                .env("GITHUB_OUTPUT", &outputs)
                .env("GITHUB_STEP_SUMMARY", &summary)
                .env("GITHUB_PATH", &added);
            for (key, value) in step["env"].as_object().into_iter().flatten() {
                command.env(key, self.value(value.as_str().unwrap()));
            }
            let ran = ran(&mut command);
            let failed = ran.status != 0;
            last = Some(ran);
            if failed {
                break;
            }
        }
        self.outputs = fs::read_to_string(outputs).unwrap();
        self.summary = fs::read_to_string(summary).unwrap();
        last.unwrap()
    }
}

#[test]
fn the_action_checks_annotates_and_leaves_a_sarif_file() {
    let cx = Cx::new();
    let (good, bad) = (image(&cx, "good", true), image(&cx, "bad", false));
    let mut runner = Runner::new(&cx, &[("inputs", &format!("\n  {good}  \n\n"))]);
    let ran = runner.run();
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(runner.outputs, "status=0\nsarif=./polyarch.sarif\n");
    assert!(
        runner.summary.contains("\nnothing found") || runner.summary.contains(" unknown in "),
        "{}",
        runner.summary
    );
    let called = fs::read_to_string(cx.path("cargo.log")).unwrap();
    let source = root().join("ci/..");
    assert!(
        called.starts_with(&format!("stable install --locked --path {} --root ", source.display())),
        "{called}"
    );
    assert!(source.join("Cargo.toml").exists());

    let mut runner = Runner::new(
        &cx,
        &[("inputs", &format!("{good}\n{bad}")), ("targets", "linux/arm64"), ("sarif", "x.sarif")],
    );
    let ran = runner.run();
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(runner.outputs, "status=1\nsarif=./x.sarif\n");
    assert!(ran.stdout.contains("::error title=machine (linux/arm64)::oci:bad"), "{}", ran.stdout);
    assert!(runner.summary.starts_with("### polyarch check\n````text\nerror: machine"), "{}", runner.summary);
    let sarif = cx.path("work space/x.sarif");
    hold_against_schema(&cx, &sarif);
    let log: Value = serde_json::from_slice(&fs::read(sarif).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|result| result["ruleId"] == "machine"));
}

#[test]
fn the_action_takes_all_of_its_inputs_as_words() {
    let cx = Cx::new();
    let bad = image(&cx, "bad", false);
    fs::create_dir_all(cx.path("work space/sub folder")).unwrap();
    cx.file("work space/sub folder/my policy.toml", "[check.rules]\nmachine = 'warning'\n");
    let bad = bad.replace("oci:", "oci:../");
    let with = [
        ("inputs", bad.as_str()),
        ("targets", "linux/arm64\nlinux/amd64"),
        ("policy", "my policy.toml"),
        ("working-directory", "sub folder"),
        ("options", "--severity\nplatform-mismatch=off\n--severity\nentrypoint=off"),
    ];
    let mut runner = Runner::new(&cx, &with);
    let ran = runner.run();
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("::warning title=machine (linux/arm64)"), "{}", ran.stdout);
    assert!(ran.stdout.contains("::warning title=machine (linux/amd64)"), "{}", ran.stdout);
    assert_eq!(runner.outputs, "status=0\nsarif=sub folder/polyarch.sarif\n");
    runner.with.insert("fail-on", "warning".into());
    assert_eq!(runner.run().status, 1);
    // A program that is on PATH is taken, and nothing is built.
    fs::remove_file(cx.path("cargo.log")).unwrap();
    executable(
        &cx.path("stand-ins/polyarch"),
        &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_polyarch")),
    );
    assert_eq!(runner.run().status, 1);
    assert!(!cx.path("cargo.log").exists());
    // What is given is never read as a command or as an option.
    for (key, value) in [
        ("inputs", "$(touch owned)"),
        ("inputs", "--explain"),
        ("targets", "`touch owned`"),
        ("fail-on", "; touch owned"),
    ] {
        let mut runner = Runner::new(&cx, &with);
        runner.with.insert(key, value.into());
        let ran = runner.run();
        assert_eq!(ran.status, 2, "{key}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(runner.outputs, "status=2\n", "{key}");
    }
    assert!(!cx.path("work space/sub folder/owned").exists());
}

#[test]
fn the_action_uploads_only_what_is_there_and_wanted() {
    let cx = Cx::new();
    let action = yaml(&cx, "ci/action.yml");
    let steps = action["runs"]["steps"].as_array().unwrap();
    let upload = steps.iter().find(|step| step["uses"].is_string()).unwrap();
    assert_eq!(
        upload["if"],
        "${{ !cancelled() && inputs.upload-sarif == 'true' && steps.check.outputs.sarif != '' }}"
    );
    assert_eq!(steps.iter().filter(|step| step["id"] == "check").count(), 1);
    for output in action["outputs"].as_object().unwrap().values() {
        assert!(output["value"].as_str().unwrap().starts_with("${{ steps.check.outputs."));
    }
}

/// A job of GitLab's: its variables, and then `before_script` and `script` in one shell.
fn job(cx: &Cx, variables: &[(&str, &str)], with_program: bool) -> Ran {
    let job = &yaml(cx, "ci/gitlab.yml")[".polyarch-check"];
    let mut lines = vec!["set -eo pipefail".to_owned()];
    for key in ["before_script", "script"] {
        lines.extend(job[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()));
    }
    let stand_ins = stand_ins(cx);
    if with_program {
        executable(
            &stand_ins.join("polyarch"),
            &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_polyarch")),
        );
    }
    let folder = cx.path("work space");
    let mut command = cx.command("bash");
    command
        .args(["-c", &lines.join("\n")])
        .current_dir(&folder)
        .env("PATH", format!("{}:/usr/bin:/bin", stand_ins.display()))
        .env("CI_PROJECT_DIR", &folder);
    for (key, value) in job["variables"].as_object().unwrap() {
        command.env(key, value.as_str().unwrap());
    }
    for (key, value) in variables {
        assert!(job["variables"][key].is_string(), "the template has no variable `{key}`");
        command.env(key, value);
    }
    ran(&mut command)
}

#[test]
fn the_template_of_gitlab_leaves_its_reports() {
    let cx = Cx::new();
    let (good, bad) = (image(&cx, "good", true), image(&cx, "bad", false));
    let reports = || {
        let read = |name: &str| fs::read_to_string(cx.path("work space").join(name)).unwrap_or_default();
        (read("gl-code-quality-report.json"), read("polyarch.xml"))
    };
    let ran = job(&cx, &[("POLYARCH_INPUTS", &good)], true);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(reports().1.contains("failures=\"0\""));
    let inputs = format!("{good} {bad}");
    let variables = [
        ("POLYARCH_INPUTS", inputs.as_str()),
        ("POLYARCH_TARGETS", "linux/arm64 linux/amd64"),
        ("POLYARCH_SOURCE", "https://example.org/polyarch.git"),
    ];
    let ran = job(&cx, &variables, false);
    // Without the program it is built.
    fs::remove_file(cx.path("stand-ins/polyarch")).unwrap();
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    let ran = job(&cx, &variables, false);
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    let called = fs::read_to_string(cx.path("cargo.log")).unwrap();
    assert!(
        called.contains("install --locked --git https://example.org/polyarch.git --branch main "),
        "{called}"
    );
    let (quality, junit) = reports();
    let issues: Value = serde_json::from_str(&quality).unwrap();
    assert!(issues.as_array().unwrap().iter().any(|issue| issue["check_name"] == "machine"));
    assert!(junit.contains("<failure"));
    let artifacts = &yaml(&cx, "ci/gitlab.yml")[".polyarch-check"]["artifacts"];
    assert_eq!(artifacts["when"], "always");
    assert_eq!(artifacts["reports"]["codequality"], "gl-code-quality-report.json");
    assert_eq!(artifacts["reports"]["junit"], "polyarch.xml");
    let options = [
        ("POLYARCH_INPUTS", bad.as_str()),
        ("POLYARCH_OPTIONS", "--severity machine=off --severity mixed-architectures=off"),
    ];
    let ran = job(&cx, &options, true);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    fs::remove_file(cx.path("stand-ins/polyarch")).unwrap();
    let nothing = job(&cx, &[("POLYARCH_INPUTS", &good)], false);
    assert!(nothing.failure(2).contains("POLYARCH_SOURCE has to name the repository"));
}

#[test]
fn the_hook_checks_the_programs_that_are_committed() {
    let cx = Cx::new();
    let hooks = yaml(&cx, ".pre-commit-hooks.yaml");
    let hook = &hooks[0];
    assert_eq!((&hook["id"], &hook["language"]), (&"polyarch-check".into(), &"rust".into()));
    let entry = hook["entry"].as_str().unwrap();
    let (program_name, rest) = entry.split_once(' ').unwrap();
    assert_eq!(program_name, "polyarch", "the program that cargo installs");
    cx.file("bin/good tool", program("arm64"));
    cx.file("bin/bad", program("amd64"));
    cx.file("run.sh", "#!/bin/sh\n");
    // pre-commit executes the entry's words, the user's args and the names of the files.
    let example = yaml(&cx, "ci/examples/pre-commit.yaml");
    let used = &example["repos"][0]["hooks"][0];
    assert_eq!(used["id"], hook["id"]);
    let args: Vec<&str> = used["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let run = |files: &[&str], args: &[&str]| {
        let mut command: Command = cx.polyarch();
        command.args(rest.split(' ')).args(args).args(files);
        ran(&mut command)
    };
    let good = run(&["bin/good tool", "run.sh"], &args);
    assert_eq!(good.status, 0, "{}{}", good.stdout, good.stderr);
    let bad = run(&["bin/good tool", "bin/bad"], &args);
    assert_eq!(bad.status, 1);
    assert!(bad.stdout.contains("`bin/bad` is for linux/amd64, not for linux/arm64"), "{}", bad.stdout);
    cx.file("polyarch.toml", "[check]\ntargets = ['linux/amd64']\n");
    assert_eq!(run(&["bin/bad"], &[]).status, 0);
    assert_eq!(run(&["bin/good tool"], &[]).status, 1);
}

#[test]
fn the_examples_use_what_there_is() {
    let cx = Cx::new();
    let action = yaml(&cx, "ci/action.yml");
    let workflow = yaml(&cx, "ci/examples/github.yml");
    let steps = workflow["jobs"]["image"]["steps"].as_array().unwrap();
    let ours = steps.iter().find(|step| step["uses"].as_str().unwrap().contains("polyarch/ci@")).unwrap();
    for key in ours["with"].as_object().unwrap().keys() {
        assert!(action["inputs"][key].is_object(), "the action has no input `{key}`");
    }
    for (name, input) in action["inputs"].as_object().unwrap() {
        assert!(!input["description"].as_str().unwrap().is_empty(), "{name}");
        assert_eq!(input["required"] == true, input["default"].is_null(), "{name}");
    }
    let template = yaml(&cx, "ci/gitlab.yml");
    let example = yaml(&cx, "ci/examples/gitlab.yml");
    let job = &example["programs"];
    assert!(template[job["extends"].as_str().unwrap()].is_object());
    for key in job["variables"].as_object().unwrap().keys() {
        assert!(
            template[".polyarch-check"]["variables"][key].is_string(),
            "the template has no variable `{key}`"
        );
    }
    // What the job of the example calls is right but for the programs, which are not there.
    let variables: Vec<(&str, &str)> = job["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
        .collect();
    fs::create_dir_all(cx.path("work space/dist")).unwrap();
    let names = ["mips", "mipsel"].map(|name| (name, program(name)));
    for (name, content) in names {
        fs::write(cx.path("work space/dist").join(name), content).unwrap();
    }
    let ran = self::job(&cx, &variables, true);
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("error: endianness"), "{}", ran.stdout);
}
