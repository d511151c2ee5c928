//! Build attributes: what the compiler promised the linker.
//!
//! Source: "Build Attributes for the Arm Architecture" (ABI-addenda), whose form GNU (`.gnu.attributes`) and
//! RISC-V (`.riscv.attributes`) share; they differ in which tags hold text.

use scroll::{Endian, Pread};

/// One attribute of the whole file. Those of single sections and symbols are left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) vendor: Vendor,
    pub(super) tag: u64,
    pub(super) value: Value,
}

/// Whose attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    /// `aeabi`.
    Arm,
    /// `gnu`.
    Gnu,
    /// `riscv`.
    RiscV,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
}

const TAG_FILE: u8 = 1;

/// The attributes in `section`. Damage ends the reading where it is: what came before stands.
pub(super) fn parse(section: &[u8], endian: Endian) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    let Some((b'A', mut rest)) = section.split_first().map(|(version, rest)| (*version, rest)) else {
        return attributes;
    };
    while let Ok(len) = rest.pread_with::<u32>(0, endian) {
        let len = len as usize;
        let Some(subsection) = rest.get(4..len) else { break };
        rest = &rest[len..];
        let Some(end) = memchr::memchr(0, subsection) else { break };
        let vendor = match &subsection[..end] {
            b"aeabi" => Vendor::Arm,
            b"gnu" => Vendor::Gnu,
            b"riscv" => Vendor::RiscV,
            _ => continue,
        };
        let mut parts = &subsection[end + 1..];
        while let (Some(scope), Ok(len)) = (parts.first(), parts.pread_with::<u32>(1, endian)) {
            let len = len as usize;
            let Some(part) = parts.get(5..len) else { break };
            if *scope == TAG_FILE {
                pairs(part, vendor, &mut attributes);
            }
            parts = &parts[len..];
        }
    }
    attributes
}

fn pairs(mut part: &[u8], vendor: Vendor, attributes: &mut Vec<Attribute>) {
    while !part.is_empty() {
        let Some(tag) = uleb(&mut part) else { break };
        let (number, text) = form(vendor, tag);
        let mut value = None;
        if number {
            let Some(number) = uleb(&mut part) else { break };
            value = Some(Value::Number(number));
        }
        if text {
            let Some(end) = memchr::memchr(0, part) else { break };
            // Of `Tag_compatibility`, which holds a number and a text, the number is kept.
            value.get_or_insert_with(|| Value::Text(String::from_utf8_lossy(&part[..end]).into_owned()));
            part = &part[end + 1..];
        }
        if let Some(value) = value {
            attributes.push(Attribute { vendor, tag, value });
        }
    }
}

/// Whether a tag holds a number, a text, or both.
fn form(vendor: Vendor, tag: u64) -> (bool, bool) {
    match (vendor, tag) {
        (Vendor::Arm | Vendor::Gnu, 32) => (true, true),
        // CPU_raw_name and CPU_name.
        (Vendor::Arm, 4 | 5) => (false, true),
        (Vendor::Arm, tag) if tag < 32 => (true, false),
        (_, tag) if tag % 2 == 1 => (false, true),
        _ => (true, false),
    }
}

/// Takes an unsigned LEB128 number (DWARF 5, 7.6) off the front.
fn uleb(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The number of `vendor`'s attribute `tag`.
pub(super) fn number(attributes: &[Attribute], vendor: Vendor, tag: u64) -> Option<u64> {
    attributes.iter().find(|attribute| attribute.vendor == vendor && attribute.tag == tag).and_then(
        |attribute| match attribute.value {
            Value::Number(number) => Some(number),
            Value::Text(_) => None,
        },
    )
}

/// The text of `vendor`'s attribute `tag`.
pub(super) fn text(attributes: &[Attribute], vendor: Vendor, tag: u64) -> Option<&str> {
    attributes.iter().find(|attribute| attribute.vendor == vendor && attribute.tag == tag).and_then(
        |attribute| match &attribute.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Number(_) => None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A`, one subsection of `vendor` with one file scope of `pairs`.
    fn section(vendor: &str, pairs: &[u8]) -> Vec<u8> {
        let mut scope = vec![TAG_FILE];
        scope.extend(u32::try_from(5 + pairs.len()).unwrap().to_le_bytes());
        scope.extend(pairs);
        let mut bytes = vec![b'A'];
        bytes.extend(u32::try_from(4 + vendor.len() + 1 + scope.len()).unwrap().to_le_bytes());
        bytes.extend(vendor.as_bytes());
        bytes.push(0);
        bytes.extend(scope);
        bytes
    }

    #[test]
    fn arm_names_are_text_and_the_rest_numbers() {
        let bytes = section("aeabi", b"\x055TE\0\x06\x04\x1c\x01\x43v2\0\x20\x80\x01gnu\0");
        let attributes = parse(&bytes, Endian::Little);
        assert_eq!(text(&attributes, Vendor::Arm, 5), Some("5TE"));
        assert_eq!(number(&attributes, Vendor::Arm, 6), Some(4));
        assert_eq!(number(&attributes, Vendor::Arm, 28), Some(1));
        assert_eq!(text(&attributes, Vendor::Arm, 67), Some("v2"));
        assert_eq!(number(&attributes, Vendor::Arm, 32), Some(128));
    }

    #[test]
    fn riscv_odd_tags_are_text() {
        let attributes = parse(&section("riscv", b"\x05rv64i2p1\0\x04\x10"), Endian::Little);
        assert_eq!(text(&attributes, Vendor::RiscV, 5), Some("rv64i2p1"));
        assert_eq!(number(&attributes, Vendor::RiscV, 4), Some(16));
    }

    #[test]
    fn damage_ends_the_reading() {
        let whole = section("gnu", b"\x04\x01\x08\x02");
        for len in 0..whole.len() {
            parse(&whole[..len], Endian::Little);
            parse(&whole[..len], Endian::Big);
        }
        // A length of nothing must not loop.
        assert!(parse(b"A\0\0\0\0gnu\0", Endian::Little).is_empty());
        assert!(parse(b"A\x0e\0\0\0gnu\0\x01\0\0\0\0\x04\x01", Endian::Little).is_empty());
    }
}
