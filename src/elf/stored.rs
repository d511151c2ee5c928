//! An identity as it is kept in a cache: all of it but the evidence.

use serde::{Deserialize, Serialize};

use super::identity::{Identity, PlatformFact};
use super::toolchain::Toolchain;
use crate::target::{Catalogue, Endianness, machine};

#[derive(Serialize, Deserialize)]
struct Stored {
    machine: u16,
    class: u8,
    endianness: Endianness,
    kind: String,
    os_abi: String,
    abi_version: u8,
    flags: u32,
    abi: Option<String>,
    isa: Option<String>,
    float_abi: Option<String>,
    features: Vec<String>,
    linkage: Option<String>,
    interpreter: Option<String>,
    needed: Option<Vec<String>>,
    soname: Option<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    glibc: Option<String>,
    kernel: Option<String>,
    toolchain: Toolchain,
    platform: PlatformFact,
    targets: Vec<String>,
    problems: Vec<String>,
    alignment: Option<u64>,
    is_loadable: bool,
    versions: Vec<(String, Vec<String>)>,
    provided: Vec<String>,
    chooses: bool,
}

impl Identity {
    /// The identity as bytes, for a cache of this very program; the evidence is left out.
    pub(crate) fn to_stored(&self) -> Vec<u8> {
        let stored = Stored {
            machine: self.machine_id,
            class: self.class,
            endianness: self.endianness,
            kind: self.kind.clone().into_owned(),
            os_abi: self.os_abi.clone().into_owned(),
            abi_version: self.abi_version,
            flags: self.flags,
            abi: self.abi.clone(),
            isa: self.isa.clone(),
            float_abi: self.float_abi.clone(),
            features: self.features.clone(),
            linkage: self.linkage.map(str::to_owned),
            interpreter: self.interpreter.clone(),
            needed: self.needed.clone(),
            soname: self.soname.clone(),
            rpath: self.rpath.clone(),
            runpath: self.runpath.clone(),
            glibc: self.glibc.clone(),
            kernel: self.kernel.clone(),
            toolchain: self.toolchain.clone(),
            platform: self.platform.clone(),
            targets: self.targets.iter().map(|&name| name.to_owned()).collect(),
            problems: self.problems.clone(),
            alignment: self.alignment,
            is_loadable: self.is_loadable,
            versions: self.versions.clone(),
            provided: self.provided.clone(),
            chooses: self.chooses,
        };
        // Strings, numbers and lists of them are JSON.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// The identity that [`Identity::to_stored`] made bytes of.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let known = Catalogue::builtin().targets();
        let name = |name: &String| {
            known.iter().find(|target| target.name == *name).map(|target| target.name.as_str())
        };
        Some(Self {
            machine: machine::name(stored.machine),
            machine_id: stored.machine,
            class: stored.class,
            endianness: stored.endianness,
            kind: stored.kind.into(),
            os_abi: stored.os_abi.into(),
            abi_version: stored.abi_version,
            flags: stored.flags,
            abi: stored.abi,
            isa: stored.isa,
            float_abi: stored.float_abi,
            features: stored.features,
            linkage: match stored.linkage.as_deref() {
                Some("static") => Some("static"),
                Some("static-pie") => Some("static-pie"),
                Some("dynamic") => Some("dynamic"),
                _ => None,
            },
            interpreter: stored.interpreter,
            needed: stored.needed,
            soname: stored.soname,
            rpath: stored.rpath,
            runpath: stored.runpath,
            glibc: stored.glibc,
            kernel: stored.kernel,
            toolchain: stored.toolchain,
            platform: stored.platform,
            targets: stored.targets.iter().filter_map(name).collect(),
            evidence: std::collections::BTreeMap::new(),
            problems: stored.problems,
            alignment: stored.alignment,
            is_loadable: stored.is_loadable,
            versions: stored.versions,
            provided: stored.provided,
            chooses: stored.chooses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Reader;

    #[test]
    fn what_is_stored_is_read_back() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let identity = Identity::read(&mut Reader::memory(&own)).unwrap();
        let back = Identity::from_stored(&identity.to_stored()).unwrap();
        assert!(!identity.evidence.is_empty());
        assert_eq!(Identity { evidence: std::collections::BTreeMap::new(), ..identity }, back);
        assert_eq!(Identity::from_stored(b"{}"), None);
    }
}
