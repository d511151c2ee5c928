//! Limits of a process (`--ulimit`), and what of them can be had.

use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use super::ConfineError;

/// One limit. `None` is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As docker calls it: `nofile`.
    pub name: String,
    /// What counts.
    pub soft: Option<u64>,
    /// How far a process may raise it.
    pub hard: Option<u64>,
}

/// Names, and what they mean.
const NAMES: &[(&str, Resource)] = &[
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl Ulimit {
    /// `NAME=SOFT[:HARD]`; `-1` is no limit.
    ///
    /// # Errors
    /// [`ConfineError::Ulimit`] where it is not that.
    pub fn parse(text: &str) -> Result<Self, ConfineError> {
        let wrong = |reason: &str| ConfineError::Ulimit { text: text.into(), reason: reason.into() };
        let (name, values) = text.split_once('=').ok_or_else(|| wrong("it has no value"))?;
        if resource(name).is_none() {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            return Err(wrong(&format!("`{name}` is none of {}", names.join(", "))));
        }
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            // All bits are the kernel's word for none.
            _ => text.parse::<u64>().map(|number| Some(number).filter(|number| *number != u64::MAX)),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (Ok(soft), Ok(hard)) = (number(soft), number(hard)) else {
            return Err(wrong("its value is no number"));
        };
        if is_above(soft, hard) {
            return Err(wrong("the soft limit is above the hard one"));
        }
        Ok(Self { name: name.into(), soft, hard })
    }

    /// What of it can be had here, where the hard limit may be lower and not be raised; and what is to be said of that.
    #[must_use]
    pub(in super::super) fn granted(&self) -> (Self, Option<String>) {
        let Some(resource) = resource(&self.name) else { return (self.clone(), None) };
        let there = rustix::process::getrlimit(resource).maximum;
        if !is_above(self.hard, there) {
            return (self.clone(), None);
        }
        let soft = if is_above(self.soft, there) { there } else { self.soft };
        let most = there.map_or_else(|| "none".to_owned(), |most| most.to_string());
        let less = format!("`--ulimit {}`: the limit here is {most}, and may not be raised", self.name);
        (Self { name: self.name.clone(), soft, hard: there }, Some(less))
    }

    /// Has this process have it, and what it becomes. Gives what is to be said where it is less.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in super::super) fn set(&self) -> rustix::io::Result<Option<String>> {
        let Some(resource) = resource(&self.name) else { return Ok(None) };
        let set = |limit: &Self| {
            rustix::process::setrlimit(resource, Rlimit { current: limit.soft, maximum: limit.hard })
        };
        if set(self).is_ok() {
            return Ok(None);
        }
        let (limit, less) = self.granted();
        set(&limit)?;
        Ok(less)
    }

    /// Raises the hard limit of this process where it may, so that what it starts may.
    pub(in super::super) fn raise(&self) {
        let Some(resource) = resource(&self.name) else { return };
        let there = rustix::process::getrlimit(resource);
        if is_above(self.hard, there.maximum) {
            // Where it may not, that is told when the limit is set.
            let _ = rustix::process::setrlimit(resource, Rlimit { maximum: self.hard, ..there });
        }
    }
}

fn resource(name: &str) -> Option<Resource> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
}

/// Whether a limit lets more through than another.
fn is_above(limit: Option<u64>, other: Option<u64>) -> bool {
    match (limit, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(limit), Some(other)) => limit > other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let read = |text: &str| Ulimit::parse(text).ok().map(|limit| (limit.soft, limit.hard));
        assert_eq!(read("nofile=5"), Some((Some(5), Some(5))));
        assert_eq!(read("nproc=5:-1"), Some((Some(5), None)));
        assert_eq!(read("core=0:unlimited"), Some((Some(0), None)));
        for wrong in
            ["", "nofile", "nofile=", "files=5", "nofile=6:5", "nofile=-1:5", "nofile=-2", "nofile=1:2:3"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
