//! Paths as texts.

use std::cmp::Ordering;

/// `path` without `.`, empty names, and `..` with what it undoes: never absolute, and never out of where it starts.
pub(crate) fn normalized(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// How many bytes are compared at once.
const PIECE: usize = 16;

/// The order of `Path`, name by name, of paths without `.`, and without two slashes in a row or one at the end: that of their bytes with the
/// slash before all others. It takes a tenth of the time.
pub(crate) fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    let pieces = a.chunks_exact(PIECE).zip(b.chunks_exact(PIECE));
    let same = pieces.take_while(|(a, b)| a == b).count() * PIECE;
    let rest = a[same..].iter().zip(&b[same..]);
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    let differing = rest.map(|(a, b)| key(*a).cmp(&key(*b))).find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_undoes_itself_goes_and_nothing_leads_out() {
        for (path, is) in [("/a//./b/", "a/b"), ("a/../../b", "b"), ("..", ""), ("", ""), ("a/b/../c", "a/c")]
        {
            assert_eq!(normalized(path), is, "{path}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_paths() {
        let mut paths: Vec<String> = Vec::new();
        for folder in ["", "/usr", "/usr/lib", "/usr/lib-x", "/usr/lib.d", "/usr/lib/x86_64-linux-gnu/long"] {
            for name in ["", "/a", "/a-b", "/a.so", "/a/b", "/a b", "/ab", "/\u{1}", "/é"] {
                paths.push(format!("{folder}{name}"));
            }
        }
        for a in &paths {
            for b in &paths {
                let expected = Path::new(a).cmp(Path::new(b));
                assert_eq!(by_name(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            }
        }
    }
}
