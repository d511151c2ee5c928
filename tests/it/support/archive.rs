//! A small archive of Debian's form, signed with a key of its own, made with Debian's own tools.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use polyarch::debian::{Keyring, Mirror, Options};

use super::{Cx, ran};

/// The archive's folder, and the key that signs it.
pub(crate) struct Archive<'a> {
    cx: &'a Cx,
    folder: PathBuf,
    /// A mirror's key is one of a run of `gpg`, whose agent ends with it.
    home: PathBuf,
    packages: String,
    sources: String,
    /// Further lines of the `Release`.
    pub(crate) fields: String,
}

impl Drop for Archive<'_> {
    fn drop(&mut self) {
        let _ = self
            .cx
            .command("gpgconf")
            .arg("--homedir")
            .arg(&self.home)
            .args(["--kill", "gpg-agent"])
            .status();
    }
}

impl<'a> Archive<'a> {
    /// An empty archive called `name` in the test's folder.
    pub(crate) fn new(cx: &'a Cx, name: &str) -> Self {
        let home = cx.path(format!("{name}-key"));
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let folder = cx.path(name);
        fs::create_dir_all(&folder).unwrap();
        let archive =
            Self { cx, folder, home, packages: String::new(), sources: String::new(), fields: String::new() };
        archive.gpg([
            "--quick-gen-key",
            &format!("{name} <{name}@packages.example>"),
            "ed25519",
            "sign",
            "never",
        ]);
        archive.gpg(["--export", "--output", archive.keyring().to_str().unwrap()]);
        archive.gpg([
            "--armor",
            "--export",
            "--output",
            archive.keyring().with_extension("asc").to_str().unwrap(),
        ]);
        archive
    }

    fn gpg<'b>(&self, args: impl IntoIterator<Item = &'b str>) {
        let mut command = self.cx.command("gpg");
        command.arg("--homedir").arg(&self.home).args(["--batch", "--yes", "--quiet", "--passphrase", ""]);
        ran(command.args(args)).success();
    }

    /// Its root.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its public keys, binary; the armoured ones are beside it, as `.asc`.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.home.join("keys.gpg")
    }

    /// The same for the library.
    pub(crate) fn keys(&self) -> Keyring {
        Keyring::of([self.keyring()])
    }

    /// The mirror at `address`, with little patience.
    pub(crate) fn mirror(&self, address: &str) -> Mirror {
        let root = self.cx.path("no-root");
        let patience = Some(std::time::Duration::from_millis(500));
        Mirror::open(&Options { address: Some(address), patience, ..Options::new(&root) }).unwrap()
    }

    /// Adds a package with `files` to the pool, and to the index that [`Archive::publish`] writes; `fields` are
    /// further lines of its description, such as `Depends: libc6\n`. Gives the file's path in the archive.
    pub(crate) fn package(
        &mut self,
        name: &str,
        version: &str,
        architecture: &str,
        fields: &str,
        files: &[(&str, &[u8], u32)],
    ) -> String {
        let tree = self.cx.path(format!("tree-{name}-{architecture}"));
        let _ = fs::remove_dir_all(&tree);
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@packages.example>\n\
             {fields}Description: a test's\n"
        );
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        for (path, content, mode) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
        }
        let file = format!("pool/main/{name}_{}_{architecture}.deb", version.replace(':', "%3a"));
        fs::create_dir_all(self.path("pool/main")).unwrap();
        let build = ["--root-owner-group", "-Zxz", "--build"];
        ran(self.cx.command("dpkg-deb").args(build).arg(&tree).arg(self.path(&file))).success();
        let (size, sha256) = self.measure(&self.path(&file));
        write!(self.packages, "{control}Filename: {file}\nSize: {size}\nSHA256: {sha256}\n\n").unwrap();
        file
    }

    /// Adds a source package of one file, which holds `content`, besides its description. Gives the file's path in the archive.
    pub(crate) fn source(&mut self, name: &str, version: &str, content: &[u8]) -> String {
        let folder = format!("pool/main/{name}");
        fs::create_dir_all(self.path(&folder)).unwrap();
        let mut list = String::new();
        let files = [("dsc", format!("Source: {name}\n").into_bytes()), ("tar", content.to_vec())];
        for (ending, content) in files {
            let file = format!("{name}_{version}.{ending}");
            fs::write(self.path(&format!("{folder}/{file}")), content).unwrap();
            let (size, sha256) = self.measure(&self.path(&format!("{folder}/{file}")));
            writeln!(list, " {sha256} {size} {file}").unwrap();
        }
        write!(
            self.sources,
            "Package: {name}\nVersion: {version}\nDirectory: {folder}\nChecksums-Sha256:\n{list}\n"
        )
        .unwrap();
        format!("{folder}/{name}_{version}.tar")
    }

    /// The index's text, to be falsified.
    pub(crate) fn index(&mut self) -> &mut String {
        &mut self.packages
    }

    fn measure(&self, path: &Path) -> (u64, String) {
        let sum = ran(self.cx.command("sha256sum").arg(path)).success();
        (path.metadata().unwrap().len(), sum.split(' ').next().unwrap().to_owned())
    }

    /// Writes and signs the index of `architecture` and the `Release` of `suite`.
    pub(crate) fn publish(&self, suite: &str, architecture: &str) {
        let dists = self.path(&format!("dists/{suite}"));
        let name = format!("main/binary-{architecture}/Packages");
        let index = dists.join(&name);
        fs::create_dir_all(index.parent().unwrap()).unwrap();
        fs::write(&index, &self.packages).unwrap();
        ran(self.cx.command("xz").args(["--keep", "--force"]).arg(&index)).success();
        let mut release = format!(
            "Origin: packages.example\nSuite: oldstable\nCodename: {suite}\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n\
             Architectures: {architecture}\nComponents: main\n{}SHA256:\n",
            self.fields
        );
        for ending in ["", ".xz"] {
            let (size, sha256) = self.measure(&dists.join(format!("{name}{ending}")));
            writeln!(release, " {sha256} {size} {name}{ending}").unwrap();
        }
        // As many mirrors do not keep the plain one.
        fs::remove_file(&index).unwrap();
        if !self.sources.is_empty() {
            let name = "main/source/Sources";
            fs::create_dir_all(dists.join("main/source")).unwrap();
            fs::write(dists.join(name), &self.sources).unwrap();
            let (size, sha256) = self.measure(&dists.join(name));
            writeln!(release, " {sha256} {size} {name}").unwrap();
        }
        fs::write(dists.join("Release"), release).unwrap();
        self.sign(suite);
    }

    /// Signs the `Release` of `suite`, in both forms.
    pub(crate) fn sign(&self, suite: &str) {
        let path = |name: &str| self.path(&format!("dists/{suite}/{name}")).to_str().unwrap().to_owned();
        self.gpg(["--clearsign", "--output", &path("InRelease"), &path("Release")]);
        self.gpg(["--armor", "--detach-sign", "--output", &path("Release.gpg"), &path("Release")]);
    }
}
