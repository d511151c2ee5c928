//! Device nodes of this machine in a container's `/dev`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfineError;

/// How many nodes a folder may hold, with those in its folders.
const NODES_MOST: usize = 1024;
/// How deep they may be.
const DEPTH_MOST: usize = 4;

/// A device node, and where the container has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The node of this machine.
    pub source: OsString,
    /// Where it is in the container: absolute, without `.` and `..`.
    pub target: OsString,
}

impl Device {
    /// `SOURCE[:TARGET][:PERMISSIONS]`: a node, or all the nodes in a folder.
    ///
    /// # Errors
    /// [`ConfineError::Device`] where it is not that, or is not there.
    pub fn parse(text: &str) -> Result<Vec<Self>, ConfineError> {
        let wrong = |reason: String| ConfineError::Device { text: text.into(), reason };
        let parts: Vec<&str> = text.split(':').collect();
        let is_permissions = |part: &str| !part.is_empty() && part.bytes().all(|byte| b"rwm".contains(&byte));
        let (source, target, permissions) = match parts[..] {
            [source] => (source, source, "rwm"),
            [source, permissions] if is_permissions(permissions) => (source, source, permissions),
            [source, target] => (source, target, "rwm"),
            [source, target, permissions] if is_permissions(permissions) => (source, target, permissions),
            _ => return Err(wrong("it is no `SOURCE[:TARGET][:rwm]`".into())),
        };
        if !permissions.contains('r') || !permissions.contains('w') {
            let reason = "what a container may do with a device that it has, is what the caller may: only `rw` can be had";
            return Err(wrong(reason.into()));
        }
        let is_plain = |path: &str| {
            path.starts_with('/') && !Path::new(path).components().any(|part| part == Component::ParentDir)
        };
        if !is_plain(source) || !is_plain(target) {
            return Err(wrong("its paths must be absolute".into()));
        }
        let target: PathBuf = Path::new(target).components().collect();
        let there = fs::metadata(source).map_err(|err| wrong(err.to_string()))?;
        let mut devices = Vec::new();
        if there.is_dir() {
            collect(Path::new(source), &target, DEPTH_MOST, &mut devices)
                .map_err(|err| wrong(err.to_string()))?;
        } else if is_node(&there) {
            devices.push(Self { source: source.into(), target: target.into() });
        }
        if devices.is_empty() {
            return Err(wrong("it is no device".into()));
        }
        Ok(devices)
    }
}

fn is_node(there: &fs::Metadata) -> bool {
    there.file_type().is_char_device() || there.file_type().is_block_device()
}

/// The nodes in a folder.
fn collect(source: &Path, target: &Path, depth: usize, devices: &mut Vec<Device>) -> std::io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        // Links are passed over: what they lead to has a place of its own.
        let Ok(there) = entry.metadata() else { continue };
        if there.is_dir() && depth > 0 {
            collect(&from, &to, depth - 1, devices)?;
        } else if is_node(&there) && devices.len() < NODES_MOST {
            devices.push(Device { source: from.into(), target: to.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_docker_reads_them() {
        let one = |text: &str| match Device::parse(text).as_deref() {
            Ok([device]) => Some((device.source.clone(), device.target.clone())),
            _ => None,
        };
        let pair = |source: &str, target: &str| Some((source.into(), target.into()));
        assert_eq!(one("/dev/null"), pair("/dev/null", "/dev/null"));
        assert_eq!(one("/dev/null:/dev//x:rw"), pair("/dev/null", "/dev/x"));
        assert_eq!(one("/dev/null:rwm"), pair("/dev/null", "/dev/null"));
        assert!(Device::parse("/dev").unwrap().len() > 3);
        for wrong in [
            "",
            "null",
            "/dev/null:x",
            "/dev/null:r",
            "/dev/null:/a:w",
            "/etc/passwd",
            "/no/such",
            "/dev/null:/a/../b",
        ] {
            assert!(Device::parse(wrong).is_err(), "{wrong}");
        }
    }
}
