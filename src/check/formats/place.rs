//! Where a finding is, for those who were not there.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Context;
use crate::check::{Finding, InputKind, Report};

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In a file of this machine, by its path from the base where it is beneath it.
    File(Cow<'a, [u8]>),
    /// In an image or an archive, by its path there, without a leading `/`.
    Inside(&'a [u8]),
    /// It is of the image itself.
    Image,
}

impl<'a> Place<'a> {
    pub(super) fn of(finding: &'a Finding, report: &Report, context: &Context<'_>) -> Self {
        let Some(path) = &finding.path else { return Self::Image };
        let path = path.as_os_str().as_bytes();
        let input = finding.input.as_bytes();
        let kind = report.inputs.iter().find(|input| input.name == finding.input).map(|input| input.kind);
        match kind {
            Some(InputKind::Image) => Self::Inside(trimmed(path)),
            // In a tar file, or in a folder.
            Some(InputKind::Root) if !is_folder(input, context.base) => Self::Inside(trimmed(path)),
            Some(InputKind::Root) => {
                let folder = input.strip_suffix(b"/").unwrap_or(input);
                let whole = [folder, b"/", trimmed(path)].concat();
                Self::File(Cow::Owned(from_base(&whole, context.base).to_vec()))
            }
            Some(InputKind::Files) => {
                match path.strip_prefix(input).and_then(|rest| rest.strip_prefix(b"!/")) {
                    Some(beneath) => Self::Inside(beneath),
                    None => Self::File(Cow::Borrowed(from_base(path, context.base))),
                }
            }
            // Of a policy or a baseline.
            None => Self::File(Cow::Borrowed(from_base(path, context.base))),
        }
    }
}

fn is_folder(input: &[u8], base: Option<&Path>) -> bool {
    let input = Path::new(OsStr::from_bytes(input));
    base.map_or_else(|| input.to_owned(), |base| base.join(input)).is_dir()
}

fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    &path[start..]
}

/// `path` from `base` on, where it is beneath it.
fn from_base<'a>(path: &'a [u8], base: Option<&Path>) -> &'a [u8] {
    let beneath = base.and_then(|base| Path::new(OsStr::from_bytes(path)).strip_prefix(base).ok());
    match beneath.map(|beneath| beneath.as_os_str().as_bytes()) {
        Some(beneath) if !beneath.is_empty() => beneath,
        _ => {
            let mut path = path;
            while let Some(rest) = path.strip_prefix(b"./") {
                path = trimmed(rest);
            }
            path
        }
    }
}

/// What has to be said before a finding's message, which names the file but not the image that it is in.
pub(super) fn prefix(finding: &Finding, place: &Place<'_>) -> String {
    match place {
        Place::File(_) => String::new(),
        Place::Inside(_) | Place::Image => format!("{}: ", whole(finding, &Place::Image)),
    }
}

/// One line about where a finding is, as JSON's `path` is with the input before it: `INPUT!/path`, `INPUT (linux/arm64)!/path`.
pub(super) fn whole(finding: &Finding, place: &Place<'_>) -> String {
    let input = finding.input.to_string_lossy();
    let platform = finding.platform.as_ref().map(|platform| format!(" ({platform})")).unwrap_or_default();
    match place {
        Place::File(path) => String::from_utf8_lossy(path).into_owned(),
        Place::Inside(path) => format!("{input}{platform}!/{}", String::from_utf8_lossy(path)),
        Place::Image => format!("{input}{platform}"),
    }
}

/// `path` as a URI reference: all but unreserved characters and slashes as `%` and two digits, for a colon in the first name would
/// begin a scheme.
pub(super) fn uri(path: &[u8]) -> String {
    let absolute = path.starts_with(b"/");
    let mut uri = String::with_capacity(path.len() + 8);
    if absolute {
        uri.push_str("file://");
    }
    for byte in path {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b'+'
            | b'@'
            | b'!' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri
}
