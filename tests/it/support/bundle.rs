//! Bundles' root file systems, unpacked and run as a runtime on a host without any handler would run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Cx, Ran, ran};

/// The files of a docker archive.
pub(crate) struct Root {
    path: PathBuf,
    config: Value,
}

/// The archive's manifest, read by tar and a reader of JSON that know nothing of ours.
pub(crate) fn load(cx: &Cx, archive: &str) -> Value {
    let member = |name: &str| ran(cx.command("/bin/tar").args(["-xOf", archive, name])).success();
    serde_json::from_str::<Value>(&member("manifest.json")).unwrap()[0].clone()
}

impl Root {
    /// Unpacks the one layer of `archive`.
    pub(crate) fn of(cx: &Cx, archive: &str) -> Self {
        let manifest = load(cx, archive);
        let layers = manifest["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        let path = cx.path(format!("{archive}.root"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let script = format!(
            "tar -xOf {archive} {} | tar -x -C {} --same-permissions",
            layers[0].as_str().unwrap(),
            path.display()
        );
        ran(cx.command("/bin/sh").args(["-c", &script])).success();
        let config = manifest["Config"].as_str().unwrap();
        let config = ran(cx.command("/bin/tar").args(["-xOf", archive, config])).success();
        Self { path, config: serde_json::from_str(&config).unwrap() }
    }

    /// The part of the config that says what is run.
    pub(crate) fn config(&self) -> &Value {
        &self.config["config"]
    }

    /// All names in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                if path.is_dir() && !path.is_symlink() {
                    walk(root, &path, names);
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.path, &self.path, &mut names);
        names.sort();
        names
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// What is under a name: a link's target, a file's bytes, nothing for a folder.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        if path.is_symlink() {
            return fs::read_link(path).unwrap().into_os_string().into_encoded_bytes();
        }
        if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() }
    }

    /// Runs a command line in it, in namespaces of its own, with an empty environment but for PATH, and its own /proc.
    ///
    /// The private binfmt_misc there has no handler at all, whatever this machine has.
    pub(crate) fn run(&self, cx: &Cx, words: &[&str]) -> Ran {
        ran(&mut self.command(cx, words))
    }

    pub(crate) fn command(&self, cx: &Cx, words: &[&str]) -> Command {
        const SCRIPT: &str = "set -e; mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; mkdir -p \"$0/proc\" \"$0/dev\"; \
            mount --rbind /proc \"$0/proc\"; touch \"$0/dev/null\"; mount --bind /dev/null \"$0/dev/null\"; \
            exec /usr/sbin/chroot \"$0\" \"$@\"";
        let mut command = cx.command("/usr/bin/unshare");
        command.args(["-U", "-r", "-m", "/bin/sh", "-c", SCRIPT]).arg(&self.path).args(words);
        command
    }

    /// The same for root, with all users, and so in the machine's own user namespace.
    pub(crate) fn command_of_root(&self, cx: &Cx, words: &[&str]) -> Command {
        const SCRIPT: &str = "set -e; mkdir -p \"$0/proc\" \"$0/dev\"; mount --rbind /proc \"$0/proc\"; \
            touch \"$0/dev/null\"; mount --bind /dev/null \"$0/dev/null\"; exec /usr/sbin/chroot \"$0\" \"$@\"";
        let mut command = cx.command("/usr/bin/unshare");
        command.args(["-m", "/bin/sh", "-c", SCRIPT]).arg(&self.path).args(words);
        command
    }
}
