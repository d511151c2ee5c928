//! The table of system calls.

/// The table; its own first lines say what it holds.
const TABLE: &str = include_str!("calls.txt");

/// One way to make system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Abi {
    /// Its name in profiles.
    pub(super) name: &'static str,
    /// The architecture that a filter sees.
    pub(super) audit: u32,
    /// What is added to each number.
    pub(super) base: u32,
    /// Which column of the table is its.
    column: usize,
}

/// The ABIs of a host, its own first. `host` is as in OCI platforms.
pub(super) fn abis(host: &str) -> Vec<Abi> {
    let lines = TABLE.lines().filter_map(|line| line.strip_prefix("abi ")).enumerate();
    let mut found: Vec<(bool, Abi)> = lines
        .filter_map(|(column, line)| {
            let mut fields = line.split(' ');
            let name = fields.next()?;
            let mut number = || {
                let text = fields.next()?;
                let hex = text.strip_prefix("0x");
                hex.map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16)).ok()
            };
            let (audit, base) = (number()?, number()?);
            let word = fields.next()?;
            (&word[1..] == host).then_some((!word.starts_with('='), Abi { name, audit, base, column }))
        })
        .collect();
    found.sort_by_key(|(companion, _)| *companion);
    found.into_iter().map(|(_, abi)| abi).collect()
}

impl Abi {
    /// Every call of it: name and number, without the base.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let column = self.column + 1;
        let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.starts_with("abi "));
        lines.filter_map(move |line| {
            let mut fields = line.split(' ');
            Some((fields.next()?, fields.nth(column - 1)?.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_this_machines_calls() {
        let abis = abis(&crate::target::Platform::host().architecture);
        let own = abis.first().unwrap();
        let number = |name: &str| own.calls().find(|(known, _)| *known == name).map(|(_, number)| number);
        for (name, is) in [
            ("execve", libc::SYS_execve),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("unshare", libc::SYS_unshare),
            ("futex_waitv", libc::SYS_futex_waitv),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!(number(name).map(i64::from), Some(is), "{name}");
        }
        assert_eq!(own.base, 0);
        assert!(abis.len() > 1);
    }

    #[test]
    fn lines_are_whole() {
        let columns = TABLE.lines().filter(|line| line.starts_with("abi ")).count();
        for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.starts_with("abi ")) {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!(fields.len(), columns + 1, "{line}");
            assert!(fields[1..].iter().all(|field| *field == "-" || field.parse::<u32>().is_ok()), "{line}");
        }
    }
}
