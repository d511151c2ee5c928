//! A package file: an `ar` archive of `debian-binary`, `control.tar` and `data.tar` (deb(5)).
//!
//! Only the common `ar` form exists in packages, without long names, so its 60-byte headers are read here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::index::Compression;
use super::{DebianError, Package, Sha256};

/// The most that a `data.tar` may unpack to, in bytes.
const LIMIT: u64 = 16 << 30;

/// The most of a control file that is read, in bytes.
const CONTROL_LIMIT: u64 = 1 << 20;

/// A package has three members, and seldom a few more whose names begin with `_`.
const MEMBERS: usize = 16;

/// A package file.
pub struct Deb {
    path: PathBuf,
    control: Part,
    data: Part,
}

/// One member of the archive.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    size: u64,
    compression: Compression,
}

impl fmt::Debug for Deb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deb").field(&self.path).finish()
    }
}

/// The files of a package, as a tar stream.
pub type Entries = tar::Archive<Box<dyn Read + Send>>;

impl Deb {
    /// Opens the package file at `path`.
    ///
    /// # Errors
    /// [`DebianError::Deb`] where it is none, [`DebianError::Read`] where it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DebianError> {
        let read = |source| DebianError::Read { path: path.into(), source };
        let wrong = |reason| DebianError::Deb { path: path.into(), reason };
        let mut file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut magic = [0; 8];
        if length < 8 {
            return Err(wrong("it is too short"));
        }
        file.read_exact(&mut magic).map_err(read)?;
        if &magic != b"!<arch>\n" {
            return Err(wrong("it is no `ar` archive"));
        }
        let (mut control, mut data) = (None, None);
        let mut at = 8_u64;
        for _ in 0..MEMBERS {
            if at >= length {
                break;
            }
            file.seek(SeekFrom::Start(at)).map_err(read)?;
            let mut header = [0; 60];
            file.read_exact(&mut header).map_err(|_| wrong("a member's header is cut off"))?;
            let (name, size) = member(&header).ok_or_else(|| wrong("a member's header is damaged"))?;
            let offset = at + 60;
            let end = offset.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| wrong("a member is cut off"))?;
            if at == 8 && name != "debian-binary" {
                return Err(wrong("its first member is not `debian-binary`"));
            }
            for (stem, place) in [("control.tar", &mut control), ("data.tar", &mut data)] {
                if let Some(ending) = name.strip_prefix(stem) {
                    let compression =
                        [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd]
                            .into_iter()
                            .find(|known| known.ending() == ending)
                            .ok_or_else(|| wrong("it is compressed in a way that is not known"))?;
                    *place = Some(Part { offset, size, compression });
                }
            }
            // Members begin at even offsets.
            at = end + end % 2;
        }
        Ok(Self {
            path: path.into(),
            control: control.ok_or_else(|| wrong("it has no `control.tar`"))?,
            data: data.ok_or_else(|| wrong("it has no `data.tar`"))?,
        })
    }

    /// The files that it installs.
    ///
    /// # Errors
    /// [`DebianError::Read`].
    pub fn data(&self) -> Result<Entries, DebianError> {
        self.entries(self.data)
    }

    /// The tar stream of the files that it installs.
    ///
    /// # Errors
    /// [`DebianError::Read`].
    pub fn stream(&self) -> Result<Box<dyn Read + Send>, DebianError> {
        self.open_part(self.data)
    }

    /// Its control file and maintainer scripts.
    ///
    /// # Errors
    /// [`DebianError::Read`].
    pub fn control(&self) -> Result<Entries, DebianError> {
        self.entries(self.control)
    }

    /// Writes the regular file `name`, such as `usr/bin/hostname`, to `out`, if it is no larger than `limit`
    /// bytes, and gives its size. What comes after it in the package is not unpacked.
    ///
    /// # Errors
    /// [`DebianError::NoMember`] where it holds no such file, [`DebianError::MemberSize`] where it is too
    /// large; others where it cannot be read or written.
    pub fn extract(&self, name: &str, out: &mut dyn Write, limit: u64) -> Result<u64, DebianError> {
        self.extract_first(&[name], out, limit).map(|(_, size)| size)
    }

    /// The same for the first file in the package that has any of `names`, with its name.
    ///
    /// # Errors
    /// As [`Deb::extract`].
    pub fn extract_first<'a>(
        &self,
        names: &[&'a str],
        out: &mut dyn Write,
        limit: u64,
    ) -> Result<(&'a str, u64), DebianError> {
        let mut found = None;
        self.visit(&mut |file| {
            let Some(name) = names.iter().find(|name| **name == file.name()) else {
                return Ok(ControlFlow::Continue(()));
            };
            found = Some((*name, file.write_to(out, limit)?));
            Ok(ControlFlow::Break(()))
        })?;
        found.ok_or_else(|| DebianError::NoMember { path: self.path.clone(), name: names.join("` or `") })
    }

    /// Hands every regular file that it installs to `visit`, in the package's order, until that has enough.
    /// Files whose names are no UTF-8 are passed over.
    ///
    /// # Errors
    /// Those of `visit`; [`DebianError::Read`] where the package cannot be read.
    pub fn visit(
        &self,
        visit: &mut dyn FnMut(&mut Member<'_>) -> Result<ControlFlow<()>, DebianError>,
    ) -> Result<(), DebianError> {
        let read = |source| DebianError::Read { path: self.path.clone(), source };
        let mut entries = self.data()?;
        for entry in entries.entries().map_err(read)? {
            let mut entry = entry.map_err(read)?;
            let path = entry.path_bytes();
            let Ok(name) = std::str::from_utf8(path.strip_prefix(b"./").unwrap_or(&path)) else { continue };
            let name = name.to_owned();
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let size = entry.size();
            let mut member = Member { deb: &self.path, name, size, reader: &mut entry };
            if visit(&mut member)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The package as its own control file tells it. Its digest is what the file has: nothing vouches for it.
    ///
    /// # Errors
    /// [`DebianError::Deb`] where it has no right control file; [`DebianError::Read`].
    pub fn package(&self) -> Result<Package, DebianError> {
        let read = |source| DebianError::Read { path: self.path.clone(), source };
        let wrong = |reason| DebianError::Deb { path: self.path.clone(), reason };
        let text = self.control_file("control")?.ok_or_else(|| wrong("it has no control file"))?;
        let file = File::open(&self.path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let sha256 = Sha256::read(file).map_err(read)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Package::of_control(&text, &name, size, sha256).map_err(wrong)
    }

    /// The names of the regular files that it installs, such as `usr/bin/hostname`: by its list of checksums, which
    /// is far shorter than they are, else by themselves.
    ///
    /// # Errors
    /// [`DebianError::Read`].
    pub fn names(&self) -> Result<Vec<String>, DebianError> {
        if let Some(list) = self.control_file("md5sums")? {
            // `d41d8cd98f00b204e9800998ecf8427e  usr/bin/hostname`.
            let name = |line: &str| line.split_once("  ").map(|(_, name)| name.to_owned());
            return Ok(list.lines().filter_map(name).collect());
        }
        let mut names = Vec::new();
        self.visit(&mut |file| {
            names.push(file.name().to_owned());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(names)
    }

    /// A text beside the control file; `None` where there is none.
    fn control_file(&self, name: &str) -> Result<Option<String>, DebianError> {
        let read = |source| DebianError::Read { path: self.path.clone(), source };
        for entry in self.control()?.entries().map_err(read)? {
            let entry = entry.map_err(read)?;
            let path = entry.path_bytes();
            if path.strip_prefix(b"./").unwrap_or(&path) == name.as_bytes() {
                let mut text = String::new();
                entry.take(CONTROL_LIMIT).read_to_string(&mut text).map_err(read)?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn entries(&self, member: Part) -> Result<Entries, DebianError> {
        self.open_part(member).map(tar::Archive::new)
    }

    fn open_part(&self, member: Part) -> Result<Box<dyn Read + Send>, DebianError> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(member.offset))?;
            let reader = member.compression.reader(file.take(member.size))?;
            io::Result::Ok(Box::new(reader.take(LIMIT)) as Box<dyn Read + Send>)
        };
        open().map_err(|source| DebianError::Read { path: self.path.clone(), source })
    }
}

/// One regular file in a package.
pub struct Member<'a> {
    deb: &'a Path,
    name: String,
    size: u64,
    reader: &'a mut dyn Read,
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Member<'_> {
    /// Its path from the root, such as `usr/bin/hostname`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes what is in it to `out`, if that is no more than `limit` bytes, and gives its size.
    ///
    /// # Errors
    /// [`DebianError::MemberSize`] where it is too large; others where it cannot be read or written.
    pub fn write_to(&mut self, out: &mut dyn Write, limit: u64) -> Result<u64, DebianError> {
        if self.size > limit {
            return Err(DebianError::MemberSize { path: self.deb.into(), name: self.name.clone(), limit });
        }
        let count = copy(&mut self.reader, out, self.deb, &self.name)?;
        // The end of a tar stream that breaks off looks like the end of its entry.
        if count == self.size {
            return Ok(count);
        }
        Err(DebianError::Read { path: self.deb.into(), source: io::ErrorKind::UnexpectedEof.into() })
    }
}

/// Copies, and tells what could not be read from what could not be written.
fn copy(mut from: impl Read, out: &mut dyn Write, path: &Path, name: &str) -> Result<u64, DebianError> {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        let count =
            from.read(&mut buffer).map_err(|source| DebianError::Read { path: path.into(), source })?;
        if count == 0 {
            return Ok(total);
        }
        out.write_all(&buffer[..count]).map_err(|source| DebianError::Write { path: name.into(), source })?;
        total += count as u64;
    }
}

/// Name and size in a member's header: 16 bytes of name, 32 of times, owners and mode, 10 of size, 2 of magic.
fn member(header: &[u8; 60]) -> Option<(&str, u64)> {
    if header[58..] != *b"`\n" {
        return None;
    }
    let name = std::str::from_utf8(&header[..16]).ok()?.trim_end().trim_end_matches('/');
    let size = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
    Some((name, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len())
                .unwrap();
            bytes.extend(*content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
        builder.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Result<Deb, DebianError>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let deb = Deb::open(file.path());
        (file, deb)
    }

    fn whole() -> Vec<u8> {
        let data = tar_of("./usr/bin/tool", b"content");
        let data = zstd::encode_all(data.as_slice(), 3).unwrap();
        archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar/", &tar_of("./control", b"x")),
            ("data.tar.zst", &data),
        ])
    }

    #[test]
    fn one_file_is_taken_out() {
        let (_file, deb) = open(&whole());
        let deb = deb.unwrap();
        let mut out = Vec::new();
        assert_eq!(deb.extract("usr/bin/tool", &mut out, 7).unwrap(), 7);
        assert_eq!(out, b"content");
        assert!(matches!(deb.extract("usr/bin/tool", &mut out, 6), Err(DebianError::MemberSize { .. })));
        assert!(matches!(deb.extract("usr/bin/none", &mut out, 9), Err(DebianError::NoMember { .. })));
        assert_eq!(deb.control().unwrap().entries().unwrap().count(), 1);
        // Without a list of checksums.
        assert_eq!(deb.names().unwrap(), ["usr/bin/tool"]);
    }

    #[test]
    fn what_is_no_package_is_refused_wherever_it_breaks() {
        let whole = whole();
        for length in 0..whole.len() - 1 {
            let (_file, deb) = open(&whole[..length]);
            assert!(matches!(deb, Err(DebianError::Deb { .. })), "{length} of {} bytes", whole.len());
        }
        for members in [
            [("data.tar", b"".as_slice()), ("control.tar", b"")].as_slice(),
            &[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.lzma", b"")],
        ] {
            assert!(matches!(open(&archive(members)).1, Err(DebianError::Deb { .. })));
        }
    }
}
