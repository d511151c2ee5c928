//! Rules as files for others: other machines, other tools, clusters.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::Rule;
use super::rule::escaped;
use crate::target::Platform;

/// For whom.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// systemd-binfmt and OpenRC: a file a rule for `/etc/binfmt.d`; see binfmt.d(5).
    BinfmtD,
    /// Debian's binfmt-support: a file a rule for `update-binfmts --import`; see update-binfmts(8).
    UpdateBinfmts,
    /// A file a rule whose bytes are to be written to `/proc/sys/fs/binfmt_misc/register`.
    Proc,
    /// A cluster: one DaemonSet, whose privileged pod registers all rules on each node and removes them when it ends.
    Kubernetes {
        /// The image of the pod: it has a shell, mount, and the emulators at the rules' paths.
        image: String,
        /// The platform of the nodes.
        host: Platform,
    },
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A rule cannot be written in a form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The form is text in one coding, and the path is not.
    #[error("`{}` is no UTF-8, or has blanks at its ends, so it cannot stand in such a file", path.display())]
    Path {
        /// The interpreter.
        path: PathBuf,
    },
    /// The form does not know the flag.
    #[error("binfmt-support knows no flag `O` without `C`")]
    OpenBinary,
}

impl ExportError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Path { .. } => "name the emulator by another path, with `--interpreter`".into(),
            Self::OpenBinary => "leave `O` out of `--flags`, or export for `binfmt.d`".into(),
        })
    }
}

/// Writes `rules`.
///
/// # Errors
/// [`ExportError`] where a rule has what the form cannot say.
pub fn export(form: &Form, rules: &[Rule]) -> Result<Vec<Exported>, ExportError> {
    let file = |rule: &Rule, ending: &str, content: Vec<u8>| Exported {
        name: format!("{}{ending}", rule.name()),
        content,
    };
    match form {
        Form::BinfmtD => {
            let content = |rule: &Rule| [&rule.line()[..], b"\n"].concat();
            Ok(rules.iter().map(|rule| file(rule, ".conf", content(rule))).collect())
        }
        Form::Proc => Ok(rules.iter().map(|rule| file(rule, "", rule.line())).collect()),
        Form::UpdateBinfmts => {
            rules.iter().map(|rule| Ok(file(rule, "", update_binfmts(rule)?.into_bytes()))).collect()
        }
        Form::Kubernetes { image, host } => {
            let content = kubernetes(rules, image, host)?.into_bytes();
            Ok(vec![Exported { name: "polyarch-binfmt.yaml".into(), content }])
        }
    }
}

fn text(rule: &Rule) -> Result<&str, ExportError> {
    let path = rule.interpreter();
    path.to_str().filter(|text| text.trim() == *text).ok_or_else(|| ExportError::Path { path: path.into() })
}

fn update_binfmts(rule: &Rule) -> Result<String, ExportError> {
    let flags = rule.flags();
    if flags.open_binary && !flags.credentials {
        return Err(ExportError::OpenBinary);
    }
    let word = |flag: bool| if flag { "yes" } else { "no" };
    Ok(format!(
        "package polyarch\ninterpreter {}\nmagic {}\noffset 0\nmask {}\ncredentials {}\nfix_binary {}\npreserve {}\n",
        text(rule)?,
        escaped(rule.magic()),
        escaped(rule.mask()),
        word(flags.credentials),
        word(flags.fix_binary),
        word(flags.preserve_argv0),
    ))
}

/// A JSON text, which is one of YAML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn kubernetes(rules: &[Rule], image: &str, host: &Platform) -> Result<String, ExportError> {
    let mut script = String::from(
        "set -eu\n\
         registry=/proc/sys/fs/binfmt_misc\n\
         [ -e $registry/register ] || mount -t binfmt_misc binfmt_misc $registry\n\
         names=\n\
         trap 'for name in $names; do echo -1 > $registry/$name || :; done; exit 0' TERM INT\n\
         register() {\n\
         \x20 if [ -e \"$registry/$1\" ]; then echo -1 > \"$registry/$1\"; fi\n\
         \x20 printf %s \"$2\" > $registry/register\n\
         \x20 names=\"$names $1\"\n\
         }\n",
    );
    for rule in rules {
        text(rule)?;
        let line = String::from_utf8_lossy(&rule.line()).into_owned();
        let shell = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        // Writing to a string cannot fail.
        let _ = writeln!(script, "register {} {}", shell(rule.name()), shell(&line));
    }
    script.push_str("echo \"registered:$names\"\nwhile :; do sleep 2; done\n");
    let indented =
        script.lines().map(|line| format!("                {line}\n")).collect::<Vec<_>>().concat();
    let (image, os, architecture) = (quoted(image), quoted(&host.os), quoted(&host.architecture));
    Ok(format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: polyarch-binfmt
  namespace: kube-system
  labels:
    app.kubernetes.io/name: polyarch-binfmt
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: polyarch-binfmt
  template:
    metadata:
      labels:
        app.kubernetes.io/name: polyarch-binfmt
    spec:
      # The rules leave out what such a node runs itself.
      nodeSelector:
        kubernetes.io/os: {os}
        kubernetes.io/arch: {architecture}
      automountServiceAccountToken: false
      containers:
        - name: binfmt
          # It has a shell, mount, and the emulators at the paths that the rules name.
          image: {image}
          securityContext:
            # The kernel lets nobody else write its registry.
            privileged: true
          resources:
            limits:
              memory: 32Mi
          command:
            - /bin/sh
            - -c
            - |
{indented}"
    ))
}
