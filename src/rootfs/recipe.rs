//! Recipes: how base roots are made, as files `rootfs/*.toml` in the program, or of the user's own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::target::{Catalogue, Target, nearest};

/// The recipes of the program: file names and texts, by `build.rs`.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// The largest recipe that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// A recipe could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// There is none of the name.
    #[error("no recipe is called `{name}`")]
    Unknown {
        /// As asked for.
        name: String,
        /// The most alike, where one is.
        nearest: Option<String>,
    },
    /// A file of the user's own cannot be read.
    #[error("reading the recipe `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not TOML, or holds keys that are not known or of the wrong kind.
    #[error("the recipe `{file}` is not right")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file says what cannot be.
    #[error("the recipe `{file}` is not right: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// What and why.
        reason: String,
    },
}

impl RecipeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { nearest: Some(nearest), .. } => {
                format!("did you mean `{nearest}`? `polyarch rootfs list` shows all")
            }
            Self::Unknown { .. } => {
                "`polyarch rootfs list` shows all; a recipe of your own is given by its path, as `./my-root.toml`".into()
            }
            Self::Read { .. } => "a recipe is given by its path, as `./my-root.toml`".into(),
            Self::Syntax { .. } | Self::Invalid { .. } => "docs/rootfs.md has all keys of a recipe".into(),
        })
    }
}

/// How a base root is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Recipe {
    /// Its name, that of its file.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What it is made from.
    pub kind: Kind,
    /// Packages, where it is made from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debian: Option<Archive>,
    /// Tar files, where it is made from one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tarball: Vec<Tarball>,
    /// A Containerfile, where its stages make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containerfile: Option<Containerfile>,
    /// What its image starts.
    #[serde(default)]
    pub config: Config,
    /// The folder of the recipe's file; none of those of the program.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// A Containerfile whose stages make the root, on Debian of this machine and from Debian's sources.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Containerfile {
    /// The folder with the `Containerfile` and what it copies, beside the recipe.
    pub context: PathBuf,
    /// The variant that is made where none is asked for.
    pub variant: String,
    /// The variants: each is a stage of that name.
    pub variants: Vec<String>,
    /// The suite of Debian that packages and sources are of.
    pub suite: String,
    /// Packages of the image `builder`, beside Debian's smallest.
    #[serde(default)]
    pub include: Vec<String>,
    /// Source packages, each a folder of the context `source`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The machines that it makes roots for.
    pub machine: Vec<Machine>,
}

/// Machines that a Containerfile makes the same root for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Machine {
    /// The targets that they are.
    pub targets: Vec<String>,
    /// More packages of the builder.
    #[serde(default)]
    pub include: Vec<String>,
    /// Arguments of the Containerfile (`ARG`).
    #[serde(default)]
    pub args: BTreeMap<String, String>,
}

/// A tar file, which is the root file system of some machines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Tarball {
    /// The targets that it is for.
    pub targets: Vec<String>,
    /// Its address. It may be plain, or packed with gzip, xz or zstd.
    pub url: String,
    /// Its SHA-256 digest, in hexadecimal digits. Without one it must be given.
    #[serde(default)]
    pub sha256: Option<String>,
    /// How many folders at the beginning of each name are left away.
    #[serde(default)]
    pub strip: usize,
    /// Whether `/bin`, `/sbin` and `/lib*` become links to `/usr`.
    #[serde(default)]
    pub merge_usr: bool,
}

/// What a root is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Debian packages of a signed archive.
    Debian,
    /// A tar file that others made.
    Tarball,
    /// The stages of a Containerfile.
    Containerfile,
}

/// Which packages of an archive, and what becomes of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Archive {
    /// Suites, the one that is taken first first: each machine gets the first that has its architecture.
    pub suites: Vec<String>,
    /// Components of a suite.
    #[serde(default = "main")]
    pub components: Vec<String>,
    /// The variant that is made where none is asked for.
    pub variant: String,
    /// Packages that are taken where an alternative names them.
    #[serde(default)]
    pub prefer: Vec<String>,
    /// Packages that are configured before all others, in this order.
    #[serde(default)]
    pub first: Vec<String>,
    /// Shell patterns of files that are removed at the end.
    #[serde(default)]
    pub clean: Vec<String>,
    /// The choices of packages.
    pub variants: BTreeMap<String, Variant>,
}

/// One choice of packages. Those that call themselves essential are always in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Variant {
    /// Whether those of the priority `required` are.
    #[serde(default = "yes")]
    pub required: bool,
    /// These too.
    #[serde(default)]
    pub include: Vec<String>,
}

/// What the image's config says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The program that it starts, and its arguments.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// Its environment, `NAME=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
}

fn main() -> Vec<String> {
    vec!["main".into()]
}

fn yes() -> bool {
    true
}

/// All recipes of the program, by name.
///
/// # Panics
/// Where a file of `rootfs/` is wrong, which a test rules out.
#[must_use]
pub fn recipes() -> &'static [Recipe] {
    static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
        let parsed = EMBEDDED.iter().map(|(file, text)| Recipe::parse(file, text));
        parsed
            .collect::<Result<_, _>>()
            .unwrap_or_else(|err| panic!("{err}: {:?}", std::error::Error::source(&err)))
    });
    &RECIPES
}

impl Recipe {
    /// The recipe that `argument` means: one of the program by its name, or a file by its path, which has a `/` in it or ends in `.toml`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn resolve(argument: &str) -> Result<Self, RecipeError> {
        let path = Path::new(argument);
        let is_path = argument.contains('/') || path.extension().is_some_and(|ending| ending == "toml");
        if !is_path {
            let found = recipes().iter().find(|recipe| recipe.name == argument).cloned();
            let names = || recipes().iter().map(|recipe| recipe.name.as_str());
            return found.ok_or_else(|| RecipeError::Unknown {
                name: argument.into(),
                nearest: nearest(argument, names()),
            });
        }
        let read = |source| RecipeError::Read { path: path.into(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(read)?;
        file.take(LIMIT + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > LIMIT {
            return Err(read(io::Error::other(format!("it is larger than {LIMIT} bytes"))));
        }
        let mut recipe = Self::parse(argument, &text)?;
        recipe.folder = Some(path.parent().unwrap_or(Path::new("")).into());
        Ok(recipe)
    }

    /// Reads the `text` of the recipe `file`.
    ///
    /// # Errors
    /// [`RecipeError::Syntax`], [`RecipeError::Invalid`].
    pub fn parse(file: &str, text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)
            .map_err(|source| RecipeError::Syntax { file: file.into(), source: Box::new(source) })?;
        recipe.check().map_err(|reason| RecipeError::Invalid { file: file.into(), reason })?;
        Ok(recipe)
    }

    /// The tar file for `target`.
    #[must_use]
    pub fn tarball_for(&self, target: &Target) -> Option<&Tarball> {
        self.tarball.iter().find(|tarball| tarball.targets.contains(&target.name))
    }

    /// The machine of its Containerfile that `target` is.
    #[must_use]
    pub fn machine_for(&self, target: &Target) -> Option<&Machine> {
        self.containerfile.as_ref()?.machine.iter().find(|machine| machine.targets.contains(&target.name))
    }

    fn check(&self) -> Result<(), String> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-+.".contains(&byte))
        };
        if !is_name(&self.name) {
            return Err(format!(
                "`{}` is no name of a recipe: it is made of a-z, 0-9, `-`, `+` and `.`",
                self.name
            ));
        }
        if let Some(wrong) =
            self.config.env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0))
        {
            return Err(format!("`config.env` has `{wrong}`, which is no `NAME=VALUE`"));
        }
        // Each kind has a table of its own, and none of the others'.
        let tables = [
            (Kind::Debian, "[debian]", self.debian.is_some()),
            (Kind::Tarball, "[[tarball]]", !self.tarball.is_empty()),
            (Kind::Containerfile, "[containerfile]", self.containerfile.is_some()),
        ];
        for (kind, table, is_there) in tables {
            let own = tables.iter().find(|(own, ..)| *own == self.kind).map_or("", |(_, table, _)| *table);
            if is_there && kind != self.kind {
                return Err(format!("it has a table `{table}`, and its kind is that of `{own}`"));
            }
            // Whose address changes all the time is given on the command line.
            if !is_there && kind == self.kind && kind != Kind::Tarball {
                return Err(format!("its kind needs a table `{own}`, which it has not"));
            }
        }
        if let Some(archive) = &self.debian {
            archive.check(&is_name)?;
        }
        if let Some(containerfile) = &self.containerfile {
            containerfile.check(&is_name)?;
        }
        self.tarball.iter().try_for_each(Tarball::check)
    }
}

/// Whether all of `names` are targets' of the catalogue.
fn are_targets(table: &str, names: &[String]) -> Result<(), String> {
    match names.iter().find(|name| Catalogue::builtin().target(name).is_err()) {
        Some(wrong) => Err(format!("`{table}.targets` has `{wrong}`, which is no target")),
        None => Ok(()),
    }
}

impl Containerfile {
    fn check(&self, is_name: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if !self.variants.contains(&self.variant) {
            return Err(format!(
                "`containerfile.variant` is `{}`, which is none of `containerfile.variants`",
                self.variant
            ));
        }
        let includes = self.machine.iter().flat_map(|machine| &machine.include);
        if let Some(wrong) = includes.chain(&self.include).chain(&self.sources).find(|name| !is_name(name)) {
            return Err(format!("`{wrong}` is no name of a package"));
        }
        self.machine.iter().try_for_each(|machine| are_targets("containerfile.machine", &machine.targets))
    }
}

impl Tarball {
    fn check(&self) -> Result<(), String> {
        are_targets("tarball", &self.targets)?;
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.sha256.as_ref().filter(|text| !is_digest(text)) {
            Some(wrong) => Err(format!("`tarball.sha256` is `{wrong}`, which is no SHA-256 digest")),
            None => Ok(()),
        }
    }
}

impl Archive {
    /// The suite that `target` gets where none is asked for: the first that Debian has its architecture in, else the first that is none of
    /// Debian's, for that says nothing of its architectures.
    #[must_use]
    pub fn suite_for(&self, target: &Target) -> Option<&str> {
        let debian = target.debian.as_ref()?;
        let is_debians = |suite: &String| {
            Catalogue::builtin()
                .targets()
                .iter()
                .any(|target| target.debian.as_ref().is_some_and(|debian| debian.suites.contains(suite)))
        };
        let own = self.suites.iter().find(|suite| debian.suites.contains(suite));
        own.or_else(|| self.suites.iter().find(|suite| !is_debians(suite))).map(String::as_str)
    }

    fn check(&self, is_name: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if self.components.is_empty() {
            return Err("`debian.components` names none".into());
        }
        if !self.variants.contains_key(&self.variant) {
            return Err(format!(
                "`debian.variant` is `{}`, of which there is no table `[debian.variants.{}]`",
                self.variant, self.variant
            ));
        }
        let included = self.variants.values().flat_map(|variant| &variant.include);
        let packages = included.chain(&self.prefer).chain(&self.first);
        if let Some(wrong) = { packages }.find(|name| !is_name(name)) {
            return Err(format!("`{wrong}` is no name of a package"));
        }
        // They are put into a shell's command line as they are, for the shell is to expand them.
        let is_pattern = |text: &str| {
            text.len() > 1
                && text.starts_with('/')
                && !text.split('/').any(|part| part == "..")
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+*?[!]".contains(&byte))
        };
        if let Some(wrong) = self.clean.iter().find(|pattern| !is_pattern(pattern)) {
            return Err(format!(
                "`debian.clean` has `{wrong}`: a pattern begins with `/` and is made of letters, digits and `._-+*?[!]`"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_are_right_and_called_as_their_files() {
        for ((file, _), recipe) in EMBEDDED.iter().zip(recipes()) {
            assert_eq!(*file, format!("{}.toml", recipe.name));
        }
        assert!(recipes().iter().any(|recipe| recipe.kind == Kind::Debian));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let whole = EMBEDDED.iter().find(|(file, _)| *file == "debian.toml").unwrap().1;
        for (from, to, expected) in [
            ("components = [\"main\"]", "component = []", "unknown field `component`"),
            ("components = [\"main\"]", "components = 3", "invalid type"),
            ("kind = \"debian\"", "kind = \"fedora\"", "unknown variant `fedora`"),
            ("variant = \"minbase\"", "variant = \"huge\"", "no table `[debian.variants.huge]`"),
            ("\"/tmp/*\"", "\"/tmp/$(id)\"", "`/tmp/$(id)`"),
            ("\"/tmp/*\"", "\"/tmp/../x\"", "`/tmp/../x`"),
            ("\"apt\", \"build-essential\"", "\"apt --now\"", "`apt --now` is no name"),
            ("\"PATH=", "\"=", "no `NAME=VALUE`"),
            ("name = \"debian\"", "name = \"a/b\"", "`a/b` is no name"),
        ] {
            let text = whole.replace(from, to);
            assert_ne!(text, whole, "{from}");
            let err = Recipe::parse("x.toml", &text).unwrap_err();
            let cause = std::error::Error::source(&err).map(ToString::to_string).unwrap_or_default();
            let told = format!("{err} {cause}");
            assert!(told.contains(expected), "{told}");
            if let RecipeError::Syntax { .. } = err {
                assert!(told.contains("line "), "{told}");
            }
        }
    }

    #[test]
    fn recipes_are_found_by_name_or_path() {
        assert_eq!(Recipe::resolve("debian").unwrap().name, "debian");
        let Err(RecipeError::Unknown { nearest, .. }) = Recipe::resolve("debain") else { panic!() };
        assert_eq!(nearest.as_deref(), Some("debian"));
        assert!(matches!(Recipe::resolve("./none.toml"), Err(RecipeError::Read { .. })));
    }
}
