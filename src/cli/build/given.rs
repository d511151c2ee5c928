//! What the command line gives a build: arguments, contexts, secrets, labels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::report::Told;
use super::super::run::variable;
use crate::build::context::Context;
use crate::build::{NamedContext, Secret};
use crate::containerfile::Ignore;

/// The largest secret, in bytes: as docker.
const SECRET_MOST: u64 = 500 << 10;

#[derive(Debug, clap::Args)]
pub(super) struct GivenArgs {
    /// An argument for `ARG`; without a value, the one that the variable has here
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// What `--from=NAME` and `FROM NAME` mean: a folder, or `docker-image://IMAGE`
    #[arg(long, value_name = "NAME=WHAT", value_parser = variable)]
    build_context: Vec<(String, String)>,

    /// A secret for `RUN --mount=type=secret`: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`
    #[arg(long, value_name = "id=NAME,…")]
    secret: Vec<String>,

    /// An agent of ssh for `RUN --mount=type=ssh` [default of SOCKET: that of `SSH_AUTH_SOCK`]
    #[arg(long, value_name = "NAME[=SOCKET]", num_args = 0..=1, require_equals = false, default_missing_value = "default")]
    ssh: Vec<String>,

    /// A label of the image
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub(super) label: Vec<(String, String)>,

    /// An annotation of the image's manifests and index
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) annotation: Vec<(String, String)>,
}

/// A label may be without a value.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() { Err("a label needs a name".into()) } else { Ok((name.into(), value.into())) }
}

impl GivenArgs {
    pub(super) fn args(&self) -> BTreeMap<String, String> {
        let one = |text: &String| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => std::env::var(text).ok().map(|value| (text.clone(), value)),
        };
        self.build_arg.iter().filter_map(one).collect()
    }

    pub(super) fn contexts(&self) -> anyhow::Result<BTreeMap<String, NamedContext>> {
        let one = |(name, what): &(String, String)| {
            let context = match what.strip_prefix("docker-image://") {
                Some(image) => NamedContext::Image(image.to_owned()),
                None if what.contains(':') && !Path::new(what).is_dir() => {
                    NamedContext::Image(what.trim_start_matches("oci-layout://").to_owned())
                }
                None => NamedContext::Folder(Context::open(Path::new(what), Ignore::default())?),
            };
            Ok((name.clone(), context))
        };
        self.build_context.iter().map(one).collect()
    }

    pub(super) fn secrets(&self) -> anyhow::Result<BTreeMap<String, Secret>> {
        self.secret.iter().map(|text| secret(text)).collect()
    }

    pub(super) fn agents(&self) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let one = |text: &String| {
            let (name, socket) = if let Some((name, socket)) = text.split_once('=') {
                (name, PathBuf::from(socket))
            } else {
                let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(|| {
                    Told::new(
                        "`--ssh` without a socket, and `SSH_AUTH_SOCK` is not set",
                        "start an agent with `eval $(ssh-agent)`, or give `--ssh NAME=SOCKET`",
                    )
                })?;
                (text.as_str(), PathBuf::from(socket))
            };
            let socket = std::path::absolute(&socket)
                .with_context(|| format!("the agent's socket `{}`", socket.display()))?;
            Ok((name.to_owned(), socket))
        };
        self.ssh.iter().map(one).collect()
    }
}

fn secret(text: &str) -> anyhow::Result<(String, Secret)> {
    let wrong = |message: String| {
        Told::new(message, "as in `--secret id=token,src=token.txt` or `--secret id=token,env=TOKEN`")
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            // Not the whole: what is wrong may be the secret itself.
            _ => return Err(wrong("`--secret` has a field that is not known".into()).into()),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("`--secret` has no `id`".into()))?;
    if file.is_none() && variable.is_none() {
        if kind != Some("file") && std::env::var_os(&id).is_some() {
            variable = Some(id.clone());
        } else {
            file = Some(PathBuf::from(&id));
        }
    }
    if kind == Some("env") && variable.is_none() {
        variable = file.take().map(|name| name.to_string_lossy().into_owned());
    }
    let bytes = match (&variable, &file) {
        (Some(name), _) => {
            use std::os::unix::ffi::OsStringExt as _;
            let value = std::env::var_os(name);
            value
                .ok_or_else(|| wrong(format!("the secret `{id}`: the variable `{name}` is not set")))?
                .into_vec()
        }
        (None, Some(path)) => {
            let doing = || format!("reading the secret `{id}` from `{}`", path.display());
            let there = std::fs::metadata(path).with_context(doing)?;
            if there.len() > SECRET_MOST {
                return Err(wrong(format!("the secret `{id}` has more than {SECRET_MOST} bytes")).into());
            }
            std::fs::read(path).with_context(doing)?
        }
        (None, None) => Vec::new(),
    };
    Ok((id, Secret(bytes)))
}
