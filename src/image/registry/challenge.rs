//! What a registry asks for when it does not know us: the `WWW-Authenticate` header, RFC 9110, section 11.6.1.

/// One way to make ourselves known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user's name and password with each request.
    Basic,
    /// A token from another server.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// For what.
        service: Option<String>,
        /// The rights that are needed, as the registry says.
        scope: Option<String>,
    },
}

/// The challenges of one header that we know.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split(header) {
        let part = part.trim();
        // `Bearer realm="x"` begins a challenge, `scope="x"` goes on with it.
        let space = part.find(' ').filter(|at| part.find('=').is_none_or(|equals| *at < equals));
        let (scheme, parameter) = match (space, part.contains('=')) {
            (Some(at), _) => (Some(&part[..at]), part[at..].trim()),
            (None, false) => (Some(part), ""),
            (None, true) => (None, part),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            found.push((scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let (Some((_, parameters)), Some((key, value))) = (found.last_mut(), parameter.split_once('=')) {
            parameters.push((key.trim().to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    let known = |(scheme, parameters): (String, Vec<(String, String)>)| {
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
            }
            _ => None,
        }
    };
    found.into_iter().filter_map(known).collect()
}

/// The parts between commas that are not in quotes.
fn split(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let (mut out, mut escaped) = (String::new(), false);
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(character);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        };
        assert_eq!(
            parse(r#"Bearer realm="https://a.example/t",service="r",scope="repository:a:pull,push""#),
            [bearer("https://a.example/t", Some("r"), Some("repository:a:pull,push"))]
        );
        assert_eq!(
            parse(r#"Negotiate, Basic realm="x y, z", bearer realm = "q\"r""#),
            [Challenge::Basic, bearer("q\"r", None, None)]
        );
        assert_eq!(parse("Bearer service=\"r\""), []);
        for odd in ["", ",,", "=", "Basic", "\"", "Bearer realm=\"", "é=\"é\""] {
            let _ = parse(odd);
        }
    }
}
