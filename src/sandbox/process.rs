//! What an image's config says of the program to run, and what the caller says otherwise.

use std::ffi::OsString;

use super::{DEFAULT_PATH, Process, SandboxError, User};
use crate::image::ImageConfiguration;

/// What the caller wants otherwise than the image says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Arguments, in place of the image's `Cmd`.
    pub args: Vec<OsString>,
    /// The program, in place of the image's `Entrypoint` and `Cmd`. An empty one takes the entry point away.
    pub entrypoint: Option<OsString>,
    /// Variables in addition to the image's; one without a value is taken away.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// The working directory.
    pub cwd: Option<OsString>,
    /// Whether the program has a terminal, which it is told of.
    pub tty: bool,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Groups in addition to the user's.
    pub groups: Vec<String>,
}

impl Process {
    /// The program that an image runs.
    ///
    /// # Errors
    /// [`SandboxError`] where there is no program.
    pub fn of(
        config: &ImageConfiguration,
        overrides: Overrides,
        hostname: &str,
    ) -> Result<Self, SandboxError> {
        let config = config.config().clone().unwrap_or_default();
        let words =
            |words: &Option<Vec<String>>| words.iter().flatten().map(OsString::from).collect::<Vec<_>>();
        let mut args = match &overrides.entrypoint {
            Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
            Some(entrypoint) => vec![entrypoint.clone()],
            None => words(config.entrypoint()),
        };
        if !overrides.args.is_empty() {
            args.extend(overrides.args);
        } else if overrides.entrypoint.is_none() {
            args.extend(words(config.cmd()));
        }
        if args.is_empty() {
            return Err(SandboxError::NoProgram);
        }

        let mut env: Vec<(OsString, OsString)> =
            vec![("PATH".into(), DEFAULT_PATH.into()), ("HOSTNAME".into(), hostname.into())];
        // As docker has it, whatever the caller's terminal is: hardly an image knows another.
        env.extend(overrides.tty.then(|| ("TERM".into(), "xterm".into())));
        let given = config.env().iter().flatten().filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            (!name.is_empty()).then(|| (name.into(), Some(value.into())))
        });
        for (name, value) in given.chain(overrides.env) {
            match (env.iter_mut().find(|(known, _)| *known == name), value) {
                (Some(known), Some(value)) => known.1 = value,
                (None, Some(value)) => env.push((name, value)),
                (_, None) => env.retain(|(known, _)| *known != name),
            }
        }
        let cwd = overrides
            .cwd
            .or_else(|| config.working_dir().clone().map(OsString::from))
            .unwrap_or_else(|| "/".into());
        let name = overrides.user.or_else(|| config.user().clone()).unwrap_or_default();
        Ok(Self { args, env, cwd, user: User { name, groups: overrides.groups } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ImageConfiguration {
        let rest = r#""architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}"#;
        serde_json::from_str(&format!("{{{rest},\"config\":{text}}}")).unwrap()
    }

    #[test]
    fn arguments_replace_cmd_and_an_entrypoint_replaces_both() {
        let image = config(r#"{"Entrypoint":["/e","x"],"Cmd":["c"]}"#);
        let args = |overrides: Overrides| Process::of(&image, overrides, "h").map(|process| process.args);
        assert_eq!(args(Overrides::default()).unwrap(), ["/e", "x", "c"]);
        assert_eq!(
            args(Overrides { args: vec!["a".into()], ..Default::default() }).unwrap(),
            ["/e", "x", "a"]
        );
        let entrypoint = |name: &str| Overrides { entrypoint: Some(name.into()), ..Default::default() };
        assert_eq!(args(entrypoint("/n")).unwrap(), ["/n"]);
        assert!(matches!(args(entrypoint("")), Err(SandboxError::NoProgram)));
        assert_eq!(args(Overrides { args: vec!["a".into()], ..entrypoint("") }).unwrap(), ["a"]);
    }

    #[test]
    fn the_environment_is_the_images_and_then_the_callers() {
        let image = config(r#"{"Cmd":["c"],"Env":["A=1","B=2=3","X=1","PATH=/p","broken"]}"#);
        let overrides = Overrides {
            env: vec![("A".into(), Some("9".into())), ("X".into(), None)],
            tty: true,
            ..Default::default()
        };
        let process = Process::of(&image, overrides, "h").unwrap();
        let expected = [("PATH", "/p"), ("HOSTNAME", "h"), ("TERM", "xterm"), ("A", "9"), ("B", "2=3")];
        assert_eq!(process.env, expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(process.cwd, "/");
    }

    #[test]
    fn the_user_is_the_callers_or_the_images() {
        let image = config(r#"{"Cmd":["c"],"User":"anna:users"}"#);
        let user = |overrides| Process::of(&image, overrides, "h").unwrap().user;
        assert_eq!(user(Overrides::default()).name, "anna:users");
        assert_eq!(user(Overrides { user: Some("5".into()), ..Default::default() }).name, "5");
    }
}
