//! Signatures, verified by GnuPG's `gpgv`.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DebianError, SignatureFault};

/// The largest keyring that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// How much of what gpgv says is read, in bytes.
const STATUS_LIMIT: u64 = 1 << 20;

/// The keys of Debian's own archive, armoured.
const DEBIANS: &str = include_str!("../../rootfs/keys/debian.asc");

/// The files of public keys by which an archive's signatures are verified.
#[derive(Debug, Clone)]
pub struct Keyring {
    files: Vec<PathBuf>,
    /// Whether Debian's, which the program has, are too.
    debians: bool,
}

/// What gpgv is to verify.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signed<'a> {
    /// Text with its signature around it (`InRelease`).
    Inline(&'a [u8]),
    /// Text and its signature (`Release`, `Release.gpg`).
    Detached { text: &'a [u8], signature: &'a [u8] },
}

impl Keyring {
    /// The keys in `files`, binary (`.gpg`) or armoured (`.asc`).
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), debians: false }
    }

    /// The keys of Debian's archive that the host in `root` has: its package debian-archive-keyring, else those
    /// that its apt trusts, and Debian's of the time when the program was made.
    #[must_use]
    pub fn host(root: &Path) -> Self {
        let keyring = root.join("usr/share/keyrings/debian-archive-keyring.gpg");
        if keyring.is_file() {
            return Self { files: vec![keyring], debians: false };
        }
        let trusted = root.join("etc/apt/trusted.gpg.d");
        let is_key =
            |path: &PathBuf| path.extension().is_some_and(|ending| ending == "gpg" || ending == "asc");
        let mut files: Vec<PathBuf> = fs::read_dir(trusted)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()).filter(is_key))
            .collect();
        files.sort();
        Self { files, debians: true }
    }

    /// Verifies `signed`, which came from `url`, and gives the text that was signed, and nothing beside it,
    /// with the fingerprints of the keys that signed it.
    pub(super) fn verify(
        &self,
        url: &str,
        signed: Signed<'_>,
    ) -> Result<(Vec<u8>, Vec<String>), DebianError> {
        if self.files.is_empty() && !self.debians {
            return Err(DebianError::NoKeyring);
        }
        if let Signed::Inline(text) = signed
            && !is_one_message(text)
        {
            return Err(DebianError::Signature { url: url.into(), fault: SignatureFault::Malformed });
        }
        let folder = tempfile::Builder::new()
            .prefix("polyarch-gpgv-")
            .tempdir()
            .map_err(|source| DebianError::Write { path: std::env::temp_dir(), source })?;
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes)
                .map(|()| path.clone())
                .map_err(|source| DebianError::Write { path, source })
        };
        let mut command = Command::new("gpgv");
        command.env("LC_ALL", "C").arg("--homedir").arg(folder.path());
        command.args(["--status-fd", "1"]);
        for (number, file) in self.files.iter().enumerate() {
            let key = put(&format!("keys-{number}.gpg"), &keys(file)?)?;
            command.arg("--keyring").arg(key);
        }
        if self.debians {
            let keys = dearmored(DEBIANS).unwrap_or_default();
            command.arg("--keyring").arg(put("keys-debian.gpg", &keys)?);
        }
        let output = folder.path().join("text");
        match signed {
            Signed::Inline(text) => {
                command.arg("--output").arg(&output).arg(put("signed", text)?);
            }
            Signed::Detached { text, signature } => {
                command.arg(put("signature", signature)?).arg(put("text", text)?);
            }
        }
        let status = run(&mut command).map_err(|source| DebianError::NoGpgv { source })?;
        let signers = judge(&status).map_err(|fault| DebianError::Signature { url: url.into(), fault })?;
        let text = fs::read(&output).map_err(|source| DebianError::Read { path: output, source })?;
        Ok((text, signers))
    }
}

/// What gpgv says on its status descriptor. Its exit status does not matter: it is not 0 when one of several
/// signatures is by a key that is not known, which is usual when an archive changes its keys.
fn run(command: &mut Command) -> io::Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut status = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(STATUS_LIMIT).read_to_end(&mut status),
        None => Ok(0),
    };
    child.wait()?;
    read?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// The fingerprints of the good signatures; one bad signature spoils all.
///
/// Source: GnuPG's doc/DETAILS, "Format of the --status-fd output".
fn judge(status: &str) -> Result<Vec<String>, SignatureFault> {
    let mut signers = Vec::new();
    let mut unknown = Vec::new();
    let mut expired = None;
    let mut weak = None;
    let mut good = false;
    for line in status.lines() {
        let mut words = line.strip_prefix("[GNUPG:] ").unwrap_or_default().split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let mut argument = || words.next().unwrap_or_default().to_owned();
        match keyword {
            "NEWSIG" => good = false,
            "GOODSIG" => good = true,
            "BADSIG" => return Err(SignatureFault::Bad { key: argument() }),
            "NO_PUBKEY" => unknown.push(argument()),
            "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" => expired = Some(argument()),
            "VALIDSIG" if good => {
                let fingerprint = argument();
                // MD5, SHA-1 and RIPEMD-160 by RFC 4880, section 9.4.
                match words.nth(6) {
                    Some("1" | "2" | "3") | None => weak = Some(fingerprint),
                    Some(_) => signers.push(fingerprint),
                }
            }
            _ => {}
        }
    }
    if !signers.is_empty() {
        return Ok(signers);
    }
    Err(match (expired, weak) {
        (Some(key), _) => SignatureFault::Expired { key },
        (None, Some(key)) => SignatureFault::WeakHash { key },
        (None, None) if !unknown.is_empty() => SignatureFault::UnknownKeys { keys: unknown },
        (None, None) => SignatureFault::Malformed,
    })
}

/// Whether a text is one clear-signed message from its first line to its last. What stood outside would be
/// unsigned, and easily taken for signed.
fn is_one_message(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let marks: Vec<&str> = text.lines().map(str::trim_end).filter(|line| line.starts_with("-----")).collect();
    marks
        == [
            "-----BEGIN PGP SIGNED MESSAGE-----",
            "-----BEGIN PGP SIGNATURE-----",
            "-----END PGP SIGNATURE-----",
        ]
        && text.starts_with(marks[0])
        && text.trim_end().ends_with(marks[2])
}

/// The keys in a file, in the binary form that gpgv wants.
fn keys(path: &Path) -> Result<Vec<u8>, DebianError> {
    let read = |source| DebianError::Read { path: path.into(), source };
    let damaged = || DebianError::Keyring { path: path.into() };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(read)?.take(LIMIT).read_to_end(&mut bytes).map_err(read)?;
    // The first byte of an OpenPGP packet has its highest bit set (RFC 4880, section 4.2).
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return Ok(bytes);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    dearmored(text).filter(|keys| !keys.is_empty()).ok_or_else(damaged)
}

/// The bytes of all armoured blocks of public keys (RFC 4880, section 6.2), one after the other. Their CRC is
/// not looked at: a key that is damaged verifies nothing.
fn dearmored(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|line| line == "-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        // Headers, up to a blank line.
        if !lines.any(str::is_empty) {
            return None;
        }
        let mut bits = 0_u32;
        let mut count = 0;
        loop {
            let line = lines.next()?;
            if line == "-----END PGP PUBLIC KEY BLOCK-----" {
                break;
            }
            if line.starts_with('=') {
                continue;
            }
            for digit in line.bytes().take_while(|byte| *byte != b'=') {
                bits = bits << 6 | u32::from(base64(digit)?);
                count += 6;
                if count >= 8 {
                    count -= 8;
                    bytes.push((bits >> count) as u8);
                    bits &= (1 << count) - 1;
                }
            }
        }
    }
    Some(bytes)
}

/// The value of a base64 digit (RFC 4648, section 4).
fn base64(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str =
        "[GNUPG:] VALIDSIG 4CB50190207B4758A3F73A796ED0E7B82643E131 2026-07-11 1783765002 0 4 0 1 8 01 X\n";

    #[test]
    fn one_good_signature_suffices() {
        let status = format!(
            "[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG A 1 8 01 1 9 -\n[GNUPG:] NO_PUBKEY A\n[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG B Debian\n{VALID}"
        );
        assert_eq!(judge(&status).unwrap(), ["4CB50190207B4758A3F73A796ED0E7B82643E131"]);
    }

    #[test]
    fn what_is_not_good_is_refused() {
        assert_eq!(judge(""), Err(SignatureFault::Malformed));
        // VALIDSIG alone also stands beside a key that has expired or was revoked.
        let expired = format!("[GNUPG:] NEWSIG\n[GNUPG:] EXPKEYSIG B Debian\n{VALID}");
        assert_eq!(judge(&expired), Err(SignatureFault::Expired { key: "B".into() }));
        let bad =
            format!("[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG B x\n{VALID}[GNUPG:] NEWSIG\n[GNUPG:] BADSIG C x\n");
        assert_eq!(judge(&bad), Err(SignatureFault::Bad { key: "C".into() }));
        let weak = format!("[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG B x\n{}", VALID.replace(" 1 8 01", " 1 2 01"));
        assert!(matches!(judge(&weak), Err(SignatureFault::WeakHash { .. })));
        // A name that a key's owner chose cannot pass for a status line.
        assert_eq!(judge("x [GNUPG:] GOODSIG B\nGOODSIG B"), Err(SignatureFault::Malformed));
    }

    #[test]
    fn text_around_the_signed_text_is_refused() {
        let whole = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: x\n-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";
        assert!(is_one_message(whole.as_bytes()));
        for wrong in [
            format!("Suite: y\n{whole}"),
            format!("{whole}Suite: y\n"),
            format!("{whole}{whole}"),
            String::new(),
        ] {
            assert!(!is_one_message(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn armour_is_taken_off() {
        let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmQENBA==\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(dearmored(text).unwrap(), [0x99, 0x01, 0x0d, 0x04]);
        assert_eq!(dearmored(&text.replace("mQEN", "mQ*N")), None);
        assert_eq!(dearmored(&text[..70]), None);
    }
}
