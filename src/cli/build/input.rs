//! Where the Containerfile and the context come from, and how places in the file are shown.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::printer::{ERROR, HEADING, Printer, WARNING, line};
use super::super::report::Told;
use crate::build::BuildError;
use crate::build::context::{Context, Input as Kind, ignore_file, unpack};
use crate::containerfile::{Containerfile, Ignore, Position, SIZE_LIMIT, Warning};
use crate::sandbox::Folder;

/// What the file is called where nobody says.
const NAMES: &[&str] = &["Containerfile", "Dockerfile", "dockerfile"];
const STDIN: &str = "-";
/// One byte more than a Containerfile may have, so that a longer one is refused.
const MOST: u64 = SIZE_LIMIT as u64 + 1;

/// A build's text and context.
#[derive(Debug)]
pub(in crate::cli) struct Input {
    /// What messages call the file.
    name: String,
    text: Vec<u8>,
    folder: PathBuf,
    /// The file's path, for the ignore file beside it.
    file: Option<PathBuf>,
    /// What keeps a context that was unpacked, until the build has ended.
    unpacked: Option<Folder>,
}

impl Input {
    /// Reads the file; `cache` is where an archive of standard input is unpacked.
    pub(super) fn read(context: &Path, file: Option<&Path>, cache: &Path) -> anyhow::Result<Self> {
        let is_stdin = |path: &Path| path.as_os_str() == STDIN;
        if is_stdin(context) && file.is_some_and(is_stdin) {
            let message = "both the context and the Containerfile are to come from standard input";
            return Err(Told::new(message, "give one of the two as a path").into());
        }
        if !is_stdin(context) {
            if file.is_some_and(is_stdin) {
                let text = stdin()?;
                return Ok(Self {
                    name: STDIN.into(),
                    text,
                    folder: context.into(),
                    file: None,
                    unpacked: None,
                });
            }
            if !context.is_dir() {
                let message = format!("the context `{}` is no folder", context.display());
                return Err(Told::new(message, "give the folder that the Containerfile copies from").into());
            }
            let path = found(context, file)?;
            return Self::of(context.into(), path, None);
        }
        if std::io::stdin().is_terminal() {
            let message = "the context is to come from standard input, which is a terminal";
            return Err(Told::new(message, "pipe a Containerfile or a tar archive into it").into());
        }
        let folder = Folder::new(&cache.join("run"))?;
        let place = folder.path().join("context");
        std::fs::create_dir(&place).with_context(|| format!("making the folder `{}`", place.display()))?;
        let mut input = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
        let kind = Kind::of(&mut input).context("reading standard input")?;
        if kind == Kind::Archive {
            unpack(input, &place)?;
            let file = file.map(|file| place.join(file.strip_prefix("/").unwrap_or(file)));
            let path = inside(&place, &found(&place, file.as_deref())?)?;
            let mut read = Self::of(place, path, Some(folder))?;
            read.name = read
                .file
                .as_ref()
                .and_then(|file| file.file_name())
                .map_or(STDIN.into(), |name| name.to_string_lossy().into_owned());
            return Ok(read);
        }
        let mut text = Vec::new();
        input.take(MOST).read_to_end(&mut text).context("reading standard input")?;
        match file {
            Some(file) => Self::of(place, file.into(), Some(folder)),
            None => Ok(Self { name: STDIN.into(), text, folder: place, file: None, unpacked: Some(folder) }),
        }
    }

    fn of(folder: PathBuf, file: PathBuf, unpacked: Option<Folder>) -> anyhow::Result<Self> {
        let doing = || format!("reading the Containerfile `{}`", file.display());
        let mut text = Vec::new();
        let open = std::fs::File::open(&file).with_context(doing)?;
        open.take(MOST).read_to_end(&mut text).with_context(doing)?;
        Ok(Self { name: file.display().to_string(), text, folder, file: Some(file), unpacked })
    }

    pub(super) fn containerfile(&self) -> anyhow::Result<Containerfile> {
        Containerfile::parse(&self.text).map_err(|err| {
            self.place(err.at, true);
            BuildError::File(err).into()
        })
    }

    pub(super) fn context(&self) -> anyhow::Result<Context> {
        if let (Some(file), Some(_)) = (&self.file, &self.unpacked)
            && file.starts_with(self.folder.canonicalize().unwrap_or_default())
        {
            let mut beside = file.clone().into_os_string();
            beside.push(".dockerignore");
            let beside = PathBuf::from(beside);
            if beside.symlink_metadata().is_ok() {
                // A link in an archive may lead anywhere.
                inside(&self.folder, &beside)?;
            }
        }
        let whole = Context::open(&self.folder, Ignore::default())?;
        let ignore = ignore_file(self.file.as_deref(), &whole)?;
        Ok(Context::open(&self.folder, ignore)?)
    }

    /// Shows where in the file `err` is, and what a program said that failed.
    pub(super) fn show(&self, err: &BuildError) {
        for said in err.output() {
            line(format_args!("  {said}"));
        }
        if let Some(at) = err.position() {
            self.place(at, true);
        }
    }

    pub(super) fn warn(&self, warning: &Warning, printer: Printer) {
        let Warning { rule, at, message } = warning;
        let name = &self.name;
        crate::progress::Progress::warn(&printer, &format!("{name}:{at}: {message} ({rule})"));
    }

    /// Shows a line of the file, and a mark under the column.
    fn place(&self, at: Position, is_error: bool) {
        let text = String::from_utf8_lossy(&self.text);
        let style = if is_error { ERROR } else { WARNING };
        line(format_args!("{HEADING}{}:{at}{HEADING:#}", self.name));
        if let Some(shown) = text.lines().nth(at.line.saturating_sub(1)) {
            let shown: String =
                shown.chars().take(200).map(|it| if it.is_control() { ' ' } else { it }).collect();
            let number = at.line.to_string();
            line(format_args!("  {number} | {shown}"));
            if at.column <= shown.chars().count() + 1 {
                let room = " ".repeat(number.len() + at.column - 1);
                line(format_args!("  {room}   {style}^{style:#}"));
            }
        }
    }
}

/// The file `path` of an archive that was unpacked to `place`: a link in it may lead anywhere, and a pipe would be waited for.
fn inside(place: &Path, path: &Path) -> anyhow::Result<PathBuf> {
    let doing = || format!("reading the archive's `{}`", path.strip_prefix(place).unwrap_or(path).display());
    let real = path.canonicalize().with_context(doing)?;
    let is_inside = real.starts_with(place.canonicalize().with_context(doing)?);
    if is_inside && real.metadata().with_context(doing)?.is_file() {
        return Ok(real);
    }
    let message = format!("{}: it is no file of the archive", doing());
    Err(Told::new(message, "put the Containerfile itself into the archive, or name another by `-f`").into())
}

fn stdin() -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut input = std::io::stdin().lock();
    let _ = input.fill_buf();
    input.take(MOST).read_to_end(&mut text).context("reading the Containerfile from standard input")?;
    Ok(text)
}

/// The Containerfile of the context `folder`.
fn found(folder: &Path, file: Option<&Path>) -> Result<PathBuf, Told> {
    if let Some(file) = file {
        // From where the caller is, as docker; else in the context.
        let inside = folder.join(file);
        return Ok(if !file.exists() && inside.exists() { inside } else { file.into() });
    }
    let found = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = format!("there is no `Containerfile` and no `Dockerfile` in `{}`", folder.display());
        Told::new(message, "give another name with `-f`")
    })
}
