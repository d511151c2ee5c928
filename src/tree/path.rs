//! Paths as texts.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_undoes_itself_goes_and_nothing_leads_out() {
        for (path, is) in [("/a//./b/", "a/b"), ("a/../../b", "b"), ("..", ""), ("", ""), ("a/b/../c", "a/c")]
        {
            assert_eq!(normalized(path), is, "{path}");
        }
    }
}
