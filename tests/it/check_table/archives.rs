//! Archives for RouterOS.

use super::{ARM64, Case, Made, findings, freestanding, hold, soft};
use crate::support::Cx;
use crate::support::oci::{Img, sha256};
use serde_json::{Value, json};

/// The members of a docker archive of `images`, whose layers `change` may compress.
fn archive(images: &[Img], change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut members = Vec::new();
    let mut manifest = Vec::new();
    for image in images {
        let config = image.config();
        let name = format!("{}.json", sha256(&config));
        let mut layers = Vec::new();
        for layer in image.layers() {
            let path = format!("{}/layer.tar", sha256(&layer));
            members.push((path.clone(), change(layer)));
            layers.push(path);
        }
        manifest.push(json!({ "Config": name, "RepoTags": null, "Layers": layers }));
        members.push((name, config));
    }
    members.push(("manifest.json".into(), serde_json::to_vec(&manifest).unwrap()));
    members
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_for_routeros() {
    let app = || Img::new(ARM64.0).program("/bin/app", freestanding("arm64"));
    let plain = |image: Img| Made::Archive(archive(&[image], |layer| layer));
    let good = || plain(app());
    let mut hybrid = archive(&[app()], |layer| layer);
    hybrid.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 2,
        "platform": { "os": "unknown", "architecture": "unknown" },
    });
    let args: &[&str] = &["--profile", "routeros", "--target", "routeros/arm64"];
    hold(vec![
        Case {
            name: "compressed layers",
            thread: "Fluent-networks/tailscale-mikrotik#24",
            args,
            wrong: Made::Archive(archive(&[app()], |layer| gzip(&layer))),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "an OCI layout beside manifest.json",
            thread: "catesin/AmneziaWG-MikroTik#9",
            args,
            wrong: Made::Archive(hybrid),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "a layout with attestations, which is no file",
            thread: "kzeedev/MTWireGuard#13",
            args,
            wrong: Made::Index(vec![app()], vec![attestation]),
            right: good(),
            expected: ("archive-layout", None, "error"),
        },
        Case {
            name: "pax records in a layer",
            thread: "moby#45416",
            args,
            wrong: plain(app().pax("/etc/x")),
            right: plain(app().file("/etc/x", "x", 0o644)),
            expected: ("archive-layout", None, "warning"),
        },
        Case {
            name: "no command",
            thread: "",
            args,
            wrong: plain(app().runs("Entrypoint", Value::Null)),
            right: good(),
            expected: ("entrypoint", None, "error"),
        },
        Case {
            name: "larger than the flash of one board",
            thread: "",
            args: &["--profile", "routeros", "--target", "routeros/arm"],
            wrong: plain(Img::new("linux/arm/v7").program("/bin/app", freestanding("armhf")).file(
                "/data",
                vec![0; 17 << 20],
                0o644,
            )),
            right: plain(Img::new("linux/arm/v7").program("/bin/app", freestanding("armhf")).file(
                "/data",
                vec![0; 1 << 20],
                0o644,
            )),
            expected: ("size", None, "warning"),
        },
        Case {
            name: "larger than the room that there is",
            thread: "",
            args: &["--flash", "2"],
            wrong: plain(app().file("/data", vec![0; 3 << 20], 0o644)),
            right: plain(app().file("/data", vec![0; 1 << 20], 0o644)),
            expected: ("size", None, "error"),
        },
    ]);
    // Where there is no container package, nothing in the image mends it.
    let cx = Cx::new();
    let mips = Img::new("linux/mipsle").program("/bin/app", soft("mipsel-linux-gnu"));
    let input = plain(mips).write(&cx, "mmips");
    let (status, found) = findings(&cx, &input, &["--profile", "routeros", "--target", "routeros/mmips"]);
    let rules: Vec<&str> = found.iter().map(|(rule, ..)| rule.as_str()).collect();
    assert_eq!((status, rules), (1, vec!["platform-mismatch"]), "{found:#?}");
}
