//! The program's environment: `-e` and `--env-file`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::report::Told;

/// How much of a file is read at most, in bytes; a longer one is refused.
const FILE_MOST: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct EnvironmentArgs {
    /// Set an environment variable; without a value, pass on the one that it has here, or take it away where it has none
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = passed)]
    env: Vec<(String, Option<String>)>,

    /// Set environment variables by the lines of a file, each as for `-e`; lines that begin with `#` do not count, and quotes are
    /// part of the value
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

impl EnvironmentArgs {
    /// The variables in their order: `-e` comes after all files. Those without a value are taken away.
    pub(super) fn variables(self) -> Result<Vec<(OsString, Option<OsString>)>, Told> {
        let mut all = Vec::new();
        for file in &self.env_file {
            let lines = read(file).and_then(|text| parse(&text, |name| std::env::var(name).ok()));
            all.extend(lines.map_err(|reason| Told {
                message: format!("the variables in `{}`: {reason}", file.display()),
                hint: Some("a line is `NAME=VALUE`, or `NAME` for the value that it has here".into()),
                status: None,
            })?);
        }
        all.extend(self.env);
        Ok(all.into_iter().map(|(name, value)| (name.into(), value.map(OsString::from))).collect())
    }
}

/// `NAME=VALUE`, or `NAME` with the value that it has here.
fn passed(text: &str) -> Result<(String, Option<String>), String> {
    if text.contains('=') {
        return variable(text).map(|(name, value)| (name, Some(value)));
    }
    if text.is_empty() {
        Err("a variable needs a name".into())
    } else {
        Ok((text.into(), std::env::var(text).ok()))
    }
}

/// `NAME=VALUE`.
pub(in super::super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as `NAME=VALUE`")?;
    if name.is_empty() { Err("a variable needs a name".into()) } else { Ok((name.into(), value.into())) }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MOST + 1).read_to_end(&mut text))
        .map_err(|err| err.to_string())?;
    if text.len() as u64 > FILE_MOST {
        return Err(format!("more than {FILE_MOST} bytes"));
    }
    String::from_utf8(text).map_err(|_| "not UTF-8".into())
}

/// The lines of a file as docker reads it: no quotes, no continued lines, no `export`. A bare name that `here` does not know is left out.
fn parse(text: &str, here: impl Fn(&str) -> Option<String>) -> Result<Vec<(String, Option<String>)>, String> {
    let mut all = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, here(line)),
        };
        if name.is_empty() {
            return Err(format!("line {}: a variable needs a name", at + 1));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("line {}: the name `{name}` has spaces in it", at + 1));
        }
        if value.is_some() {
            all.push((name.to_owned(), value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let here = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        let text =
            "\u{feff}A=1\r\n  # B=2\n\n#C=3\n\tD= \"x\" # no comment\nHERE\nNOT_HERE\nE=\nF=a=b\nA=2\n";
        let got = parse(text, here).unwrap();
        let expected =
            [("A", "1"), ("D", " \"x\" # no comment"), ("HERE", "yes"), ("E", ""), ("F", "a=b"), ("A", "2")];
        assert_eq!(got, expected.map(|(name, value)| (name.into(), Some(value.to_owned()))));
        for (text, words) in
            [("=x", "line 1: a variable needs a name"), ("\nA B=1", "line 2: the name `A B`")]
        {
            let err = parse(text, here).unwrap_err();
            assert!(err.contains(words), "{err}");
        }
    }
}
