//! How the bundle's container is started.

use crate::bundle::{Keep, Settings};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How it is started")]
pub(super) struct Start {
    /// The program that is started [default: the first that is given]; several words as a JSON array
    #[arg(long, value_name = "WORD|JSON", value_parser = words)]
    entrypoint: Option<Words>,

    /// Its arguments when the image is run without any; several as a JSON array
    #[arg(long, value_name = "WORD|JSON", value_parser = words)]
    cmd: Option<Words>,

    /// An environment variable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = crate::cli::run::variable)]
    env: Vec<(String, String)>,

    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// The user, and the group, that it runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// A label of the image
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = crate::cli::run::variable)]
    label: Vec<(String, String)>,

    /// A port that it listens on
    #[arg(short, long, value_name = "PORT[/PROTOCOL]", value_parser = port)]
    port: Vec<String>,

    /// A folder for data, which the runtime keeps
    #[arg(long, value_name = "DIR")]
    volume: Vec<String>,

    /// Start no program: stay until stopped, for who opens a shell in it
    #[arg(long)]
    idle: bool,

    /// Start the program by an init, which passes signals on and buries orphans
    #[arg(long, conflicts_with = "idle")]
    init: bool,

    /// Add a static busybox of the host as `/bin/sh`, from Debian's package by its digest
    #[arg(long)]
    pub(super) shell: bool,
}

impl Start {
    pub(super) fn settings(&self, arguments: &[String]) -> Settings {
        let cmd = self.cmd.clone().map(|words| words.0);
        Settings {
            entrypoint: self.entrypoint.clone().map(|words| words.0),
            cmd: if arguments.is_empty() { cmd } else { Some(arguments.to_vec()) },
            env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            labels: self.label.clone(),
            ports: self.port.clone(),
            volumes: self.volume.clone(),
        }
    }

    pub(super) fn keep(&self) -> Keep {
        Keep { idle: self.idle, init: self.init, shell: None }
    }
}

/// One word, or a JSON array of words.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

fn words(text: &str) -> Result<Words, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map(Words)
            .map_err(|err| format!("it is no JSON array of words: {err}"));
    }
    Ok(Words(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }))
}

fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match number.parse::<u16>() {
        Ok(1..) if matches!(protocol, "tcp" | "udp" | "sctp") => Ok(format!("{number}/{protocol}")),
        _ => Err("a port is given as `80`, `80/tcp` or `53/udp`".into()),
    }
}
