//! What each rule holds, and why, for people.

use super::{Explanation, Rule};

/// One line for lists.
pub(super) fn summary(rule: Rule) -> &'static str {
    match rule {
        Rule::PlatformMismatch => "index entry, config and the platform that is asked for agree",
        Rule::Machine => "programs are for the target's machine and operating system",
        Rule::Class => "programs have the target's word size, 32 or 64 bits",
        Rule::Endianness => "programs have the target's byte order",
        Rule::Variant => {
            "index entry, config and target agree on the variant, and programs have the target's ABI"
        }
        Rule::Isa => "programs need no ISA level and no CPU feature that the target's CPU does not have",
        Rule::FloatAbi => "floating point is done as the target's CPU can, and in one way within a process",
        Rule::InterpreterMissing => "the loader that a program names is in the image",
        Rule::InterpreterMismatch => {
            "the loader that a program names is one of its own architecture and C library"
        }
        Rule::NeededMissing => "every library that a program needs is found where its loader looks",
        Rule::NeededMismatch => "what the loader finds for a needed library is one that it can load",
        Rule::SymbolVersion => "libraries have the versions of symbols that programs need of them",
        Rule::Shebang => "the interpreter of a script is there and can be executed",
        Rule::Kernel => "programs accept a kernel as old as the target's",
        Rule::PageSize => "segments are aligned to the largest pages of the target's kernels",
        Rule::BinfmtQuirk => "programs have an ELF header by which binfmt_misc handlers know them",
        Rule::Entrypoint => "what the image runs is there, can be executed, and is for the target",
        Rule::MixedArchitectures => "all programs of an image are of one architecture",
        Rule::Linkage => "a program is linked statically where nothing is there to load it",
        Rule::Emulator => "an emulator in the image runs on the target and serves the foreign programs there",
        Rule::SetuidForeign => "foreign programs, which need an emulator, are not setuid",
        Rule::UnsupportedUnderEmulation => "foreign programs use nothing that qemu-user cannot do",
        Rule::ForeignFormat => "programs are for Linux, not for macOS or Windows",
        Rule::ArchiveLayout => "the archive is one that RouterOS's `/container/add file=` takes",
        Rule::Size => "the unpacked image fits into the flash of the device's boards",
        Rule::AllowanceExpired => "no allowance of the policy file is past its last day",
        Rule::AllowanceUnused => "every allowance of the policy file allows something that is found",
        Rule::BaselineGone => "what the baseline has is still found",
    }
}

/// A page for people.
pub(super) fn explanation(rule: Rule) -> Explanation {
    match rule {
        Rule::PlatformMismatch => Explanation {
            holds: "The platform of an index's entry, that of the image's config, and the one that `--target` or `--platform` \
                    asks for are the same, variant included. A config without a platform, or with one that no target of the \
                    catalogue has, breaks it too.",
            why: "Engines choose by the index and believe it. What they start then is what the config's files are: on another \
                  machine `exec format error`, or `The requested image's platform (linux/amd64) does not match the detected \
                  host platform (linux/arm64/v8)`.",
            mend: "Build each platform from its own base (`FROM --platform=$TARGETPLATFORM`), and make the index anew with \
                   `polyarch index create`, which takes the platforms from the configs.",
            allow: "Where an image is carried under another platform on purpose, such as amd64 programs for an engine that \
                    emulates.",
        },
        Rule::Machine => Explanation {
            holds: "Every ELF file that can be executed or loaded is for the target's machine (e_machine) and operating system.",
            why: "The kernel refuses another machine's program: `exec format error` in a container, `cannot execute binary file: \
                  Exec format error` in a shell. A build with an emulator on the builder does not notice.",
            mend: "Find where the file is from by its layer. Usual causes: a download with the architecture written into its \
                   address, `COPY --from` of a stage that was built for the build platform, a cross build without `GOARCH` or \
                   `--target`.",
            allow: "Test data, firmware for another processor, cross compilers' libraries. Allow them by path.",
        },
        Rule::Class => Explanation {
            holds: "ELF files have the target's word size, unless the target runs the other kind too, as amd64 does 386.",
            why: "A 32-bit program on a 64-bit kernel without the 32-bit interface ends with `exec format error`; a library of \
                  the other class gives `wrong ELF class: ELFCLASS32`.",
            mend: "Install or build the package of the other word size.",
            allow: "32-bit compatibility libraries beside 64-bit ones that belong to a program which needs them.",
        },
        Rule::Endianness => Explanation {
            holds: "ELF files have the target's byte order.",
            why: "MIPS and some ARM and PowerPC systems exist in both. `mips` is big-endian and `mipsle` little-endian; the \
                  kernel says `exec format error`, and a shell `not found` or a syntax error where it reads the file as a script.",
            mend: "Build for the other one: mipsel for mmips and mipsle, mips for mipsbe and smips.",
            allow: "Nearly never: nothing runs both.",
        },
        Rule::Variant => Explanation {
            holds: "Where index entry, config or target differ in the variant only (arm/v6 and arm/v7); a config without one where the \
                    architecture's targets differ in it; and programs whose ABI (o32, n32, eabi5, elfv2, \u{2026}) is none of the \
                    target's.",
            why: "Engines choose by the variant, and take v7 for `arm` without one: what they start ends with `Illegal instruction` on \
                  the smaller machine. An ABI that the kernel does not know is `exec format error`.",
            mend: "Build with the whole platform (`--platform linux/arm/v6`), make the index anew from the images, compile with the \
                   target's `-mabi`.",
            allow: "Where the image goes to one kind of machine only, and that is known to run it.",
        },
        Rule::Isa => Explanation {
            holds: "The ISA level that a file declares is one that the target's CPU includes, and it is marked with no CPU feature \
                    that the target lacks (NaN 2008 encoding, MSA, micromips, NEON, SPE): ARMv7 code not in arm/v6, x86-64-v3 not in \
                    amd64, MIPS release 6 not on release 2. Go's GOARM, GOAMD64, GOMIPS and GO386 count as declarations. A level that \
                    nobody declares is `unknown`.",
            why: "`Illegal instruction` (SIGILL, exit status 132 or 139), often only in the field, since the builder's CPU and \
                  qemu's default model have all levels. On RouterOS the log says that the container ended with signal 4.",
            mend: "Compile with the target's `-march`, set `GOARM=5`, `GOARM=6` or `GOAMD64=v1`, or choose a base for the target: \
                   Debian's armhf is ARMv7, its armel is ARMv5.",
            allow: "Libraries in `glibc-hwcaps` folders are chosen by CPU at run time and are not held against the target. Allow \
                    others that are chosen at run time by path.",
        },
        Rule::FloatAbi => Explanation {
            holds: "No hardware floating point on a target without it, and one float ABI in a program and all its libraries.",
            why: "Hard-float code on a core without FPU ends with `Illegal instruction`, if no kernel emulates it. Mixed in one \
                  process, arguments are passed in registers that the other side does not read: wrong numbers, without any \
                  message; glibc's loader refuses such libraries as if they were missing.",
            mend: "Compile all of it with `-msoft-float` or `-mfloat-abi=soft`, with `GOMIPS=softfloat` or `GOARM=5`, and take the \
                   libraries from a soft-float distribution (armel, OpenWrt).",
            allow: "Where the device's kernel is known to emulate floating point.",
        },
        Rule::InterpreterMissing => Explanation {
            holds: "The loader that a dynamic program names (PT_INTERP) is in the image under that name.",
            why: "The kernel says that the program itself is missing: `exec /app: no such file or directory`, `sh: ./app: not \
                  found`, although it is there. Usual with glibc programs on Alpine, and after a layer that deletes it.",
            mend: "Link statically (`CGO_ENABLED=0`, `-static`), take a base with the program's C library, or install it \
                   (`gcompat` on Alpine).",
            allow: "Programs of which nobody runs any, such as templates for other roots.",
        },
        Rule::InterpreterMismatch => Explanation {
            holds: "The loader is an ELF file for the program's own machine, class and byte order, of its own C library, and may \
                    be executed.",
            why: "`exec format error`, `Accessing a corrupted shared library` (ELIBBAD), or `Error relocating: symbol not found` \
                  where musl's loader stands under glibc's name.",
            mend: "Install the C library for the program's architecture.",
            allow: "gcompat and other loaders made to load another C library's programs.",
        },
        Rule::NeededMissing => Explanation {
            holds: "Every library that a program needs, and those that they need in turn, is found where its loader really looks: \
                    DT_RPATH, DT_RUNPATH and $ORIGIN, the cache of ld.so.conf's folders, the loader's own folders; for musl \
                    its path file.",
            why: "`error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory`, \
                  exit status 127.",
            mend: "Install the library in the final stage, run `ldconfig` after copying one into a folder of ld.so.conf, or set \
                   the program's run path.",
            allow: "Plug-ins whose libraries are installed on demand.",
        },
        Rule::NeededMismatch => Explanation {
            holds: "What the loader finds under a needed name is a whole ELF library for the program's machine, class and byte order.",
            why: "`wrong ELF class: ELFCLASS64`, `cannot open shared object file`, `invalid ELF header` or `file too short`.",
            mend: "Install the library for the program's architecture; copy damaged ones again.",
            allow: "Nearly never: the program does not start.",
        },
        Rule::SymbolVersion => Explanation {
            holds: "Every version of symbols that a program needs of a library (GLIBC_2.34, GLIBCXX_3.4.30) is one that the library \
                    in the image has.",
            why: "`/lib/libc.so.6: version 'GLIBC_2.34' not found (required by ./app)`, exit status 1.",
            mend: "Build on a system no newer than the one it runs on, or take a newer base.",
            allow: "Nearly never: the program does not start.",
        },
        Rule::Shebang => Explanation {
            holds: "The interpreter that an executable script names is in the image, can be executed, and its line does not end as \
                    Windows ends lines.",
            why: "`exec /entrypoint.sh: no such file or directory` although it is there, `bad interpreter: No such file or \
                  directory`, `env: 'bash\\r': No such file or directory`.",
            mend: "Install the interpreter, write `#!/bin/sh` where a POSIX shell is enough, or `sed -i 's/\\r$//'`; \
                   `.gitattributes` with `*.sh text eol=lf` keeps it so.",
            allow: "Examples and documentation that nobody runs.",
        },
        Rule::Kernel => Explanation {
            holds: "The oldest kernel that a file accepts (its ABI note) is not newer than the target's kernel, where that is known.",
            why: "glibc ends with `FATAL: kernel too old`, or a library is passed over and `cannot open shared object file` said.",
            mend: "Take a base whose C library is older, or musl, which has no such limit.",
            allow: "Where the device has been given a newer kernel.",
        },
        Rule::PageSize => Explanation {
            holds: "The segments of a file are aligned to the largest page that kernels of the target are configured with, where \
                    the target's catalogue entry says so.",
            why: "`ELF load command alignment not page-aligned`, or the program ends with SIGSEGV or SIGKILL as it starts, on kernels \
                  with 16 or 64 KiB pages (Raspberry Pi 5, Apple silicon, RHEL's arm64 kernels, ppc64le).",
            mend: "Link with `-Wl,-z,max-page-size=65536`; Rust and Go programs with a bundled allocator (jemalloc) need it built \
                   for larger pages too.",
            allow: "Where all machines that it runs on have 4 KiB pages.",
        },
        Rule::BinfmtQuirk => Explanation {
            holds: "The ELF header is one that the usual binfmt_misc handlers match: padding of zeros, an ABI version of 0, \
                    a type of program.",
            why: "`exec format error` under emulation only, although a handler for the architecture is registered. AppImages \
                  write `AI` into the padding; OpenWrt's MIPS programs have ABI version 1, which older handlers do not match.",
            mend: "For AppImages: `dd if=/dev/zero bs=1 count=3 seek=8 conv=notrunc of=FILE`. Else register the handlers of \
                   `polyarch binfmt register`, which leave those bytes out.",
            allow: "Where the image never runs under emulation.",
        },
        Rule::Entrypoint => Explanation {
            holds: "Entry point and command name a program that is in the image (looked up on its PATH), that its user may \
                    execute, and that is for the target.",
            why: "`exec: \"app\": executable file not found in $PATH`, `permission denied`, `exec format error`; on RouterOS \
                  7.22 and newer `no command specified, set cmd or entrypoint`.",
            mend: "Give the image an ENTRYPOINT or CMD by its full path, `COPY --chmod=755`, and check PATH in its environment.",
            allow: "Base images that name no program: then it is a warning only, and none with `--profile` left out at build time.",
        },
        Rule::MixedArchitectures => Explanation {
            holds: "All ELF files of an image that can be executed or loaded are of one architecture, or of one that the target runs \
                    too. The finding says from which layers the odd ones are.",
            why: "Each odd one ends with `exec format error` once it is run: health checks and helpers often, long after the \
                  container started.",
            mend: "See `machine`: the layer tells which instruction brought it.",
            allow: "Bundles that carry an emulator and the foreign programs which it runs.",
        },
        Rule::Linkage => Explanation {
            holds: "A program in an image without any loader is linked statically, and so is one that stands under a name that \
                    says so (`*-static`), or that a policy asks to be static; and an emulator is.",
            why: "`no such file or directory` in `FROM scratch` and distroless-static images; an emulator that is not static \
                  fails in the foreign root, where its libraries are not.",
            mend: "`CGO_ENABLED=0`, `-static`, or a musl target; for emulators `qemu-user-static`.",
            allow: "Where the loader is mounted into the container.",
        },
        Rule::Emulator => Explanation {
            holds: "Where an image has programs of another architecture than its own, and an emulator for them, the emulator is a \
                    program for the target, may be executed, and can run what those programs start in turn. In a bundle, a stub stands \
                    for each foreign program, and none goes past it by `/proc/self/exe`.",
            why: "`exec format error` from within the container. A stock qemu-user hands `execve` to the kernel: a foreign \
                  program that starts another fails where no handler is registered.",
            mend: "Make the image by `polyarch bundle`, which puts stubs or a direct-exec emulator in, or take the emulator for \
                   the target's own architecture.",
            allow: "Where handlers are known to be registered on the host.",
        },
        Rule::SetuidForeign => Explanation {
            holds: "No program that needs an emulator on the target is setuid or setgid.",
            why: "Handlers without the credentials flag (C) drop the bit: `sudo: effective uid is not 0`, `ping: socket: Operation \
                  not permitted`. With it, whoever may replace the emulator gains the owner's rights.",
            mend: "Take the bit away (`chmod u-s`), or do what needs it at build time as root.",
            allow: "Roots that are emulated while they are built only.",
        },
        Rule::UnsupportedUnderEmulation => Explanation {
            holds: "Programs that need an emulator on the target are none that use what qemu-user does not have: nftables \
                    and other netlink families, TUN devices, ptrace, io_uring, bpf, seccomp.",
            why: "`Unknown host QEMU_IFLA type`, `Protocol not supported`, `Function not implemented`, `ptrace: Operation not \
                  permitted`, only under emulation.",
            mend: "Take native builds of those tools, or run that part on the host.",
            allow: "Where the program is there and its emulated use does not touch that part.",
        },
        Rule::ForeignFormat => Explanation {
            holds: "No Mach-O (macOS) or PE (Windows) file that would be executed is in an image for Linux.",
            why: "`exec format error`. Usual after `COPY . .` with a macOS `node_modules` or `target` folder in the context.",
            mend: "Add the folder to `.dockerignore` and install or build inside the image.",
            allow: "Installers, boot loaders (`.efi`), Python wheels' `.exe` launchers that are data to the image.",
        },
        Rule::ArchiveLayout => Explanation {
            holds: "With `--profile routeros`: a docker archive of one platform, with `manifest.json` of one image and uncompressed \
                    layers in plain ustar, without an OCI layout beside it and without attestations.",
            why: "The device's log says `could not load next layer`, `no config found in manifest` or `could not find image \
                  manifest in archive`, and the container never leaves `extracting` or `error`.",
            mend: "`polyarch copy --profile routeros SOURCE docker-archive:FILE` writes the archive that loads everywhere.",
            allow: "Where all devices run a RouterOS version that is known to take it (see the finding).",
        },
        Rule::Size => Explanation {
            holds: "With `--profile routeros`: the unpacked image is smaller than the flash of the target's boards, or than \
                    `--flash` says.",
            why: "Extraction ends with `not enough disk space` or the container stays in `error`; a full flash can keep the device \
                  from storing its configuration.",
            mend: "Use a smaller base, or put the root directory on USB or a tmpfs disk.",
            allow: "Where the device has such a disk.",
        },
        Rule::AllowanceExpired => Explanation {
            holds: "No allowance (`[[check.allow]]`) of the policy file is past the day that its `expires` names. That day is the last on \
                    which it holds, in UTC.",
            why: "What it allowed is found again, with its own severity; this finding says why it came back, or that the allowance has \
                  become superfluous.",
            mend: "Mend what was allowed and remove the allowance, or give it a later day and a reason that is true today.",
            allow: "Give `expires` only to what shall end; an allowance without it holds for ever.",
        },
        Rule::AllowanceUnused => Explanation {
            holds: "Every allowance of the policy file allows at least one finding, if its rule is held and its target was looked at.",
            why: "An allowance that nothing needs is often a path that was mistyped or has moved, and would hide the next finding there.",
            mend: "Remove the allowance, or correct its path.",
            allow: "Where one policy file serves many images, of which each needs a part: `allowance-unused = \"off\"` in \
                    `[check.rules]`.",
        },
        Rule::BaselineGone => Explanation {
            holds: "Every finding that the baseline has is found again.",
            why: "What is gone was mended, and would be passed over if it came back.",
            mend: "`polyarch check --baseline FILE --write-baseline` writes the baseline anew, without what is gone.",
            allow: "Where one baseline serves many images, of which each has a part of its findings.",
        },
    }
}
