//! Build arguments: those of the platform, those that the user gives, those that a file declares.

use std::collections::BTreeMap;

use super::BuildError;
use crate::containerfile::{Arg, Containerfile, Expander};
use crate::target::Platform;

/// Arguments that every step knows without having declared them, and that neither history nor cache know.
///
/// Source: Docker's reference, "Predefined ARGs".
pub const PREDEFINED: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments of a build for one platform.
#[derive(Debug, Clone)]
pub struct Args {
    /// What the user gives.
    given: BTreeMap<String, String>,
    /// `TARGETPLATFORM` and the like.
    platform: BTreeMap<&'static str, String>,
    /// What the file declares before its first stage.
    global: Vec<(String, Option<String>)>,
    escape: char,
}

impl Args {
    /// The arguments of `file`, built for `target` on `build`, with `stage` the name of the stage that is asked for.
    ///
    /// # Errors
    /// [`BuildError`] where a default cannot be expanded.
    pub fn new(
        file: &Containerfile,
        given: BTreeMap<String, String>,
        build: &Platform,
        target: &Platform,
        stage: &str,
    ) -> Result<Self, BuildError> {
        let mut platform = BTreeMap::new();
        let names = |prefix: [&'static str; 4], of: &Platform, into: &mut BTreeMap<&'static str, String>| {
            let variant = of.variant.clone().unwrap_or_default();
            let values = [of.to_string(), of.os.clone(), of.architecture.clone(), variant];
            into.extend(prefix.into_iter().zip(values));
        };
        names(["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"], build, &mut platform);
        names(["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"], target, &mut platform);
        platform.insert("TARGETSTAGE", stage.to_owned());
        let mut args = Self { given, platform, global: Vec::new(), escape: file.directives.escape };
        for arg in &file.args {
            let value = args.value(arg, &|name| args.global(name))?;
            args.global.push((arg.name.text.clone(), value));
        }
        Ok(args)
    }

    /// The value of a name in `FROM`, and wherever a stage's own are not known.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<String> {
        match self.global.iter().rev().find(|(known, _)| known == name) {
            Some((_, value)) => value.clone(),
            None => self.platform.get(name).cloned(),
        }
    }

    /// Whether the file declares `name` before its first stage, or every file has it.
    #[must_use]
    pub fn is_global(&self, name: &str) -> bool {
        self.platform.contains_key(name) || self.global.iter().any(|(known, _)| known == name)
    }

    /// What an `ARG` of a stage is: what the user gives, else its default, else what the name is before the first stage.
    pub(super) fn of_stage(
        &self,
        arg: &Arg,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, BuildError> {
        let value = self.value(arg, lookup)?;
        Ok(value.or_else(|| self.global(&arg.name.text)))
    }

    fn value(
        &self,
        arg: &Arg,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, BuildError> {
        if let Some(given) = self.given.get(&arg.name.text) {
            return Ok(Some(given.clone()));
        }
        let Some(default) = &arg.default else { return Ok(None) };
        let value = Expander::new(self.escape, lookup).word(&default.text);
        value.map(Some).map_err(|err| BuildError::at(default.at, err.to_string()))
    }

    /// Proxies that the user gives: steps have them, and nothing else knows of them.
    #[must_use]
    pub fn predefined(&self) -> Vec<(String, String)> {
        let known = |name: &&str| self.given.get(*name).map(|value| ((*name).to_owned(), value.clone()));
        PREDEFINED.iter().filter_map(known).collect()
    }

    /// What the user gives and no `ARG` of `file` declares.
    #[must_use]
    pub fn unused(&self, file: &Containerfile) -> Vec<String> {
        use crate::containerfile::Instruction;
        let mut declared: Vec<&str> = file.args.iter().map(|arg| arg.name.text.as_str()).collect();
        for located in file.stages.iter().flat_map(|stage| &stage.instructions) {
            if let Instruction::Arg(args) = &located.instruction {
                declared.extend(args.iter().map(|arg| arg.name.text.as_str()));
            }
        }
        let is_unused =
            |name: &&String| !declared.contains(&name.as_str()) && !PREDEFINED.contains(&name.as_str());
        self.given.keys().filter(is_unused).cloned().collect()
    }
}
