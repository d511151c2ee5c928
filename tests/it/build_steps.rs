//! What a Containerfile says to do: stages, variables, steps and the config, without any file being touched.

use std::collections::BTreeMap;

use polyarch::build::{Action, Args, Base, BuildError, Settings, Source, StageState, Step, graph, wanted};
use polyarch::containerfile::{Containerfile, Mount};
use polyarch::target::Platform;
use serde_json::{Value, json};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

struct Done {
    steps: Vec<Step>,
    config: Value,
}

/// The steps of the last stage of `text`, on a base of the config `base`.
fn stage(text: &str, given: &[(&str, &str)], base: &Value) -> Result<Done, BuildError> {
    let file = Containerfile::parse(text.as_bytes())?;
    let given: BTreeMap<_, _> = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let args = Args::new(&file, given, &platform("linux/amd64"), &platform("linux/arm/v7"), "last")?;
    let settings = Settings::new(base.as_object().unwrap().clone());
    let mut state = StageState::new(&args, file.directives.escape, settings);
    let last = file.stages.last().unwrap();
    let steps = last.instructions.iter().map(|located| state.step(located)).collect::<Result<_, _>>()?;
    Ok(Done { steps, config: Value::Object(state.settings.into_map()) })
}

fn done(text: &str) -> Done {
    stage(text, &[], &json!({})).unwrap_or_else(|err| panic!("{text}: {err}"))
}

fn config(text: &str) -> Value {
    done(text).config
}

fn shown(text: &str, given: &[(&str, &str)]) -> Vec<String> {
    stage(text, given, &json!({})).unwrap().steps.into_iter().map(|step| step.created_by).collect()
}

#[test]
fn a_build_needs_only_the_stages_that_its_target_reads() {
    let file = Containerfile::parse(
        b"ARG BASE=debian\nFROM --platform=$BUILDPLATFORM ${BASE}:12 AS tools\nFROM scratch AS unused\nRUN x\n\
          FROM tools AS build\nRUN --mount=from=tools,target=/t y\nFROM scratch AS last\nCOPY --from=2 /a /a\nCOPY --from=busybox /b /b\n",
    )
    .unwrap();
    let target = platform("linux/arm/v7");
    let args = Args::new(&file, BTreeMap::new(), &platform("linux/amd64"), &target, "last").unwrap();
    let parse = |text: &str| text.parse::<Platform>().map_err(|err| err.to_string());
    let nodes = graph(&file, &args, wanted(&file, None).unwrap(), &target, &parse).unwrap();
    let order: Vec<usize> = nodes.iter().map(|node| node.stage).collect();
    assert_eq!(order, [0, 2, 3]);
    assert_eq!(nodes[0].base, Base::Image("debian:12".into()));
    assert_eq!(
        (nodes[0].platform.clone(), nodes[1].platform.clone()),
        (platform("linux/amd64"), target.clone())
    );
    assert_eq!((&nodes[1].base, &nodes[2].base), (&Base::Stage(0), &Base::Scratch));
    assert_eq!((nodes[1].needs.as_slice(), nodes[2].needs.as_slice()), (&[0][..], &[2][..]));
    assert_eq!(wanted(&file, Some("tools")).unwrap(), 0);
    let err = wanted(&file, Some("tool")).unwrap_err();
    assert!(err.hint().unwrap().contains("`tools`"), "{err}");
}

#[test]
fn stages_that_cannot_be_had_are_told() {
    for (text, at, message) in [
        ("FROM scratch AS a\nCOPY --from=a /x /y\n", "2:6", "cannot copy from itself"),
        (
            "FROM scratch\nCOPY --from=b /x /y\nFROM scratch AS b\nFROM 0\nCOPY --from=0 / /\n",
            "2:6",
            "comes later",
        ),
        ("FROM scratch\nCOPY --from=7 /x /y\n", "2:6", "no stage of the number 7"),
        ("ARG A\nFROM $A\n", "2:6", "is empty"),
        ("FROM ${A:?give-it}\n", "1:6", "give-it"),
        ("FROM --platform=linux/none/of/these x\n", "1:6", ""),
    ] {
        let file = Containerfile::parse(text.as_bytes()).unwrap();
        let host = platform("linux/amd64");
        let args = Args::new(&file, BTreeMap::new(), &host, &host, "").unwrap();
        let parse = |text: &str| text.parse::<Platform>().map_err(|err| err.to_string());
        let err = (0..file.stages.len()).find_map(|number| graph(&file, &args, number, &host, &parse).err());
        let err = err.unwrap_or_else(|| panic!("{text}"));
        assert!(err.to_string().contains(message), "{text}: {err}");
        assert_eq!(err.position().unwrap().to_string(), at, "{text}: {err}");
    }
}

#[test]
fn variables_come_from_the_environment_then_from_arguments() {
    let base = json!({ "Env": ["PATH=/bin", "OLD=base"] });
    let text =
        "FROM x\nARG OLD=arg\nARG NEW=arg\nARG FROM_OLD=$OLD-$NEW\nENV A=$OLD B=$A C=${NEW}\nENV D=$A\n";
    let env = |given: &[(&str, &str)]| stage(text, given, &base).unwrap().config["Env"].clone();
    assert_eq!(env(&[]), json!(["PATH=/bin", "OLD=base", "A=base", "B=", "C=arg", "D=base"]));
    assert_eq!(env(&[("NEW", "given")])[4], "C=given");
    // Of those before the first stage, a stage knows what it declares.
    let text = "ARG V=1\nARG W=$V.2\nFROM x\nENV A=$W\nARG W\nENV B=$W C=$V\nARG TARGETARCH TARGETVARIANT BUILDPLATFORM\n\
                ENV D=$TARGETARCH/$TARGETVARIANT E=$BUILDPLATFORM\n";
    assert_eq!(config(text)["Env"], json!(["A=", "B=1.2", "C=", "D=arm/v7", "E=linux/amd64"]));
}

#[test]
fn the_config_is_what_the_instructions_say() {
    let text = "FROM x\nUSER a:b\nWORKDIR /a/../b\nWORKDIR c/\nEXPOSE 80 53/UDP 8000-8002/tcp\nVOLUME /v /w\nVOLUME [\"/x y\"]\n\
                STOPSIGNAL SIGUSR1\nLABEL a=1 \"b c\"='d e'\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT [\"/e\"]\nCMD c $HOME\n\
                HEALTHCHECK --interval=5s --retries=2 CMD check it\nONBUILD  RUN x \\\n  y\nMAINTAINER me\n";
    assert_eq!(
        config(text),
        json!({
            "User": "a:b", "WorkingDir": "/b/c",
            "ExposedPorts": { "80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {} },
            "Volumes": { "/v": {}, "/w": {}, "/x y": {} }, "StopSignal": "SIGUSR1",
            "Labels": { "a": "1", "b c": "d e" }, "Shell": ["/bin/bash", "-c"], "Entrypoint": ["/e"],
            "Cmd": ["/bin/bash", "-c", "c $HOME"],
            "Healthcheck": { "Test": ["CMD-SHELL", "check it"], "Interval": 5_000_000_000_u64, "Retries": 2 },
            "OnBuild": ["RUN x   y"],
        })
    );
    assert_eq!(config("FROM x\nHEALTHCHECK NONE\n"), json!({ "Healthcheck": { "Test": ["NONE"] } }));
    // An entry point of one's own takes no arguments of the base's.
    let base = json!({ "Cmd": ["old"], "ArgsEscaped": true });
    let of = |text: &str| stage(text, &[], &base).unwrap().config;
    assert_eq!(of("FROM x\nENTRYPOINT [\"e\"]\n"), json!({ "ArgsEscaped": true, "Entrypoint": ["e"] }));
    assert_eq!(of("FROM x\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n")["Cmd"], json!(["c"]));
}

#[test]
fn a_run_knows_its_shell_environment_and_mounts() {
    let text = "FROM x\nARG V=1 U\nENV E=2\nWORKDIR /w\nUSER me\nRUN --network=none --mount=type=cache,target=/c$V a \"$V\" &&\\\n b\n";
    let given = [("http_proxy", "http://p"), ("V", "3")];
    let done = stage(text, &given, &json!({})).unwrap();
    let Action::Run(run) = &done.steps.last().unwrap().action else { panic!() };
    assert_eq!(run.args, ["/bin/sh", "-c", "a \"$V\" && b"]);
    let pairs =
        |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<_>>();
    let path = polyarch::build::DEFAULT_PATH;
    assert_eq!(run.env, pairs(&[("E", "2"), ("V", "3"), ("PATH", path)]));
    assert_eq!(run.hidden_env, pairs(&[("http_proxy", "http://p")]));
    assert_eq!((run.user.as_str(), run.cwd.as_str(), run.network.as_deref()), ("me", "/w", Some("none")));
    assert!(matches!(&run.mounts[..], [Mount::Cache { target, .. }] if target == "/c3"));
    let history = shown(text, &given);
    assert_eq!(history.last().unwrap(), "RUN |1 V=3 /bin/sh -c a \"$V\" && b # buildkit");
    assert!(!history.concat().contains("http://p"));
}

#[test]
fn heredocs_of_a_run_are_scripts_or_for_the_shell() {
    let run = |text: &str| match done(text).steps.pop().unwrap().action {
        Action::Run(run) => (run.args, run.script),
        other => panic!("{other:?}"),
    };
    let (args, script) = run("FROM x\nRUN <<EOF\necho $A\nEOF\n");
    assert_eq!((args, script), (vec!["/bin/sh".into(), "-c".into(), "echo $A\n".into()], None));
    let (args, script) = run("FROM x\nRUN <<-EOF\n#!/usr/bin/python3\n\tprint(1)\n\tEOF\n");
    assert_eq!(args, ["/dev/pipes/EOF"]);
    assert_eq!(script.unwrap().1, "#!/usr/bin/python3\nprint(1)\n");
    let (args, _) = run("FROM x\nRUN cat <<A >/a; cat <<-B\n1\nA\n\t2\n\tB\n");
    assert_eq!(args[2], "cat <<A >/a; cat <<-B\n1\nA\n\t2\nB");
}

#[test]
fn copies_have_places_and_files_of_their_own() {
    let copy = |text: &str| match done(text).steps.pop().unwrap().action {
        Action::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    for (given, expected) in [
        ("/a", "/a"),
        ("a/", "/w/a/"),
        (".", "/w/"),
        ("/", "/"),
        ("../x", "/x"),
        ("$D", "/d/"),
        ("./", "/w/"),
    ] {
        let text = format!("FROM x\nENV D=/d/\nWORKDIR /w\nCOPY f {given}\n");
        assert_eq!(copy(&text).destination, expected, "{given}");
    }
    let it =
        copy("FROM x\nARG V=1\nCOPY --from=s$V --chown=$V:2 <<A f$V <<'B' /d/\na $V \"q\"\nA\nb $V\nB\n");
    assert_eq!((it.from.as_deref(), it.chown.as_deref()), (Some("s1"), Some("1:2")));
    let file = |name: &str, content: &str| Source::File { name: name.into(), content: content.into() };
    assert_eq!(it.sources, [file("A", "a 1 \"q\"\n"), Source::Path("f1".into()), file("B", "b $V\n")]);
    let it = copy("FROM x\nADD --checksum=sha256:ab --keep-git-dir https://a/b /c\n");
    assert!(it.add && it.keep_git_dir && it.checksum.as_deref() == Some("sha256:ab"));
}

#[test]
fn mistakes_in_values_are_told_with_their_place() {
    for (text, at, message) in [
        ("FROM x\nEXPOSE 80 http\n", "2:11", "`http` is no port"),
        ("FROM x\nEXPOSE 9-1\n", "2:8", "no port"),
        ("FROM x\nSTOPSIGNAL SIGSTOPP\n", "2:12", "no signal"),
        ("FROM x\nENV A=${B:?say-it}\n", "2:7", "say-it"),
        ("FROM x\nENV A=${B\n", "2:7", "has no `}`"),
        ("FROM x\nRUN --mount=type=cach,target=/x y\n", "2:5", "`cache`"),
        ("FROM x\nRUN --network=bridge y\n", "2:5", "no network `bridge`"),
        ("FROM x\nRUN --security=insecure y\n", "2:5", "cannot be had"),
        ("FROM x\nCOPY $NONE /x\n", "2:6", "is empty"),
    ] {
        let err = stage(text, &[], &json!({})).err().unwrap_or_else(|| panic!("{text}"));
        assert!(err.to_string().contains(message), "{text}: {err}");
        assert_eq!(err.position().unwrap().to_string(), at, "{text}: {err}");
    }
}

#[test]
fn arguments_that_no_one_declares_are_told() {
    let file = Containerfile::parse(b"ARG A\nFROM x\nARG B\n").unwrap();
    let given = ["A", "B", "C", "HTTP_PROXY"].map(|name| (name.to_owned(), String::new())).into();
    let host = platform("linux/amd64");
    assert_eq!(Args::new(&file, given, &host, &host, "").unwrap().unused(&file), ["C"]);
}
