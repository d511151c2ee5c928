//! Package files of Debian's archive, of any architecture, kept from one run of the tests to the next.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use polyarch::debian::{DebianError, Index, Keyring, Mirror, Options, Release};
use polyarch::progress::Silent;

/// Where what the tests fetch is kept: `target/fixtures`.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("`target/tmp` is in `target`").join("fixtures")
}

/// The mirror that this machine's apt is configured with, through the proxy that the environment names.
pub(crate) fn mirror() -> Mirror {
    let variable = |name: &str| std::env::var(name).ok();
    let (http, https, none) = (variable("http_proxy"), variable("https_proxy"), variable("no_proxy"));
    let options = Options {
        http_proxy: http.as_deref(),
        https_proxy: https.as_deref(),
        no_proxy: none.as_deref(),
        ..Options::new(Path::new("/"))
    };
    Mirror::open(&options).unwrap()
}

/// The index of `suite`'s main packages for `architecture`, fetched once a run.
pub(crate) fn index(suite: &str, architecture: &str) -> Index {
    static INDEXES: Mutex<Option<HashMap<(String, String), Index>>> = Mutex::new(None);
    // A test that failed in here has left the map as it was.
    let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let indexes = indexes.get_or_insert_default();
    let key = (suite.to_owned(), architecture.to_owned());
    if !indexes.contains_key(&key) {
        let (mirror, keyring) = (mirror(), Keyring::host(Path::new("/")));
        let folder = fixtures().join("indexes");
        let fetch = |suite: &str| {
            let release = Release::fetch(&mirror, suite, &keyring).unwrap();
            let index = release.index(&mirror, "main", architecture, &folder, &Silent);
            (release, index)
        };
        let (release, index) = fetch(suite);
        // A mirror that is being updated, or a cache before one, can have a new list and old indexes. Under the
        // suite's other name (`stable` for `trixie`) the old list may stand yet, which fits them.
        let index = index.or_else(|err| match err {
            DebianError::Size { .. } | DebianError::Digest { .. } | DebianError::Status { .. } => {
                fetch(&release.suite).1
            }
            err => Err(err),
        });
        let index = index.unwrap_or_else(|err| panic!("{suite} {architecture}: {err}"));
        indexes.insert(key.clone(), index);
    }
    indexes[&key].clone()
}

/// The file of `package` of `suite` for `architecture`, by Debian's names, in its latest version or the one
/// that an earlier run of the tests had: `deb("bookworm", "s390x", "libc6")`.
pub(crate) fn deb(suite: &str, architecture: &str, package: &str) -> PathBuf {
    let folder = fixtures().join("debs");
    let path = folder.join(format!("{suite}_{architecture}_{package}.deb"));
    if !path.exists() {
        let package = index(suite, architecture).find(package).unwrap();
        let fetched = mirror().fetch(&package, &folder, &Silent).unwrap();
        // Another test may have linked it in the meantime.
        let temporary =
            folder.join(format!("{suite}_{architecture}_{}.{:?}", package.name, std::thread::current().id()));
        fs::hard_link(&fetched, &temporary).unwrap();
        fs::rename(&temporary, &path).unwrap();
    }
    path
}
