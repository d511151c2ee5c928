//! The grammar of image names: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
//!
//! Source: distribution's `reference` package, whose grammar docker and podman share. `oci-spec` has it as one regular
//! expression, which takes longer to compile than a container to start.

/// The longest host and path together, in characters.
const NAME_MOST: usize = 255;
/// The longest tag, in characters.
const TAG_MOST: usize = 128;
/// The shortest digest, in hexadecimal digits.
const DIGEST_LEAST: usize = 32;

/// What an image name is made of, as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The registry, with its port where it has one.
    pub(super) host: Option<&'a str>,
    /// The repository.
    pub(super) path: &'a str,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Reads `text`; the error says what is wrong with it.
    pub(super) fn of(text: &'a str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err("what follows `@` is no digest");
        }
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last..].split_once(':') {
            Some((name, tag)) => (&rest[..last + name.len()], Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("what follows the last `:` is no tag");
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host_like(host) => (Some(host), path),
            _ => (None, name),
        };
        if host.is_some_and(|host| !is_host(host)) {
            return Err("what comes before the first `/` is no host");
        }
        if name.len() > NAME_MOST {
            return Err("it is longer than 255 characters");
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("names of repositories have no capital letters");
        }
        if !path.split('/').all(is_component) {
            return Err("a name is made of letters, digits and single `.`, `_` and `-` between them");
        }
        Ok(Self { host, path, tag, digest })
    }
}

/// docker takes a first part for a host if it can be nothing else.
fn is_host_like(first: &str) -> bool {
    first == "localhost" || first.bytes().any(|byte| matches!(byte, b'.' | b':') || byte.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    let separators = text.split(|character: char| character.is_ascii() && is_word(character as u8));
    ends.iter().all(|end| end.is_some_and(is_word))
        && separators.filter(|separator| !separator.is_empty()).all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_MOST
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_name = |name: &str| {
        name.starts_with(|character: char| character.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_name)
        && digits.len() >= DIGEST_LEAST
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_come_apart_where_docker_parts_them() {
        let parts = |text| Parts::of(text).unwrap();
        let of = |host, path, tag| Parts { host, path, tag, digest: None };
        assert_eq!(parts("a"), of(None, "a", None));
        assert_eq!(parts("a/b:c"), of(None, "a/b", Some("c")));
        assert_eq!(parts("localhost:5000"), of(None, "localhost", Some("5000")));
        assert_eq!(parts("localhost:5000/a"), of(Some("localhost:5000"), "a", None));
        assert_eq!(parts("r.example/a-b__c.d/e:V-1.0_"), of(Some("r.example"), "a-b__c.d/e", Some("V-1.0_")));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(parts(&format!("a:b@{digest}")).digest, Some(digest.as_str()));
        for wrong in [
            "", "/", "a/", "/a", "A", "a/B", "a:", "a:.b", "a@x", "a__-b", "a..b", "-a", "a-", "-h.x/a",
            "h.:1/a", "h:x/a", "ä", "a b",
        ] {
            assert!(Parts::of(wrong).is_err(), "{wrong}");
        }
        assert!(Parts::of(&"a".repeat(256)).is_err());
        assert!(Parts::of(&format!("a:{}", "t".repeat(129))).is_err());
    }

    proptest! {
        /// The crate's regular expression, which the grammar is held against.
        #[test]
        fn the_same_names_are_names_as_elsewhere(text in "[aZ0.:/@_-]{0,12}") {
            let theirs = text.parse::<oci_spec::distribution::Reference>().ok();
            let ours = Parts::of(&text).ok();
            prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(ours.tag.or(ours.digest.is_none().then_some("latest")), theirs.tag());
                prop_assert!(theirs.repository().ends_with(ours.path));
            }
        }
    }
}
