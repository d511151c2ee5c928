//! What most programs ask of a root file system: who there is, which authorities to trust, what time it is.

use super::{BundleError, Gatherer};

/// Where systems keep the certificates of authorities, in one file.
const CERTIFICATES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Files that are added by a flag each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extras {
    /// The certificates of authorities, at the place that most libraries look at first.
    pub certificates: bool,
    /// A time zone, such as `Europe/Riga`.
    pub timezone: Option<String>,
    /// `/etc/passwd` and `/etc/group`, with root, nobody, and this numeric user and group if they are others.
    pub passwd: Option<(u32, u32)>,
}

impl Extras {
    /// Adds them to what is gathered.
    ///
    /// # Errors
    /// [`BundleError::NoExtra`] where a file is to be found nowhere; others where it cannot be read.
    pub fn gather(&self, gatherer: &mut Gatherer<'_>) -> Result<(), BundleError> {
        let no = |what: String, hint| BundleError::NoExtra { what, hint };
        if self.certificates && !gatherer.first_of(CERTIFICATES, "etc/ssl/certs/ca-certificates.crt") {
            return Err(no(
                "the certificates of authorities".into(),
                "install the package `ca-certificates`",
            ));
        }
        if let Some(zone) = &self.timezone {
            let is_name = !zone.is_empty() && zone.split('/').all(|part| !matches!(part, "" | "." | ".."));
            let path = format!("/usr/share/zoneinfo/{zone}");
            if !is_name || !gatherer.first_of(&[&path], "etc/localtime") {
                return Err(no(
                    format!("the time zone `{zone}`"),
                    "`timedatectl list-timezones` lists the names; the package `tzdata` has the files",
                ));
            }
            gatherer.text("etc/timezone", format!("{zone}\n"));
        }
        if let Some((uid, gid)) = self.passwd {
            let (mut passwd, mut group) = (
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n".to_owned(),
                "root:x:0:\nnogroup:x:65534:\n".to_owned(),
            );
            if !matches!(uid, 0 | 65534) {
                passwd.extend(["user:x:", &uid.to_string(), ":", &gid.to_string(), ":user:/:/bin/sh\n"]);
            }
            if !matches!(gid, 0 | 65534) {
                group.extend(["user:x:", &gid.to_string(), ":\n"]);
            }
            gatherer.text("etc/passwd", passwd);
            gatherer.text("etc/group", group);
        }
        Ok(())
    }
}
