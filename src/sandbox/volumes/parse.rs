//! Volumes as docker's command line writes them: `-v`, `--mount`, `--tmpfs`.

use std::path::{Component, Path, PathBuf};

use super::{Beneath, Source, Volume, VolumeError};
use crate::sandbox::size;

/// What `--tmpfs` and `--mount type=tmpfs` give where nothing is said.
const TMPFS_MODE: &str = "mode=1777";

impl Volume {
    /// `[SOURCE:]TARGET[:OPTIONS]`, as `-v` takes it.
    ///
    /// # Errors
    /// [`VolumeError`] where it is not that, or names a volume.
    pub fn parse(text: &str) -> Result<Self, VolumeError> {
        let wrong = |reason: &str| VolumeError::Syntax { text: text.into(), reason: reason.into() };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, options] => (Some(source), target, options),
            _ => {
                return Err(wrong("it has too many parts; a path with `:` needs `--mount`"));
            }
        };
        let mut read_only = false;
        let mut beneath = Beneath::Alike;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                // What is the case anyway, and what says how something is done that is not done here: relabelling for
                // SELinux, filling a volume from the image, caching on other systems.
                "rw" | "rbind" | "private" | "rprivate" | "z" | "Z" | "nocopy" | "cached" | "consistent"
                | "delegated" => {}
                "bind" => beneath = Beneath::Outside,
                "shared" | "rshared" | "slave" | "rslave" => {
                    let reason =
                        format!("`{option}`: what is mounted later stays on its own side (`rprivate`)");
                    return Err(wrong(&reason));
                }
                _ => return Err(wrong(&format!("`{option}` is no option of a volume"))),
            }
        }
        let source = match source {
            None => Source::Own,
            Some("") => return Err(wrong("its source is empty")),
            Some(path) => bind(text, path, true, beneath)?,
        };
        Ok(Self { target: target_of(text, target)?.into(), source, read_only })
    }

    /// `KEY=VALUE,…`, as `--mount` takes it.
    ///
    /// # Errors
    /// [`VolumeError`] where it is not that, or names a volume.
    pub fn parse_mount(text: &str) -> Result<Self, VolumeError> {
        let wrong = |reason: String| VolumeError::Syntax { text: text.into(), reason };
        let (mut kind, mut source, mut target) = ("volume".to_owned(), None, None);
        let (mut read_only, mut beneath) = (false, Beneath::Alike);
        let (mut bytes, mut mode) = (None, None);
        for field in fields(text).ok_or_else(|| wrong("a quote is not closed".into()))? {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            let flag = || match value {
                "" if !field.contains('=') => Ok(true),
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(wrong(format!("`{key}` is `true` or `false`"))),
            };
            match key.to_ascii_lowercase().as_str() {
                "type" => value.clone_into(&mut kind),
                "source" | "src" => source = Some(value.to_owned()),
                "target" | "dst" | "destination" => target = Some(value.to_owned()),
                "readonly" | "ro" => read_only = flag()?,
                "bind-nonrecursive" if flag()? => beneath = Beneath::Outside,
                "bind-nonrecursive" => {}
                "bind-recursive" => {
                    beneath = match value {
                        "enabled" | "readonly" => Beneath::Alike,
                        "writable" => Beneath::Writable,
                        "disabled" => Beneath::Outside,
                        _ => return Err(wrong(format!("`{field}` is no way to mount what lies beneath"))),
                    }
                }
                "bind-propagation" if matches!(value, "private" | "rprivate") => {}
                "bind-propagation" => {
                    let reason = "what is mounted later stays on its own side (`bind-propagation=rprivate`)";
                    return Err(wrong(reason.into()));
                }
                "tmpfs-size" => {
                    let size = size::parse(value);
                    bytes = Some(size.ok_or_else(|| wrong(format!("`{value}` is no size")))?);
                }
                "tmpfs-mode" => {
                    let number = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    mode = Some(number.ok_or_else(|| wrong(format!("`{value}` is no mode")))?);
                }
                "consistency" | "volume-nocopy" => {}
                _ => return Err(wrong(format!("`{key}` is no key of a mount"))),
            }
        }
        let target = target.ok_or_else(|| wrong("it has no `dst=TARGET`".into()))?;
        let tmpfs = kind == "tmpfs";
        if !tmpfs && (bytes.is_some() || mode.is_some()) {
            return Err(wrong("`tmpfs-size` and `tmpfs-mode` are for `type=tmpfs`".into()));
        }
        let source = match (kind.as_str(), source.filter(|source| !source.is_empty())) {
            ("bind", Some(path)) => Source::Bind { path: path.into(), make: false, beneath },
            ("bind", None) => return Err(wrong("it has no `src=SOURCE`".into())),
            ("tmpfs", None) => {
                let mode = format!("mode={:o}", mode.unwrap_or(0o1777));
                let size = bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
                Source::Tmpfs { options: mode + &size, exec: true }
            }
            ("tmpfs", Some(_)) => return Err(wrong("a `tmpfs` has no source".into())),
            ("volume", None) => Source::Own,
            ("volume", Some(name)) => return Err(VolumeError::Named { text: text.into(), name }),
            (kind, _) => {
                return Err(wrong(format!("`type={kind}` is none of `bind`, `tmpfs` and `volume`")));
            }
        };
        Ok(Self { target: target_of(text, &target)?.into(), source, read_only })
    }

    /// `TARGET[:OPTIONS]`, as `--tmpfs` takes it.
    ///
    /// # Errors
    /// [`VolumeError`] where it is not that.
    pub fn parse_tmpfs(text: &str) -> Result<Self, VolumeError> {
        let wrong = |reason: String| VolumeError::Syntax { text: text.into(), reason };
        let (target, words) = text.split_once(':').unwrap_or((text, ""));
        let (mut read_only, mut exec, mut options) = (false, false, Vec::new());
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            match key {
                "ro" | "rw" if value.is_empty() => read_only = key == "ro",
                "exec" | "noexec" if value.is_empty() => exec = key == "exec",
                // As it is.
                "nosuid" | "nodev" if value.is_empty() => {}
                "size" if value.ends_with('%') => options.push(word.to_owned()),
                "size" => {
                    let bytes = size::parse(value).ok_or_else(|| wrong(format!("`{value}` is no size")))?;
                    options.push(format!("size={bytes}"));
                }
                "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" if number => options.push(word.to_owned()),
                _ => return Err(wrong(format!("`{word}` is no option of a tmpfs"))),
            }
        }
        if !options.iter().any(|option| option.starts_with("mode=")) {
            options.push(TMPFS_MODE.into());
        }
        let source = Source::Tmpfs { options: options.join(","), exec };
        Ok(Self { target: target_of(text, target)?.into(), source, read_only })
    }
}

/// What `-v` means by its source: a path where it looks like one, else a name.
fn bind(text: &str, path: &str, make: bool, beneath: Beneath) -> Result<Source, VolumeError> {
    if path.contains('/') || path == "." || path == ".." {
        return Ok(Source::Bind { path: path.into(), make, beneath });
    }
    Err(VolumeError::Named { text: text.into(), name: path.into() })
}

/// A target in its plain form.
fn target_of(text: &str, target: &str) -> Result<PathBuf, VolumeError> {
    let wrong = |reason: String| VolumeError::Syntax { text: text.into(), reason };
    let path = Path::new(target);
    if !path.is_absolute() {
        return Err(wrong(format!("its target `{target}` is no absolute path")));
    }
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => _ = plain.pop(),
            _ => {}
        }
    }
    if plain == Path::new("/") || target.contains('\0') {
        return Err(wrong("its target cannot be the root itself".into()));
    }
    Ok(plain)
}

/// The fields of a line of comma-separated values, as in RFC 4180; `None` where a quote is not closed.
fn fields(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(path: &str, make: bool) -> Source {
        Source::Bind { path: path.into(), make, beneath: Beneath::Alike }
    }

    #[test]
    fn volumes_are_read_as_docker_reads_them() {
        let volume = Volume::parse("/a:/b/../c//d/.:ro,z").unwrap();
        assert_eq!(volume, Volume { target: "/c/d".into(), source: bound("/a", true), read_only: true });
        assert_eq!(Volume::parse("./a:/b").unwrap().source, bound("./a", true));
        assert_eq!(Volume::parse("/b").unwrap().source, Source::Own);
        for wrong in
            ["", "a", ":/b", "/a:", "/a:b", "/a:/", "/a:/b/..", "/a:/b:x", "/a:/b:ro:rw", "/a:/b:shared"]
        {
            assert!(matches!(Volume::parse(wrong), Err(VolumeError::Syntax { .. })), "{wrong}");
        }
        assert!(matches!(Volume::parse("a:/b"), Err(VolumeError::Named { name, .. }) if name == "a"));
    }

    #[test]
    fn mounts_are_read_as_docker_reads_them() {
        let mount = |text| Volume::parse_mount(text);
        let volume = mount(r#"type=bind,"src=/a,b",dst=/c,readonly"#).unwrap();
        assert_eq!(volume, Volume { target: "/c".into(), source: bound("/a,b", false), read_only: true });
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        let options = "mode=700,size=1048576".to_owned();
        assert_eq!(tmpfs.source, Source::Tmpfs { options, exec: true });
        assert_eq!(mount("dst=/v").unwrap().source, Source::Own);
        for wrong in [
            "",
            "type=bind,dst=/a",
            "type=bind,src=/a",
            "type=npipe,src=/a,dst=/b",
            "type=tmpfs,src=/a,dst=/b",
            "type=bind,src=/a,dst=/b,tmpfs-size=1",
            "type=bind,src=/a,dst=/b,ro=maybe",
            "type=bind,src=/a,dst=/b,x=y",
            "\"type=bind",
        ] {
            assert!(matches!(mount(wrong), Err(VolumeError::Syntax { .. })), "{wrong}");
        }
        assert!(matches!(mount("src=a,dst=/b"), Err(VolumeError::Named { .. })));
    }

    #[test]
    fn a_tmpfs_takes_the_kernels_options_and_no_others() {
        let options = |text| match Volume::parse_tmpfs(text).map(|volume| volume.source) {
            Ok(Source::Tmpfs { options, exec }) => Some((options, exec)),
            _ => None,
        };
        assert_eq!(options("/t"), Some(("mode=1777".into(), false)));
        assert_eq!(options("/t:size=1k,exec,mode=700"), Some(("size=1024,mode=700".into(), true)));
        for wrong in ["t", "/", "/t:size=x", "/t:huge=always", "/t:mode=x", "/t:ro=1", "/t:uid="] {
            assert_eq!(options(wrong), None, "{wrong}");
        }
    }
}
