//! Compressed layers: the same bytes whatever the machine, and what other tools read.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use polyarch::layer::{Compression, Compressor, Digest, LayerError, decompressed, recompress};

use crate::support::Cx;

/// Bytes that compress as programs do: of this size, of this test's own program.
fn sample(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs::File::open(std::env::current_exe().unwrap())
        .unwrap()
        .take(size as u64)
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes.len(), size);
    bytes
}

fn compressed(
    bytes: &[u8],
    compression: Compression,
    level: Option<u32>,
    threads: usize,
    write: usize,
) -> Vec<u8> {
    let mut compressor = Compressor::with_threads(Vec::new(), compression, level, threads).unwrap();
    for piece in bytes.chunks(write) {
        compressor.write_all(piece).unwrap();
    }
    let (out, written) = compressor.finish().unwrap();
    assert_eq!((written.diff_id, written.plain_size), (Digest::of(bytes), bytes.len() as u64));
    assert_eq!((written.digest, written.size), (Digest::of(&out), out.len() as u64));
    out
}

#[test]
fn the_output_depends_on_neither_threads_nor_writes() {
    let cx = Cx::new();
    let bytes = sample(9 << 20);
    for (compression, tool) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let expected = compressed(&bytes, compression, None, 2, 1 << 16);
        for (threads, write) in [(1, 1 << 20), (2, 4097), (3, 1 << 16), (4, bytes.len())] {
            assert!(
                compressed(&bytes, compression, None, threads, write) == expected,
                "{tool} {threads} {write}"
            );
        }
        // Other tools read it, and none of them makes it smaller by much.
        let packed = cx.file("packed", &expected);
        let mut child = cx.command(tool);
        let plain = child.arg("-dc").stdin(fs::File::open(&packed).unwrap()).output().unwrap();
        assert!(plain.status.success() && plain.stdout == bytes, "{tool}");
        fs::write(cx.path("plain"), &bytes).unwrap();
        let theirs = cx
            .command(tool)
            .arg("-c")
            .stdin(fs::File::open(cx.path("plain")).unwrap())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(
            expected.len() < theirs.stdout.len() * 102 / 100,
            "{} {}",
            expected.len(),
            theirs.stdout.len()
        );
    }
}

#[test]
fn every_size_and_level_comes_back() {
    let bytes = sample(2 << 20);
    for size in [0, 1, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, 1 << 20, 2 << 20] {
        for (compression, levels) in [
            (Compression::None, vec![None]),
            (Compression::Gzip, vec![Some(0), Some(1), Some(6), Some(9)]),
            (Compression::Zstd, vec![Some(1), Some(3), Some(9)]),
        ] {
            for level in levels {
                let packed = compressed(&bytes[..size], compression, level, 2, 100_000);
                let mut plain = Vec::new();
                decompressed(packed.as_slice()).unwrap().read_to_end(&mut plain).unwrap();
                assert!(plain == bytes[..size], "{compression:?} {level:?} {size}");
            }
        }
    }
    // Bytes that do not compress, and ones that do so beyond measure.
    for bytes in [compressed(&bytes, Compression::Zstd, None, 2, 1 << 16), vec![0; 5 << 20]] {
        let packed = compressed(&bytes, Compression::Gzip, None, 3, 1 << 16);
        let mut plain = Vec::new();
        decompressed(packed.as_slice()).unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain == bytes);
    }
}

#[test]
fn a_layer_changes_its_compression() {
    let bytes = sample(3 << 20);
    let gzip = compressed(&bytes, Compression::Gzip, None, 2, 1 << 16);
    let mut zstd = Vec::new();
    let written = recompress(gzip.as_slice(), Compression::Zstd, None, &mut zstd).unwrap();
    assert_eq!((written.diff_id, written.digest), (Digest::of(&bytes), Digest::of(&zstd)));
    let mut again = Vec::new();
    recompress(zstd.as_slice(), Compression::Gzip, None, &mut again).unwrap();
    assert!(again == gzip);

    let err = recompress(&gzip[..gzip.len() / 2], Compression::None, None, Vec::new()).unwrap_err();
    assert!(matches!(err, LayerError::Read { .. }), "{err}");
    let err = recompress(gzip.as_slice(), Compression::Gzip, Some(10), Vec::new()).unwrap_err();
    assert_eq!(err.to_string(), "compression level 10 is out of range: 0 to 9");
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let err = recompress(gzip.as_slice(), compression, None, Full).unwrap_err();
        assert!(matches!(err, LayerError::Write { .. }), "{err}");
    }
}
