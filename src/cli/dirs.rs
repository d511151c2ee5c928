//! Where the program keeps things, by the XDG base directory specification.

use std::env;
use std::path::PathBuf;

use super::report::Told;
use crate::image::Access;

/// `$POLYARCH_CACHE_DIR`, else `$XDG_CACHE_HOME/polyarch`, else `~/.cache/polyarch`: what can be made again.
pub(super) fn cache() -> Result<PathBuf, Told> {
    if let Some(dir) = absolute("POLYARCH_CACHE_DIR") {
        return Ok(dir);
    }
    if let Some(dir) = absolute("XDG_CACHE_HOME") {
        return Ok(dir.join("polyarch"));
    }
    absolute("HOME").map(|home| home.join(".cache/polyarch")).ok_or_else(|| {
        Told::new(
            "no folder for the cache: `HOME` is not set",
            "set `HOME`, or `POLYARCH_CACHE_DIR` to an absolute path",
        )
    })
}

/// `$XDG_CONFIG_HOME/polyarch`, else `~/.config/polyarch`: what the user has set.
pub(super) fn config() -> Option<PathBuf> {
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("polyarch"))
}

/// `$POLYARCH_DATA_DIR`, else `$XDG_DATA_HOME/polyarch/store`, else `~/.local/share/polyarch/store`: the store of images.
pub(super) fn store() -> Option<PathBuf> {
    absolute("POLYARCH_DATA_DIR")
        .or_else(|| absolute("XDG_DATA_HOME").map(|data| data.join("polyarch/store")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/polyarch/store")))
}

/// How images are reached.
pub(super) fn access() -> Access {
    Access::new(store())
}

/// The XDG specification has relative paths in its variables ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
