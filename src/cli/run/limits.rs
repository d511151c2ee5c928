//! `run`: what the container may use.

use super::confine::bytes;
use crate::cli::report::Told;
use crate::sandbox::{Amount, Limits};

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (cgroups; where they cannot be had, a warning says so)")]
pub(super) struct LimitArgs {
    /// How much memory the container may use, as in `512m`
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// How much memory and swap together [default: twice the memory]; `-1` is no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// How many processors' time it may use, as in `1.5`
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// Its weight against others where processors are busy; 1024 is usual
    #[arg(long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,

    /// How many processes and threads it may have; `-1` is no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Result<Limits, Told> {
        let memory = self.memory.as_deref().map(bytes).transpose()?;
        let memory_and_swap = match self.memory_swap.as_deref() {
            None => None,
            Some("-1") => Some(Amount::Unlimited),
            Some(text) => Some(Amount::Of(bytes(text)?)),
        };
        match (memory, memory_and_swap) {
            (None, Some(_)) => {
                return Err(Told::new(
                    "`--memory-swap` needs `--memory`",
                    "give both, as in `--memory 1g --memory-swap 2g`",
                ));
            }
            (Some(memory), Some(Amount::Of(both))) if both < memory => {
                let hint = "it is memory and swap together; as much as the memory means no swap";
                return Err(Told::new("`--memory-swap` is less than `--memory`", hint));
            }
            _ => {}
        }
        Ok(Limits {
            memory,
            memory_and_swap,
            millicpus: self.cpus.as_deref().map(thousandths).transpose()?,
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            pids: self.pids_limit.and_then(|pids| u64::try_from(pids).ok()).filter(|pids| *pids > 0),
        })
    }
}

/// A number with at most three decimals that count, in thousandths.
pub(in super::super) fn thousandths(text: &str) -> Result<u64, Told> {
    let wrong =
        || Told::new(format!("`--cpus {text}` is no number of processors"), "give one as in `--cpus 1.5`");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let part: u64 = format!("{part}000").get(..3).and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).filter(|all| *all > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (text, number) in [("1", 1000), ("0.5", 500), ("1.25", 1250), (".1", 100), ("2.0009", 2000)] {
            assert_eq!(thousandths(text).ok(), Some(number), "{text}");
        }
        for text in ["", ".", "0", "-1", "1e3", "x", "99999999999999999999", "1.x"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
    }
}
