//! The little that is needed of URLs.

/// `scheme://host:port` of a URL; `None` where it is none of HTTP.
pub(super) fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // Names and passwords have no place here, and are a way to disguise a host.
    (host > 0 && !rest[..host].contains('@')).then(|| &url[..scheme.len() + 3 + host])
}

/// Where `location`, given by the answer to `url`, leads.
pub(crate) fn resolve(url: &str, location: &str) -> Option<String> {
    let base = origin(url)?;
    let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_clean(location) {
        return None;
    }
    let resolved = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}//{rest}", &base[..=base.find(':')?])
    } else if location.starts_with('/') {
        format!("{base}{location}")
    } else {
        let path = url[..url.find(['?', '#']).unwrap_or(url.len())].rfind('/').filter(|at| *at >= base.len());
        format!("{}/{location}", path.map_or(base, |at| &url[..at]))
    };
    origin(&resolved).is_some().then_some(resolved)
}

/// `url` without what follows its path: signatures and states are secret or noise.
pub(super) fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    url[..end].to_owned()
}

/// `url` with one more parameter.
pub(super) fn with(url: &str, key: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{key}={}", escaped(value))
}

/// `text` as the value of a parameter.
pub(super) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whether the host, with or without a port, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next() == Some("::1");
    }
    let host = host.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let url = "https://r.example:5000/v2/a/uploads/?x=/1";
        let to = |location| resolve(url, location);
        assert_eq!(to("/v2/b?c").as_deref(), Some("https://r.example:5000/v2/b?c"));
        assert_eq!(to("b").as_deref(), Some("https://r.example:5000/v2/a/uploads/b"));
        assert_eq!(to("//other.example/b").as_deref(), Some("https://other.example/b"));
        assert_eq!(to("http://other.example/b").as_deref(), Some("http://other.example/b"));
        for wrong in ["file:///etc/passwd", "https://user:pw@h/", "https://", "/a\r\nb", "ftp://x/"] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "127.0.0.1.example", "10.0.0.1:5000", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
