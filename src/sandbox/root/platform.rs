//! Which platform a folder's programs are for.

use std::path::Path;

use crate::target::Platform;
use crate::tree::root::{Folder, Root as _, resolve};

/// Programs that a root file system has, the likeliest first.
const PROGRAMS: &[&str] = &["/bin/sh", "/usr/bin/env", "/bin/busybox", "/sbin/init", "/init"];

/// The platform of the root file system in `folder`: that of `program` in it where that is a path, else that of a program that
/// nearly all have. `None` where none of them is there.
#[must_use]
pub fn platform_of(folder: &Path, program: Option<&Path>) -> Option<Platform> {
    let root = Folder::open(folder).ok()?;
    let programs = program.into_iter().chain(PROGRAMS.iter().map(Path::new));
    programs.filter(|path| path.has_root()).find_map(|path| {
        let found = resolve(&root, Path::new("/"), path).ok()?;
        let identity = root.executable(&found.path).ok()?.elf?.ok()?;
        let fact = &identity.platform;
        let platform = Platform {
            os: "linux".into(),
            architecture: fact.architecture.clone()?,
            variant: fact.variant.clone(),
        };
        Some(platform.normalized())
    })
}
