//! Where the archive is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::apt::{Apt, Proxy};
use super::{DebianError, Package, release};
use crate::progress::Progress;

/// Debian's dated snapshot archive, at the time that is taken where neither the user nor the host's apt names
/// a mirror.
pub const SNAPSHOT: &str = "http://snapshot.debian.org/archive/debian/20261101T000000Z/";

/// Debian's dated snapshot archive: beneath it is a folder for each time, such as `20261101T000000Z`, which is a
/// mirror as of then. Any time leads to the snapshot before it.
pub const SNAPSHOTS: &str = "http://snapshot.debian.org/archive/debian";

/// How long a server may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a mirror is chosen and reached.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// A mirror that the user gave: an `http://`, `https://` or `file:` URL, or a folder's path.
    pub address: Option<&'a str>,
    /// The folder with the host's `etc/apt`: `/`, but in tests.
    pub root: &'a Path,
    /// The proxy for HTTP by the environment (`http_proxy`), which apt's configuration precedes.
    pub http_proxy: Option<&'a str>,
    /// The same for HTTPS.
    pub https_proxy: Option<&'a str>,
    /// Hosts that are reached without a proxy (`no_proxy`).
    pub no_proxy: Option<&'a str>,
    /// How long a server may keep silent; half a minute where it is not given.
    pub patience: Option<Duration>,
}

impl<'a> Options<'a> {
    /// The host's own configuration, and no proxy beside it.
    #[must_use]
    pub fn new(root: &'a Path) -> Self {
        Self { address: None, root, http_proxy: None, https_proxy: None, no_proxy: None, patience: None }
    }
}

/// One mirror of Debian's archive, or of another that is laid out like it.
#[derive(Clone)]
pub struct Mirror {
    pub(super) place: Place,
}

/// Where a mirror's files are.
#[derive(Clone)]
pub(super) enum Place {
    /// The base URL, without a slash at its end.
    Http {
        base: String,
        agent: ureq::Agent,
    },
    Folder(PathBuf),
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mirror").field(&self.address()).finish()
    }
}

impl Mirror {
    /// The mirror that the user named, else the host's, as apt is configured, else [`SNAPSHOT`].
    ///
    /// # Errors
    /// [`DebianError::Address`], where the mirror's or proxy's address is none.
    pub fn open(options: &Options<'_>) -> Result<Self, DebianError> {
        let apt = Apt::read(options.root);
        let address = options
            .address
            .map(str::to_owned)
            .or_else(|| apt.mirrors.first().cloned())
            .unwrap_or_else(|| SNAPSHOT.to_owned());
        let wrong = |reason| DebianError::Address { what: "mirror", address: address.clone(), reason };
        if let Some(path) = address.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(wrong("a `file:` URL has an absolute path"));
            }
            return Ok(Self { place: Place::Folder(path.into()) });
        }
        let (proxy, environment) = match address.split_once("://") {
            Some(("http", rest)) if !rest.is_empty() => (&apt.http_proxy, options.http_proxy),
            Some(("https", rest)) if !rest.is_empty() => (&apt.https_proxy, options.https_proxy),
            Some(_) => return Err(wrong("only `http`, `https` and `file` are understood")),
            None if Path::new(&address).is_dir() => return Ok(Self { place: Place::Folder(address.into()) }),
            None => return Err(wrong("it is neither a URL nor a folder")),
        };
        let proxy = match proxy {
            Some(Proxy::Direct) => None,
            Some(Proxy::Address(proxy)) => Some(proxy.as_str()),
            None => environment.filter(|proxy| !proxy.is_empty()),
        };
        let proxy = proxy.map(|proxy| connect_by(proxy, options.no_proxy)).transpose()?;
        let patience = options.patience.unwrap_or(PATIENCE);
        let agent = ureq::Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(5)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .user_agent(concat!("polyarch/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { place: Place::Http { base: address.trim_end_matches('/').into(), agent } })
    }

    /// Its address, as a person would write it.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.place {
            Place::Http { base, .. } => base.clone(),
            Place::Folder(path) => path.display().to_string(),
        }
    }

    /// What is in a folder of it, as a mirror of its own.
    #[must_use]
    pub fn beneath(&self, folder: &str) -> Self {
        let place = match &self.place {
            Place::Http { base, agent } => {
                Place::Http { base: format!("{base}/{folder}"), agent: agent.clone() }
            }
            Place::Folder(path) => Place::Folder(path.join(folder)),
        };
        Self { place }
    }

    /// The folder that it is; `None` for a server.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Http { .. } => None,
        }
    }

    /// The address of a file in it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address())
    }

    /// The time at which a dated snapshot shows the archive; `None` for all other mirrors. What it holds is
    /// judged by that time.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        let Place::Http { base, .. } = &self.place else { return None };
        // `20261101T000000Z`.
        base.rsplit('/').find_map(|part| {
            let (date, clock) = part.strip_suffix('Z')?.split_once('T')?;
            if date.len() != 8 || clock.len() != 6 || !part.is_ascii() {
                return None;
            }
            let number = |text: &str| text.parse().ok();
            let clock = [number(&clock[..2])?, number(&clock[2..4])?, number(&clock[4..])?];
            release::moment(number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?, clock)
        })
    }

    /// Fetches the package's file into `folder`, where it is called by its digest, and verifies its size and
    /// digest on the way. A file that is there already is verified and taken; one that was begun is gone on with.
    ///
    /// # Errors
    /// [`DebianError`], where it cannot be had or is another; then nothing is left under its name.
    pub fn fetch(
        &self,
        package: &Package,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, DebianError> {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !package.filename.split('/').all(is_plain)
            || package.filename.contains(|c: char| c.is_control() || matches!(c, '\\' | '?' | '#'))
        {
            return Err(DebianError::FileName {
                package: package.name.clone(),
                file_name: package.filename.clone(),
            });
        }
        let path = folder.join(format!("{}.deb", package.sha256));
        let label = format!("{} {} ({})", package.name, package.version, package.architecture);
        let paths = [package.filename.clone()];
        self.download(&paths, package.size, package.sha256, &path, &label, progress)?;
        Ok(path)
    }
}

/// The proxy at `address`.
fn connect_by(address: &str, no_proxy: Option<&str>) -> Result<ureq::Proxy, DebianError> {
    let wrong = || DebianError::Address {
        what: "proxy",
        // A proxy's address may hold a password.
        address: address.rsplit_once('@').map_or(address, |(_, host)| host).into(),
        reason: "it is no proxy's URL",
    };
    let proxy = ureq::Proxy::new(address).map_err(|_| wrong())?;
    let Some(no_proxy) = no_proxy.filter(|list| !list.is_empty()) else { return Ok(proxy) };
    let mut builder = ureq::Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    for host in no_proxy.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, address: Option<&str>) -> Result<Mirror, DebianError> {
        Mirror::open(&Options { address, ..Options::new(root) })
    }

    #[test]
    fn the_users_mirror_precedes_the_hosts_and_that_the_snapshot() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(format!("{}/", open(root.path(), None).unwrap().address()), SNAPSHOT);
        let apt = root.path().join("etc/apt");
        std::fs::create_dir_all(&apt).unwrap();
        std::fs::write(apt.join("sources.list"), "deb http://a.example/debian/ bookworm main\n").unwrap();
        assert_eq!(open(root.path(), None).unwrap().address(), "http://a.example/debian");
        let given = open(root.path(), Some("https://b.example/x/")).unwrap();
        assert_eq!(given.address(), "https://b.example/x");
        let folder = open(root.path(), Some("file:///srv/debian")).unwrap();
        assert_eq!(folder.url("dists"), "/srv/debian/dists");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let root = tempfile::tempdir().unwrap();
        for wrong in ["", "http://", "ftp://a.example/debian", "file:relative", "a.example/debian"] {
            assert!(matches!(open(root.path(), Some(wrong)), Err(DebianError::Address { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_snapshot_tells_its_time() {
        let root = tempfile::tempdir().unwrap();
        let seconds = |address| {
            let time = open(root.path(), Some(address)).unwrap().time()?;
            Some(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds("http://s.example/archive/debian/20260711T101637Z/"), Some(1_783_764_997));
        assert!(seconds(SNAPSHOT).is_some());
        assert_eq!(seconds("http://a.example/debian"), None);
        assert_eq!(seconds("http://a.example/20260711T1016é7Z"), None);
    }
}
