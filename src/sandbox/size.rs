//! Sizes as docker's command line writes them.

/// `NUMBER[b|k|m|g|t]` in bytes, each unit 1024 times the one before it. `kb` and `kib` are `k`.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let shift = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)? as u32 * 10;
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(1 << shift);
    }
    // A part of one, as in `1.5g`.
    let (whole, part) = number.split_once('.')?;
    let part = part.get(..part.len().min(9))?;
    let (whole, scaled) = (whole.parse::<u64>().ok()?, part.parse::<u64>().ok()?);
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = u64::try_from((u128::from(scaled) << shift) / scale).ok()?;
    whole.checked_mul(1 << shift)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("1k", 1024),
            ("64M", 64 << 20),
            ("1.5g", 3 << 29),
            ("2 GiB", 2 << 30),
            ("16kb", 16 << 10),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for wrong in ["", "k", "1x", "-1", "1..5g", ".", "1.g", "99999999999999g", "1kk"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
