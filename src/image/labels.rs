//! Labels that bundles carry, by which `run` and people know what is in them.

/// The guest of the bundle's program, by QEMU's name.
pub const GUEST: &str = "io.polyarch.guest";
/// The target that the program was bundled for, by its name in the catalogue.
pub const TARGET: &str = "io.polyarch.target";
/// The emulator's path in the image.
pub const EMULATOR: &str = "io.polyarch.emulator";
/// QEMU's version.
pub const EMULATOR_VERSION: &str = "io.polyarch.emulator.version";
/// The emulator's digest, `sha256:…`.
pub const EMULATOR_DIGEST: &str = "io.polyarch.emulator.digest";
/// The path in the image of the program that it starts.
pub const PROGRAM: &str = "io.polyarch.program";
/// How what the foreign programs execute reaches the emulator, where the image sees to that itself: `stub` or `direct`.
pub const EXEC: &str = "io.polyarch.emulator.exec";
/// The target that the image was bundled for.
pub const HOST: &str = "io.polyarch.host";
/// The path in the image of the list of all that is in it.
pub const MANIFEST: &str = "io.polyarch.manifest";
/// The path in the image of a program that is the whole command line, for runtimes that take one word.
pub const START: &str = "io.polyarch.start";
