//! Whom we trust.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig};

use super::RegistryError;

/// Where distributions keep the roots that the machine trusts, all in one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The largest file of certificates that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// Whom we trust.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// `Some(false)`: certificates are not checked, and plain HTTP is used where there is no HTTPS. `Some(true)`: HTTPS
    /// alone, whatever `registries.conf` says. `None`: HTTPS, but for this machine's own and insecure registries.
    pub verify: Option<bool>,
    /// A file of roots, instead of the system's.
    pub roots: Option<PathBuf>,
    /// A folder of further roots (`*.crt`) and our own certificate (`*.cert`, `*.key`).
    pub folder: Option<PathBuf>,
    /// Folders that have such a folder by the name of each host.
    pub host_folders: Vec<PathBuf>,
}

impl Tls {
    /// What a connection to `host` needs.
    pub(super) fn config(&self, host: &str, is_unchecked: bool) -> Result<TlsConfig, RegistryError> {
        let mut roots = match &self.roots {
            Some(path) => certificates(path)?,
            None => match BUNDLES.iter().map(Path::new).find(|path| path.exists()) {
                Some(path) => certificates(path)?,
                None => Vec::new(),
            },
        };
        let is_system = !roots.is_empty();
        let mut folders: Vec<PathBuf> = self.folder.iter().cloned().collect();
        if self.folder.is_none() {
            folders.extend(
                self.host_folders.iter().map(|folder| folder.join(host)).filter(|path| path.is_dir()),
            );
        }
        let mut own = None;
        for folder in folders {
            for path in files(&folder)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => roots.extend(certificates(&path)?),
                    Some("cert") => own = Some(client(&path)?),
                    _ => {}
                }
            }
        }
        let roots = if is_system || !roots.is_empty() { RootCerts::from(roots) } else { RootCerts::WebPki };
        Ok(TlsConfig::builder().root_certs(roots).client_cert(own).disable_verification(is_unchecked).build())
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let read = |source| RegistryError::Read { path: folder.into(), source };
    let entries = fs::read_dir(folder).map_err(read)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(read)?;
    paths.sort();
    Ok(paths)
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>, RegistryError> {
    let bytes = super::registries::read(path, LIMIT)?;
    // Bundles hold odd things too; what cannot be read is no root.
    Ok(ureq::tls::parse_pem(&bytes).filter_map(Result::ok).collect())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = items(path)?.into_iter().filter_map(certificate).collect();
    if found.is_empty() {
        return Err(RegistryError::Certificate {
            path: path.into(),
            reason: "it holds no certificate in PEM form",
        });
    }
    Ok(found)
}

fn client(path: &Path) -> Result<ClientCert, RegistryError> {
    let key = path.with_extension("key");
    let found = items(&key)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    let missing = || RegistryError::Certificate { path: key.clone(), reason: "it holds no key in PEM form" };
    Ok(ClientCert::new_with_certs(&certificates(path)?, found.ok_or_else(missing)?))
}
