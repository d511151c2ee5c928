//! Containerfiles are read as Docker's reference has it, and mistakes in them are told with their place.

use polyarch::containerfile::{
    Command, Containerfile, ContainerfileError, Healthcheck, Input, Instruction, Pair, SIZE_LIMIT,
};

fn parsed(text: &str) -> Containerfile {
    Containerfile::parse(text.as_bytes()).unwrap_or_else(|err| panic!("{}: {err}: {text}", err.at))
}

fn fault(text: &str) -> ContainerfileError {
    Containerfile::parse(text.as_bytes()).expect_err(text)
}

/// The only instruction after `FROM`.
fn one(line: &str) -> Instruction {
    let mut file = parsed(&format!("FROM a\n{line}\n"));
    assert_eq!(file.stages.len(), 1);
    assert_eq!(file.stages[0].instructions.len(), 1, "{line}");
    file.stages[0].instructions.remove(0).instruction
}

fn pairs(list: Vec<Pair>) -> Vec<(String, String)> {
    list.into_iter().map(|pair| (pair.name.text, pair.value.text)).collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.into())
}

fn exec(list: &[&str]) -> Command {
    Command::Exec(list.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn stages_have_names_numbers_and_what_stands_before_them() {
    let file = parsed(
        "# syntax=docker/dockerfile:1\nARG BASE=debian TAG\nFROM --platform=$BUILDPLATFORM ${BASE} AS Build\nRUN x\n\
         from scratch\nCOPY --from=build /a /b\nFROM build as last\n",
    );
    assert_eq!(file.directives.syntax.as_ref().unwrap().0, "docker/dockerfile:1");
    assert_eq!(file.args.len(), 2);
    assert_eq!(file.args[0].default.as_ref().unwrap().text, "debian");
    assert!(file.args[1].default.is_none());
    let names: Vec<_> = file.stages.iter().map(|stage| stage.name.as_deref()).collect();
    assert_eq!(names, [Some("build"), None, Some("last")]);
    assert_eq!(file.stages[0].from.platform.as_ref().unwrap().text, "$BUILDPLATFORM");
    assert_eq!(file.stages[0].from.base.text, "${BASE}");
    assert_eq!(
        (file.stage("BUILD"), file.stage("1"), file.stage("3"), file.stage("none")),
        (Some(0), Some(1), None, None)
    );
    assert_eq!((file.stage_before("last", 2), file.stage_before("0", 1)), (None, Some(0)));
    assert_eq!(file.stages[2].at.to_string(), "7:1");
}

#[test]
fn commands_have_two_forms() {
    assert_eq!(one(r#"CMD ["a", "b c"]"#), Instruction::Cmd(exec(&["a", "b c"])));
    assert_eq!(one("CMD []"), Instruction::Cmd(exec(&[])));
    assert_eq!(one("CMD ['a']"), Instruction::Cmd(shell("['a']")));
    assert_eq!(one("cmd echo  $HOME | cat"), Instruction::Cmd(shell("echo  $HOME | cat")));
    assert_eq!(one(r#"ENTRYPOINT ["x"] y"#), Instruction::Entrypoint(shell(r#"["x"] y"#)));
    assert_eq!(one(r#"SHELL ["/bin/bash","-c"]"#), Instruction::Shell(vec!["/bin/bash".into(), "-c".into()]));
    let Instruction::Run(run) =
        one("RUN --network=none --mount=type=cache,target=/c --mount=target=/d a && \\\n  b")
    else {
        panic!()
    };
    assert_eq!(run.command, shell("a &&   b"));
    assert_eq!(run.network.unwrap().text, "none");
    assert_eq!(
        run.mounts.iter().map(|it| it.text.as_str()).collect::<Vec<_>>(),
        ["type=cache,target=/c", "target=/d"]
    );
}

#[test]
fn names_and_values() {
    let Instruction::Env(list) = one(r#"ENV A=1 B="two words" C=it\ is D='$x' E="#) else { panic!() };
    let expected = [("A", "1"), ("B", "\"two words\""), ("C", r"it\ is"), ("D", "'$x'"), ("E", "")];
    assert_eq!(pairs(list), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let Instruction::Env(list) = one("ENV A  b=c  d") else { panic!() };
    assert_eq!(pairs(list), [("A".to_owned(), "b=c  d".to_owned())]);
    let Instruction::Label(list) = one("LABEL \"a b\"=c \\\n  d=e") else { panic!() };
    assert_eq!(pairs(list), [("\"a b\"".into(), "c".into()), ("d".into(), "e".into())]);
    let Instruction::Arg(list) = one("ARG A B=c") else { panic!() };
    assert_eq!((list[0].default.is_none(), list[1].name.text.as_str()), (true, "B"));
}

#[test]
fn copies_have_sources_a_destination_and_flags() {
    let Instruction::Copy(copy) =
        one("COPY --from=x --link --chown=1:2 --chmod=644 --exclude=*.o --exclude=a/** --parents a b /c/")
    else {
        panic!()
    };
    assert!(copy.options.link && copy.parents);
    assert_eq!((copy.from.unwrap().text.as_str(), copy.destination.text.as_str()), ("x", "/c/"));
    assert_eq!((copy.sources.len(), copy.options.exclude.len()), (2, 2));
    let Instruction::Copy(copy) = one(r#"COPY ["a b", "/c d/"]"#) else { panic!() };
    assert!(matches!(&copy.sources[..], [Input::Path(word)] if word.text == "a b"));
    assert_eq!(copy.destination.text, "/c d/");
    let Instruction::Copy(copy) = one("COPY --link=false <<A file <<-\"B\" /d/\none $X\nA\n\ttwo $X\nB")
    else {
        panic!()
    };
    let [Input::Heredoc(a), Input::Path(file), Input::Heredoc(b)] = &copy.sources[..] else {
        panic!("{copy:?}")
    };
    assert_eq!((a.content().as_str(), a.expand, file.text.as_str()), ("one $X\n", true, "file"));
    assert_eq!((b.content().as_str(), b.expand), ("two $X\n", false));
    let Instruction::Add(add) = one("ADD --checksum=sha256:0 --unpack=false --keep-git-dir https://x/y /z")
    else {
        panic!()
    };
    assert_eq!(
        (add.unpack, add.keep_git_dir, add.checksum.unwrap().text.as_str()),
        (Some(false), true, "sha256:0")
    );
}

#[test]
fn heredocs_of_run_stay_with_it() {
    let Instruction::Run(run) = one("RUN <<EOF\n#!/bin/sh\necho a\nEOF") else { panic!() };
    assert_eq!((run.command, run.heredocs[0].body.as_str()), (shell("<<EOF"), "#!/bin/sh\necho a\n"));
    let Instruction::Run(run) = one("RUN cat <<A >/a && cat <<B\n1\nA\n2\nB") else { panic!() };
    assert_eq!(run.heredocs.len(), 2);
    let Instruction::Onbuild(inner) = one("ONBUILD COPY <<A /a\n1\nA") else { panic!() };
    let Instruction::Copy(copy) = inner.instruction else { panic!() };
    assert!(matches!(&copy.sources[..], [Input::Heredoc(it)] if it.body == "1\n"));
}

#[test]
fn the_other_instructions() {
    assert!(matches!(one("WORKDIR /a b"), Instruction::Workdir(word) if word.text == "/a b"));
    assert!(matches!(one("USER 1:2"), Instruction::User(word) if word.text == "1:2"));
    assert!(matches!(one("STOPSIGNAL SIGINT"), Instruction::StopSignal(word) if word.text == "SIGINT"));
    assert!(matches!(one("MAINTAINER a <b@c>"), Instruction::Maintainer(text) if text == "a <b@c>"));
    assert!(matches!(one("EXPOSE 80 443/udp"), Instruction::Expose(list) if list.len() == 2));
    assert!(matches!(one(r#"VOLUME ["/a b"]"#), Instruction::Volume(list) if list[0].text == "/a b"));
    assert!(matches!(one("VOLUME /a /b"), Instruction::Volume(list) if list.len() == 2));
    assert!(matches!(one("HEALTHCHECK NONE"), Instruction::Healthcheck(Healthcheck::None)));
    let Instruction::Healthcheck(Healthcheck::Command { command, times, retries }) = one(
        "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0 --start-interval=1.5h --retries=3 CMD a b",
    ) else {
        panic!()
    };
    assert_eq!((command, retries), (shell("a b"), Some(3)));
    assert_eq!((times.interval, times.timeout), (Some(90_000_000_000), Some(500_000_000)));
    assert_eq!((times.start_period, times.start_interval), (Some(0), Some(5_400_000_000_000)));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, at, message, hint) in [
        ("", "1:1", "no instructions", "FROM"),
        ("# nothing\n\n", "1:1", "no instructions", "FROM"),
        ("ARG a\n", "1:1", "no `FROM`", ""),
        ("RUN x\n", "1:1", "first instruction must be `FROM`", "scratch"),
        ("FROM a\n\n  RNU x\n", "3:3", "no instruction `RNU`", "`RUN`"),
        ("FROM a\nRUN a\n&& b\n", "3:1", "no instruction `&&`", "one before it"),
        ("FROM a b\n", "1:6", "`AS`", ""),
        ("FROM a AS 1b\n", "1:11", "stage's name", "letter"),
        ("FROM a AS b c\n", "1:6", "`AS`", ""),
        ("FROM\n", "1:5", "needs an argument", ""),
        ("FROM a\nRUN --mont=type=tmpfs x\n", "2:5", "no flag `--mont`", "`--mount`"),
        ("FROM a\nCOPY --link --link a b\n", "2:13", "given twice", ""),
        ("FROM a\nCOPY --link=maybe a b\n", "2:6", "`true` or `false`", ""),
        ("FROM a\nCOPY --from a b\n", "2:6", "needs a value", "--from=value"),
        ("FROM a\nCOPY a\n", "2:6", "a source and a destination", "/folder/"),
        ("FROM a\nCOPY a <<B\nB\n", "2:8", "cannot be the destination", ""),
        ("FROM a\nENV A=1 B\n", "2:9", "`B` is not of the form", "quotes"),
        ("FROM a\nENV A\n", "2:5", "a name and a value", "A=value"),
        ("FROM a\nENV =b\n", "2:5", "not of the form", ""),
        ("FROM a\nSHELL /bin/sh\n", "2:7", "list in JSON", "SHELL"),
        ("FROM a\nRUN\n", "2:4", "needs an argument", ""),
        ("FROM a\nRUN []\n", "2:5", "nothing to run", ""),
        ("FROM a\nONBUILD ONBUILD RUN x\n", "2:9", "cannot hold `ONBUILD`", ""),
        ("FROM a\nONBUILD FROM x\n", "2:9", "cannot hold `FROM`", ""),
        ("FROM a\nONBUILD RUM x\n", "2:9", "no instruction `RUM`", "`RUN`"),
        ("FROM a\nHEALTHCHECK CMD\n", "2:13", "needs a command", ""),
        ("FROM a\nHEALTHCHECK RUN x\n", "2:13", "`CMD` or `NONE`", ""),
        ("FROM a\nHEALTHCHECK --interval=soon CMD x\n", "2:13", "no time", "30s"),
        ("FROM a\nHEALTHCHECK --retries=x CMD x\n", "2:13", "no number of retries", ""),
        ("FROM a\nRUN x \\\n  <<EOF\n", "3:3", "`EOF` has no end", "nothing else"),
        ("FROM a\nUSER --x=1 b\n", "2:6", "no flag `--x`", "after `--`"),
    ] {
        let err = fault(text);
        assert_eq!(err.at.to_string(), at, "{text}: {err}");
        assert!(err.message.contains(message), "{text}: {err}");
        assert!(err.hint.unwrap_or_default().contains(hint), "{text}");
    }
    assert!(Containerfile::parse(&vec![b'#'; SIZE_LIMIT + 1]).is_err());
    assert!(fault("FROM a\n\u{1b}[31mX y\n").message.contains("\\u{1b}"));
}

#[test]
fn odd_things_are_warned_of() {
    let rules = |text: &str| parsed(text).warnings.iter().map(|it| it.rule).collect::<Vec<_>>();
    let clean = "FROM a AS b\nENV A=b\nWORKDIR /x\nCMD [\"x\"]\n";
    assert_eq!(rules(clean), [""; 0]);
    for text in [
        "ARG TAG\nFROM a:${TAG:-1}\n",
        "ARG A=x\nARG B=$A\nFROM $B:1\n",
        "FROM a-$TARGETARCH\n",
        "ARG SUFFIX\nFROM a$SUFFIX\n",
    ] {
        let file = Containerfile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.warnings, [], "{text}");
    }
    for (text, rule) in [
        ("FROM a as b\n", "FromAsCasing"),
        ("FROM a AS B\n", "StageNameCasing"),
        ("FROM a AS scratch\n", "ReservedStageName"),
        ("FROM a AS b\nFROM a AS b\n", "DuplicateStageName"),
        ("FROM a\nrun x\n", "ConsistentInstructionCasing"),
        ("FROM a\nRUN x \\\n\n  y\n", "NoEmptyContinuation"),
        ("FROM a\nCMD x\n", "JSONArgsRecommended"),
        ("FROM a\nMAINTAINER x\n", "MaintainerDeprecated"),
        ("FROM a\nWORKDIR x\n", "WorkdirRelativePath"),
        ("FROM a\nENV A b\n", "LegacyKeyValueFormat"),
        ("FROM a\nARG API_TOKEN\n", "SecretsUsedInArgOrEnv"),
        ("FROM a\nEXPOSE 80/TCP\n", "ExposeProtoCasing"),
        ("FROM a\nEXPOSE 127.0.0.1:80\n", "ExposeInvalidFormat"),
        ("FROM --platform=linux/arm64 a\n", "FromPlatformFlagConstDisallowed"),
        ("FROM --platform=$TARGETPLATFORM a\n", "RedundantTargetPlatform"),
        ("ARG BASE=a\nFROM $BSE\n", "UndefinedArgInFrom"),
        ("FROM a AS b\nARG T=1\nFROM a:$T\n", "UndefinedArgInFrom"),
        ("ARG TAG\nFROM a:${TAG}\n", "InvalidDefaultArgInFrom"),
        ("ARG BASE\nFROM $BASE\n", "InvalidDefaultArgInFrom"),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", "MultipleInstructionsDisallowed"),
    ] {
        assert_eq!(rules(text), [rule], "{text}");
    }
    assert_eq!(rules("FROM a\nCMD [\"x\"]\nFROM a\nCMD [\"y\"]\nARG PUBLIC_KEY\n"), [""; 0]);
}
