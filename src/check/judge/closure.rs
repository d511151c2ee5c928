//! Loaders and libraries: whether programs find what they are linked against.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Arch, Judge, Verdict, described};
use crate::check::subject::File;
use crate::check::{Rule, Severity};
use crate::elf::Identity;
use crate::tree::libraries::{self, Closure, Lack, Loaded, Memo, Reason};
use crate::tree::root::{Lost, Root, resolve};

/// Machine, class and byte order: what a loader serves.
pub(super) type Kin = (u16, u8, crate::target::Endianness);

fn kin(identity: &Identity) -> Kin {
    (identity.machine_id, identity.class, identity.endianness)
}

impl Judge<'_> {
    /// Judges the loader and the libraries of every program that is for the target, and then of libraries that no program needs.
    pub(super) fn closures(&mut self) {
        let Some(memo) = self.memo.take() else { return };
        let library_path = self.subject.image.as_ref().and_then(|image| image.variable("LD_LIBRARY_PATH"));
        let library_path = library_path.map(str::to_owned);
        let mut loaded: HashSet<PathBuf> = HashSet::new();
        let mut settled = Loaded::default();
        let mut loaders: HashMap<Kin, String> = HashMap::new();
        let has_libraries = self.subject.files.iter().any(|file| {
            file.elf().is_some_and(|identity| identity.soname.is_some() || file.name().contains(".so"))
        });
        for (number, file) in self.subject.files.iter().enumerate() {
            let Some(identity) = file.elf().filter(|_| self.arch[&number] != Arch::Other) else { continue };
            let Some(interpreter) = &identity.interpreter else { continue };
            if identity.linkage.is_none() {
                continue;
            }
            // That a C library is a program too is of no use to anybody but who asks for its version.
            let is_program = identity.soname.is_none();
            let before = self.findings.len();
            if !self.loader(file, identity, interpreter, memo.root(), has_libraries) {
                if !is_program {
                    self.findings.truncate(before);
                }
                continue;
            }
            loaders.entry(kin(identity)).or_insert_with(|| interpreter.clone());
            let known = libraries::settle(
                &memo,
                &file.path,
                identity,
                interpreter,
                library_path.as_deref(),
                Some(&mut settled),
            );
            if known.is_some_and(|known| is_of_one_float(identity, &known.float_abis)) {
                continue;
            }
            let closure = libraries::closure_by(
                &memo,
                &file.path,
                identity,
                Some(interpreter),
                library_path.as_deref(),
                Path::new("/"),
            );
            loaded.extend(closure.found.iter().map(|(_, path)| path.clone()));
            self.floats(file, identity, &closure, &memo);
            self.lacks(file, closure, Severity::Error);
        }
        let is_loaded = |path: &Path| loaded.contains(path) || settled.contains(path);
        self.plugins(&memo, &loaders, &is_loaded, library_path.as_deref());
        self.memo = Some(memo);
    }

    /// Libraries that no program is linked against: what loads them at run time finds their libraries from where they are, or
    /// has loaded them before.
    fn plugins(
        &mut self,
        memo: &Memo<'_>,
        loaders: &HashMap<Kin, String>,
        is_loaded: &dyn Fn(&Path) -> bool,
        library_path: Option<&str>,
    ) {
        for (number, file) in self.subject.files.iter().enumerate() {
            let Some(identity) = file.elf().filter(|_| self.arch[&number] != Arch::Other) else { continue };
            let is_plugin = identity.interpreter.is_none()
                && identity.linkage == Some("dynamic")
                && !is_loaded(&file.path)
                && identity.needed.as_ref().is_some_and(|needed| !needed.is_empty());
            let Some(interpreter) = loaders.get(&kin(identity)).filter(|_| is_plugin) else { continue };
            if libraries::settle(memo, &file.path, identity, interpreter, library_path, None).is_some() {
                continue;
            }
            let closure = libraries::closure_by(
                memo,
                &file.path,
                identity,
                Some(interpreter),
                library_path,
                Path::new("/"),
            );
            self.lacks(file, closure, Severity::Warning);
        }
    }

    /// Whether the loader that a program names is there and serves it.
    fn loader(
        &mut self,
        file: &File,
        identity: &Identity,
        interpreter: &str,
        root: &dyn Root,
        has_libraries: bool,
    ) -> bool {
        let key = (interpreter.to_owned(), kin(identity));
        if self.loaders.contains(&key) {
            return true;
        }
        let shown = file.path.display();
        let found = match resolve(root, Path::new("/"), Path::new(interpreter)) {
            Ok(found) => found,
            Err(lost) => {
                self.no_loader(file, identity, interpreter, root, &lost, has_libraries);
                return false;
            }
        };
        let there = found.path.display().to_string();
        let named = if there == interpreter {
            format!("`{interpreter}`")
        } else {
            format!("`{interpreter}` (`{there}`)")
        };
        let wanted = described(identity);
        let wrong = |what: String, found: String, help: String| {
            Verdict::new(
                Rule::InterpreterMismatch,
                format!("`{shown}` names the loader {named}, {what}"),
                help,
            )
            .between(wanted.clone(), found)
        };
        if !found.node.is_file() || found.node.mode & 0o111 == 0 {
            let mode = format!("mode {:04o}", found.node.mode);
            let help = format!("`chmod 755 {there}`");
            let verdict = wrong(format!("which nobody may execute ({mode})"), mode, help);
            self.of_file(file, verdict);
            return false;
        }
        let verdict = match root.executable(&found.path).ok().and_then(|file| file.elf) {
            Some(Ok(loader)) if kin(&loader) == kin(identity) => {
                let (own, theirs) = (libc_of(interpreter), libc_in(&loader));
                match (own, theirs) {
                    (Some(own), Some(theirs)) if own != theirs => wrong(
                        format!("under whose name {theirs}'s lies"),
                        theirs.into(),
                        format!("install {own}, or build the program against {theirs}"),
                    ),
                    _ => {
                        self.loaders.insert(key);
                        return true;
                    }
                }
            }
            Some(Ok(loader)) => {
                let theirs = described(&loader);
                self.blamed.insert(found.path.clone());
                let help = format!("install the C library for {wanted}");
                wrong(format!("which is for {theirs} and not for {wanted}"), theirs, help)
            }
            Some(Err(problem)) => wrong(
                format!("which is damaged: {problem}"),
                "damaged".into(),
                "install the C library again".into(),
            ),
            None => wrong(
                "which is no ELF file".into(),
                "no ELF file".into(),
                "install the C library again".into(),
            ),
        };
        self.of_file(file, verdict);
        false
    }

    fn no_loader(
        &mut self,
        file: &File,
        identity: &Identity,
        interpreter: &str,
        root: &dyn Root,
        lost: &Lost,
        has_libraries: bool,
    ) {
        let shown = file.path.display();
        let own = libc_of(interpreter);
        let there = others(root);
        let of_other = there.iter().find(|(libc, _)| own.is_some_and(|own| own != *libc));
        if !has_libraries && there.is_empty() {
            let message = format!(
                "`{shown}` is linked dynamically (loader `{interpreter}`), and there is nothing here to load it with"
            );
            let help = "link it statically (`-static`, `CGO_ENABLED=0`), or take a base with a C library";
            let verdict = Verdict::new(Rule::Linkage, message, help).severity(Severity::Error);
            return self.of_file(file, verdict.between("static", "dynamic"));
        }
        let (message, found, help) = if let Some((libc, path)) = of_other {
            let own = own.unwrap_or_default();
            let path = path.display().to_string();
            let message = format!(
                "`{shown}` is linked against {own} (loader `{interpreter}`), and here is {libc} (`{path}`)"
            );
            let help = format!("link it statically, build it against {libc}, or take a base with {own}");
            (message, path, help)
        } else {
            let lost = match lost {
                Lost::Missing { path, link: Some((link, target)) } => format!(
                    ": the link `{}` leads to `{}`, and `{}` is not there",
                    link.display(),
                    target.display(),
                    path.display()
                ),
                _ => String::new(),
            };
            let needs = identity.platform.architecture.as_deref().unwrap_or("its architecture");
            (
                format!("`{shown}` names the loader `{interpreter}`, which is not there{lost}"),
                "nothing".into(),
                format!("install the C library for {needs}, or link the program statically"),
            )
        };
        let verdict = Verdict::new(Rule::InterpreterMissing, message, help);
        self.of_file(file, verdict.between(interpreter, found));
    }

    /// What a loader did not find for `object`.
    fn lacks(&mut self, object: &File, closure: Closure, severity: Severity) {
        let mut told: Vec<(Rule, PathBuf)> = Vec::new();
        let mut lacks: HashMap<(Rule, PathBuf), Vec<Lack>> = HashMap::new();
        for lack in closure.lacks {
            let rule = match &lack.reason {
                Reason::Missing { .. } | Reason::NotInCache { .. } => Rule::NeededMissing,
                Reason::Foreign { .. } | Reason::Damaged { .. } => Rule::NeededMismatch,
                Reason::Version { .. } => Rule::SymbolVersion,
            };
            if let Reason::Foreign { path } | Reason::Damaged { path, .. } = &lack.reason {
                self.blamed.insert(path.clone());
            }
            let key = (rule, lack.needed_by.clone());
            if !told.contains(&key) {
                told.push(key.clone());
            }
            lacks.entry(key).or_default().push(lack);
        }
        for key in told {
            let lacks = lacks.remove(&key).unwrap_or_default();
            let verdict = lacking(key.0, &key.1, &lacks);
            let by = if key.1 == object.path {
                String::new()
            } else {
                format!(" (`{}` loads it)", object.path.display())
            };
            let message = format!("{}{by}", verdict.message);
            self.at(&key.1, Verdict { message, ..verdict }.severity(severity));
        }
    }

    /// Whether a program and all its libraries pass floating point numbers in one way.
    fn floats(&mut self, file: &File, identity: &Arc<Identity>, closure: &Closure, memo: &Memo<'_>) {
        let Some(own) = convention(identity) else { return };
        for (name, path) in &closure.found {
            let Some(Ok(library)) = memo.root().executable(path).ok().and_then(|file| file.elf) else {
                continue;
            };
            let Some(theirs) = convention(&library).filter(|theirs| *theirs != own) else { continue };
            let message = format!(
                "`{}` passes floating point numbers as {own}-float code does, and `{}`, which it loads as `{name}`, as \
                 {theirs}-float code",
                file.path.display(),
                path.display()
            );
            let help = "take both from the same distribution, or compile both with the same float ABI";
            let verdict = Verdict::new(Rule::FloatAbi, message, help).between(own, theirs);
            self.blamed.insert(path.clone());
            return self.of_file(file, verdict);
        }
    }
}

fn lacking(rule: Rule, by: &Path, lacks: &[Lack]) -> Verdict {
    let by = by.display();
    let names = lacks.iter().map(|lack| format!("`{}`", lack.name)).collect::<Vec<_>>().join(", ");
    let library = if lacks.len() == 1 { "the library" } else { "the libraries" };
    let Some(first) = lacks.first() else {
        return Verdict::new(rule, String::new(), "");
    };
    let expected = lacks.iter().map(|lack| lack.name.as_str()).collect::<Vec<_>>().join(", ");
    match &first.reason {
        Reason::Missing { searched } => {
            let folders: Vec<String> = searched.iter().map(|folder| folder.display().to_string()).collect();
            let message = format!(
                "`{by}` needs {library} {names}, which {} in none of the folders that its loader searches: {}",
                if lacks.len() == 1 { "is" } else { "are" },
                folders.join(", ")
            );
            let help = if lacks.len() == 1 {
                format!(
                    "install the package that has {names}, copy it from the stage that built `{by}`, or set the run path"
                )
            } else {
                format!("install the packages that have them, or copy them from the stage that built `{by}`")
            };
            Verdict::new(rule, message, help).between(expected, "nothing")
        }
        Reason::NotInCache { path } => {
            let message = format!(
                "`{by}` needs {library} {names}; `{}` lies in a folder of `/etc/ld.so.conf` and not in `/etc/ld.so.cache`, \
                 which the loader reads",
                path.display()
            );
            Verdict::new(rule, message, "run `ldconfig` in the image")
                .between(expected, path.display().to_string())
        }
        Reason::Foreign { path } => {
            let message = format!(
                "`{by}` needs {library} {names}, and `{}` is for another architecture or word size",
                path.display()
            );
            let help = format!("install {names} for the architecture of `{by}`");
            Verdict::new(rule, message, help).between(expected, path.display().to_string())
        }
        Reason::Damaged { path, problem } => {
            let message =
                format!("`{by}` needs {library} {names}, and `{}` is no library: {problem}", path.display());
            Verdict::new(rule, message, "install it again").between(expected, path.display().to_string())
        }
        Reason::Version { path, version, highest } => {
            let has = highest
                .as_ref()
                .map_or_else(|| "nothing of the kind".to_owned(), |highest| format!("{highest} at the most"));
            let message = format!("`{by}` needs {version} of `{}`, which has {has}", path.display());
            let help = "build it on a system no newer than the image's base, or take a newer base";
            Verdict::new(rule, message, help).between(version.clone(), highest.clone().unwrap_or_default())
        }
    }
}

/// Whether a program, and libraries of these float ABIs, pass floating point numbers in one way.
fn is_of_one_float(program: &Identity, libraries: &[String]) -> bool {
    let Some(own) = convention(program) else { return true };
    libraries.iter().filter_map(|abi| of_float_abi(abi)).all(|theirs| theirs == own)
}

/// How floating point numbers are passed.
fn convention(identity: &Identity) -> Option<&str> {
    of_float_abi(identity.float_abi.as_deref()?)
}

/// `softfp` is code that passes them as `soft` does.
fn of_float_abi(abi: &str) -> Option<&str> {
    match abi {
        "any" => None,
        "softfp" => Some("soft"),
        other => Some(other),
    }
}

/// Whose a loader is, by its name.
fn libc_of(interpreter: &str) -> Option<&'static str> {
    let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
    if name.starts_with("ld-musl-") {
        Some("musl")
    } else if name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so.1") {
        Some("glibc")
    } else if name.starts_with("linker") {
        Some("bionic")
    } else {
        None
    }
}

/// Whose a loader is, by what it says of itself.
fn libc_in(loader: &Identity) -> Option<&'static str> {
    let soname = loader.soname.as_deref()?;
    if loader.provided.iter().any(|version| version.starts_with("GLIBC_")) {
        Some("glibc")
    } else if soname == "libc.so" || soname.starts_with("libc.musl") || soname.starts_with("ld-musl-") {
        Some("musl")
    } else {
        None
    }
}

/// The loaders that are there, with whose they are.
fn others(root: &dyn Root) -> Vec<(&'static str, PathBuf)> {
    let mut loaders = Vec::new();
    for folder in ["/lib", "/lib64", "/usr/lib", "/usr/lib64"] {
        let Ok(folder) = resolve(root, Path::new("/"), Path::new(folder)) else { continue };
        for name in root.names(&folder.path).unwrap_or_default() {
            let Some(name) = name.to_str().filter(|name| name.contains(".so")) else { continue };
            let path = folder.path.join(name);
            if let Some(libc) = libc_of(name)
                && resolve(root, Path::new("/"), &path).is_ok_and(|found| found.node.is_file())
            {
                loaders.push((libc, path));
            }
        }
    }
    loaders
}
