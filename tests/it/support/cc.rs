//! Programs for every machine that Debian has a compiler for, made while testing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// One compilation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cc<'a> {
    /// The prefix of Debian's cross compiler: `mips-linux-gnu` for `mips-linux-gnu-gcc`. Where Debian's GCC has
    /// no such machine (Hexagon, LoongArch), what clang calls it.
    pub(crate) triple: &'a str,
    /// Flags besides `-o OUTPUT SOURCE`.
    pub(crate) flags: &'a [&'a str],
    /// The C program.
    pub(crate) source: &'a str,
}

/// One machine, ABI or byte order that can be compiled for here.
#[derive(Debug)]
pub(crate) struct Cross {
    /// For messages and file names.
    pub(crate) name: &'static str,
    /// As in [`Cc`].
    pub(crate) triple: &'static str,
    /// The flags that choose it.
    pub(crate) flags: &'static [&'static str],
    /// QEMU's name of the guest that runs it; `None` where there is none.
    pub(crate) guest: Option<&'static str>,
    /// Whether its linker makes position-independent executables (ET_DYN).
    pub(crate) pie: bool,
}

/// A program without a libc: Debian's compilers come without one for most machines. On machines that a test
/// may run on it exits with status 77; elsewhere it is never run to be right.
pub(crate) const FREESTANDING: &str = r#"
void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("mov $60, %eax; mov $77, %edi; syscall");
#elif defined(__i386__)
    __asm__ volatile("mov $1, %eax; mov $77, %ebx; int $0x80");
#elif defined(__aarch64__)
    __asm__ volatile("mov x8, #93; mov x0, #77; svc #0");
#elif defined(__ARM_EABI__) && !defined(__thumb__)
    __asm__ volatile("mov r7, #1; mov r0, #77; svc #0");
#endif
    for (;;) {}
}
"#;

const fn cross(name: &'static str, triple: &'static str, guest: &'static str) -> Cross {
    with(name, triple, guest, &[])
}

const fn with(
    name: &'static str,
    triple: &'static str,
    guest: &'static str,
    flags: &'static [&'static str],
) -> Cross {
    Cross { name, triple, flags, guest: Some(guest), pie: true }
}

const fn alien(name: &'static str, triple: &'static str, flags: &'static [&'static str]) -> Cross {
    Cross { name, triple, flags, guest: None, pie: true }
}

/// All that can be compiled for here.
pub(crate) const CROSS: &[Cross] = &[
    cross("amd64", "x86_64-linux-gnu", "x86_64"),
    cross("i386", "i686-linux-gnu", "i386"),
    cross("armel", "arm-linux-gnueabi", "arm"),
    cross("armhf", "arm-linux-gnueabihf", "arm"),
    with("armeb-be32", "arm-linux-gnueabi", "armeb", &["-mbig-endian"]),
    with("armeb-be8", "arm-linux-gnueabihf", "armeb", &["-mbig-endian", "-mbe8"]),
    cross("arm64", "aarch64-linux-gnu", "aarch64"),
    with("arm64be", "aarch64-linux-gnu", "aarch64_be", &["-mbig-endian"]),
    cross("mips", "mips-linux-gnu", "mips"),
    cross("mipsel", "mipsel-linux-gnu", "mipsel"),
    cross("mipsr6", "mipsisa32r6-linux-gnu", "mips"),
    cross("mipsr6el", "mipsisa32r6el-linux-gnu", "mipsel"),
    with("mipsn32", "mips64-linux-gnuabi64", "mipsn32", &["-mabi=n32"]),
    with("mipsn32el", "mips64el-linux-gnuabi64", "mipsn32el", &["-mabi=n32"]),
    with("mips-of-mips64", "mips64-linux-gnuabi64", "mips", &["-mabi=32"]),
    with("mipsel-of-mips64el", "mips64el-linux-gnuabi64", "mipsel", &["-mabi=32"]),
    cross("mips64", "mips64-linux-gnuabi64", "mips64"),
    cross("mips64el", "mips64el-linux-gnuabi64", "mips64el"),
    cross("mips64r6", "mipsisa64r6-linux-gnuabi64", "mips64"),
    cross("mips64r6el", "mipsisa64r6el-linux-gnuabi64", "mips64el"),
    cross("powerpc", "powerpc-linux-gnu", "ppc"),
    cross("ppc64-elfv1", "powerpc64-linux-gnu", "ppc64"),
    with("ppc64-elfv2", "powerpc64-linux-gnu", "ppc64", &["-mabi=elfv2"]),
    cross("ppc64el", "powerpc64le-linux-gnu", "ppc64le"),
    cross("riscv64", "riscv64-linux-gnu", "riscv64"),
    with("riscv32", "riscv64-linux-gnu", "riscv32", &["-march=rv32imac", "-mabi=ilp32"]),
    cross("s390x", "s390x-linux-gnu", "s390x"),
    cross("sparc64", "sparc64-linux-gnu", "sparc64"),
    with("sparc32plus", "sparc64-linux-gnu", "sparc32plus", &["-m32"]),
    with("sparc-v8", "sparc64-linux-gnu", "sparc", &["-m32", "-mcpu=v8"]),
    cross("m68k", "m68k-linux-gnu", "m68k"),
    cross("sh4", "sh4-linux-gnu", "sh4"),
    cross("hppa", "hppa-linux-gnu", "hppa"),
    cross("alpha", "alpha-linux-gnu", "alpha"),
    Cross { pie: false, ..cross("or1k", "or1k-elf", "or1k") },
    cross("xtensa", "xtensa-lx106-elf", "xtensa"),
    cross("hexagon", "hexagon-linux-musl", "hexagon"),
    cross("loong64", "loongarch64-linux-gnu", "loongarch64"),
    // What looks much like a guest's programs and is not.
    alien("x32", "x86_64-linux-gnux32", &[]),
    alien("arm64-ilp32", "aarch64-linux-gnu", &["-mabi=ilp32"]),
    alien("powerpcle", "powerpc64le-linux-gnu", &["-m32"]),
    alien("s390", "s390x-linux-gnu", &["-m31"]),
    alien("loong32", "loongarch32-linux-gnu", &[]),
    alien("arc", "arc-linux-gnu", &[]),
];

impl Cross {
    /// The freestanding program for this machine, in every form that its linker makes: (name, file).
    pub(crate) fn programs(&self) -> Vec<(String, PathBuf)> {
        let forms: &[(&str, &[&str])] = &[("exec", &["-static", "-no-pie"]), ("dyn", &["-fPIE", "-pie"])];
        let made = if self.pie { forms } else { &forms[..1] };
        made.iter()
            .map(|(form, flags)| {
                let flags: Vec<&str> = self
                    .flags
                    .iter()
                    .chain(*flags)
                    .chain(&["-nostdlib", "-ffreestanding"])
                    .copied()
                    .collect();
                let cc = Cc { triple: self.triple, flags: &flags, source: FREESTANDING };
                (format!("{}.{form}", self.name), compile(&cc))
            })
            .collect()
    }
}

/// Compiles, once for each compiler, flags and source: the file is kept in the build folder.
#[track_caller]
pub(crate) fn compile(cc: &Cc) -> PathBuf {
    let gcc = PathBuf::from(format!("/usr/bin/{}-gcc", cc.triple));
    let clang = ["hexagon", "loongarch"].iter().any(|machine| cc.triple.starts_with(machine));
    let compiler = if clang { PathBuf::from("/usr/bin/clang-16") } else { gcc };
    let meta = fs::metadata(&compiler).unwrap_or_else(|err| {
        panic!("`{}`: {err}; `scripts/test` installs Debian's package of it", compiler.display())
    });
    let key = format!("{} {} {} {:?} {}", compiler.display(), meta.len(), meta.mtime(), cc.flags, cc.source);
    let digest = Sha256::digest(key.as_bytes());
    let digest = u128::from_be_bytes(digest[..16].try_into().unwrap());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fixtures");
    let file = folder.join(format!("{}-{digest:032x}", cc.triple));
    if file.exists() {
        return file;
    }
    fs::create_dir_all(&folder).unwrap();
    // Tests run at the same time: whoever is last replaces the same by the same.
    let work = tempfile::tempdir_in(&folder).unwrap();
    let (source, made) = (work.path().join("source.c"), work.path().join("made"));
    fs::write(&source, cc.source).unwrap();
    let mut command = Command::new(&compiler);
    if clang {
        // The driver gives lld flags that it does not know, so the two steps are made apart.
        let object = work.path().join("object.o");
        let (link, flags): (Vec<&str>, Vec<&str>) = cc
            .flags
            .iter()
            .partition(|flag| ["-static", "-no-pie", "-pie", "-shared", "-nostdlib"].contains(flag));
        let triple = format!("--target={}", cc.triple);
        run(command.arg(triple).args(flags).arg("-c").arg("-o").arg(&object).arg(&source));
        let link = link.iter().filter(|flag| **flag != "-nostdlib");
        run(Command::new("/usr/bin/ld.lld-16").args(link).arg("-o").arg(&made).arg(&object));
    } else {
        run(command.args(cc.flags).arg("-o").arg(&made).arg(&source));
    }
    fs::rename(&made, &file).unwrap();
    file
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
