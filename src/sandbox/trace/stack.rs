//! The stack that a program starts with: the count of its arguments, the arguments, the environment, the auxiliary
//! vector. Source: `create_elf_tables` in the kernel's `fs/binfmt_elf.c`, for 64-bit programs.

/// Bytes of a word.
const WORD: usize = 8;

/// One argument of the emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// This text.
    Text(Vec<u8>),
    /// The program's own name of itself, as its caller gave it.
    First,
}

/// Where the list that begins with `bytes` ends; `None` where more of it must be read to tell.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let arguments = usize::try_from(word(bytes, 0)?).ok()?;
    let mut index = arguments.checked_add(2)?;
    while word(bytes, index)? != 0 {
        index += 1;
    }
    index += 1;
    // Pairs of a kind and a value; a kind of zero ends them.
    while word(bytes, index)? != 0 {
        index += 2;
    }
    word(bytes, index + 1)?;
    Some((index + 2) * WORD)
}

/// The list `old`, which begins at `stack`, with `arguments` in the place of its first argument: where it begins then,
/// and what is to be written there. It ends where the old one ended.
///
/// The caller may have given no first argument, which Linux up to 5.17 lets through; it is empty then.
pub(super) fn rebuilt(stack: u64, old: &[u8], arguments: &[Argument]) -> Option<(u64, Vec<u8>)> {
    let count = word(old, 0)?;
    let first = if count == 0 { None } else { Some(word(old, 1)?) };
    let rest = old.get(if first.is_some() { 2 * WORD } else { WORD }..)?;
    let texts = |argument: &Argument| match argument {
        Argument::Text(text) => text.len() + 1,
        Argument::First => usize::from(first.is_none()),
    };
    let list = WORD * (1 + arguments.len()) + rest.len();
    let size = list + arguments.iter().map(texts).sum::<usize>();
    let end = stack.checked_add(old.len() as u64)?;
    // The psABIs of both hosts want the stack at a multiple of 16.
    let begin = end.checked_sub(size as u64)? & !15;

    let others = count.saturating_sub(1);
    let mut made = Vec::with_capacity(size + 16);
    made.extend((others + arguments.len() as u64).to_le_bytes());
    let mut strings = Vec::new();
    for argument in arguments {
        let here = begin + list as u64 + strings.len() as u64;
        let pointer = match (argument, first) {
            (Argument::Text(text), _) => {
                strings.extend(text);
                strings.push(0);
                here
            }
            (Argument::First, Some(first)) => first,
            (Argument::First, None) => {
                strings.push(0);
                here
            }
        };
        made.extend(pointer.to_le_bytes());
    }
    made.extend(rest);
    made.extend(strings);
    made.resize(usize::try_from(end - begin).ok()?, 0);
    Some((begin, made))
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let at = index.checked_mul(WORD)?;
    let bytes = bytes.get(at..at.checked_add(WORD)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0x7ffc_0000_1000;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads a stack as a program does.
    fn read(begin: u64, made: &[u8]) -> (Vec<Vec<u8>>, Vec<u64>) {
        let count = word(made, 0).unwrap() as usize;
        let texts = (1..=count).map(|index| {
            let pointer = word(made, index).unwrap();
            match pointer.checked_sub(begin).and_then(|at| made.get(at as usize..)) {
                Some(text) => text.split(|byte| *byte == 0).next().unwrap().to_vec(),
                None => format!("@{pointer:x}").into_bytes(),
            }
        });
        let rest = made[WORD * (1 + count)..]
            .chunks_exact(WORD)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        (texts.collect(), rest.collect())
    }

    fn text(text: &str) -> Argument {
        Argument::Text(text.into())
    }

    #[test]
    fn the_words_of_the_emulation_come_first() {
        // Three arguments, two variables, two pairs.
        let old = bytes(&[3, 0xa0, 0xa1, 0xa2, 0, 0xe0, 0xe1, 0, 6, 4096, 25, 0xcc, 0, 0]);
        assert_eq!(end(&old), Some(old.len()));
        for count in 0..4 {
            let mut arguments = vec![text("qemu"), text("-0"), Argument::First];
            arguments.extend(std::iter::repeat_n(text("x"), count));
            let (begin, made) = rebuilt(STACK, &old, &arguments).unwrap();
            assert_eq!(begin % 16, 0);
            assert_eq!(begin + made.len() as u64, STACK + old.len() as u64, "what lies above is untouched");
            let (texts, rest) = read(begin, &made);
            let mut expected = vec![b"qemu".to_vec(), b"-0".to_vec(), b"@a0".to_vec()];
            expected.extend(std::iter::repeat_n(b"x".to_vec(), count));
            expected.extend([b"@a1".to_vec(), b"@a2".to_vec()]);
            assert_eq!(texts, expected);
            assert_eq!(rest[..10], [0, 0xe0, 0xe1, 0, 6, 4096, 25, 0xcc, 0, 0]);
        }
    }

    #[test]
    fn no_first_argument_is_an_empty_one() {
        let old = bytes(&[0, 0, 0, 0, 0]);
        assert_eq!(end(&old), Some(40));
        let (begin, made) = rebuilt(STACK, &old, &[text("q"), Argument::First, text("p")]).unwrap();
        assert_eq!(read(begin, &made).0, [b"q".to_vec(), b"".to_vec(), b"p".to_vec()]);
    }

    #[test]
    fn a_list_that_has_no_end_is_told() {
        let whole = bytes(&[1, 0xa0, 0, 0xe0, 0, 6, 4096, 0, 0]);
        for cut in 0..whole.len() {
            assert_eq!(end(&whole[..cut]), None, "{cut}");
        }
        for count in [u64::MAX, u64::MAX / 8, 1 << 40] {
            assert_eq!(end(&bytes(&[count, 0, 0])), None);
        }
        assert_eq!(rebuilt(16, &bytes(&[0, 0, 0, 0]), &[Argument::Text(vec![1; 4096])]), None);
    }
}
