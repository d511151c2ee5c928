//! Debian's archive: the real one, and one of our own that misbehaves.

use polyarch::debian::Deb;

use crate::support::deb::{deb, index};
use crate::support::{Cx, ran};

#[test]
fn the_index_names_real_packages_of_two_architectures() {
    for architecture in ["amd64", "arm64"] {
        let index = index("bookworm", architecture);
        let package = index.find("hostname").unwrap();
        assert_eq!(package.architecture, architecture);
        assert!(package.filename.starts_with("pool/main/h/hostname/hostname_"), "{package:?}");
        assert!(package.field("Depends").unwrap_or(package.field("Pre-Depends").unwrap()).contains("libc6"));
        let count =
            index.packages().unwrap().map(|package| package.unwrap().size).filter(|size| *size > 0).count();
        assert!(count > 50_000, "{count} packages");
    }
}

#[test]
fn a_file_of_a_package_is_what_dpkg_takes_out_of_it() {
    let cx = Cx::new();
    // A package packed with xz, of a suite and an architecture each.
    for (suite, architecture) in [("bookworm", "arm64"), ("trixie", "riscv64")] {
        let path = deb(suite, architecture, "hostname");
        let mut ours = Vec::new();
        let name = if suite == "bookworm" { "bin/hostname" } else { "usr/bin/hostname" };
        Deb::open(&path).unwrap().extract(name, &mut ours, 1 << 20).unwrap();
        let tar = cx.path("data.tar");
        let dpkg = cx
            .command("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&path)
            .stdout(std::fs::File::create(&tar).unwrap())
            .status();
        assert!(dpkg.unwrap().success());
        let taken = cx.path("taken");
        std::fs::create_dir_all(&taken).unwrap();
        ran(cx.command("tar").arg("-xf").arg(&tar).arg("-C").arg(&taken).arg(format!("./{name}"))).success();
        assert!(ours.starts_with(b"\x7fELF"));
        assert_eq!(ours, std::fs::read(taken.join(name)).unwrap());
    }
}
