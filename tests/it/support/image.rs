//! Images to be copied, made through the library, and what other tools see of them.

use std::fs;
use std::path::Path;

use polyarch::image::{self, Access, History, ImageConfiguration, ImageRef, NewImage, NewLayer};
use polyarch::layer::{Content, LayerFile};
use serde_json::Value;

use super::{Cx, ran};

/// Writes an image of `platform` with `count` layers of `size` bytes each, which compress badly, to `reference`, of which the
/// path is taken to be in the test's folder. Gives its digest.
pub(crate) fn make(cx: &Cx, reference: &str, platform: &str, count: usize, size: usize) -> String {
    let mut parts = platform.splitn(3, '/');
    let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
    let variant = parts.next().map(|variant| format!(r#""variant":"{variant}","#)).unwrap_or_default();
    let config: ImageConfiguration = serde_json::from_str(&format!(
        r#"{{"os":"{os}","architecture":"{architecture}",{variant}"created":"2023-11-14T22:13:20Z",
        "config":{{"Cmd":["/x"],"Labels":{{"b":"1","a":"2"}}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    ))
    .unwrap();
    let layers: Vec<NewLayer> = (0..count)
        .map(|at| {
            let mut state = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let noise = (0..size / 8).flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state & 0x0f0f_0f0f_0f0f_ffff).to_le_bytes()
            });
            let content = Content::Bytes(noise.collect());
            let file = |path: String, content| LayerFile { path, mode: 0o644, content };
            let files = vec![
                file(format!("file-{at}"), content),
                file("who".into(), Content::Bytes(format!("{platform} {at}").into_bytes())),
            ];
            NewLayer { files, time: 1_700_000_000 }
        })
        .collect();
    let image =
        NewImage { config, layers: layers.iter().map(|layer| (layer as _, History::default())).collect() };
    let (transport, rest) = reference.split_once(':').unwrap();
    let reference: ImageRef = format!("{transport}:{}", cx.path(rest).display()).parse().unwrap();
    image::write(&image, &reference, &Access::default()).unwrap().digest.to_string()
}

/// Copies with `args`, and gives the digest that is printed.
#[track_caller]
pub(crate) fn copy(cx: &Cx, args: &[&str]) -> String {
    let out = ran(cx.polyarch().args(["-q", "copy"]).args(args)).success();
    out.trim_end().rsplit_once(' ').unwrap().1.to_owned()
}

/// What skopeo prints.
#[track_caller]
pub(crate) fn skopeo(cx: &Cx, args: &[&str]) -> String {
    ran(cx.command("skopeo").arg("--insecure-policy").args(args)).success()
}

/// What `image inspect` says.
#[track_caller]
pub(crate) fn facts(cx: &Cx, reference: &str) -> Value {
    let out = cx.run(["image", "inspect", "--format", "json", reference]).success();
    serde_json::from_str(&out).unwrap()
}

/// What `image list` says.
#[track_caller]
pub(crate) fn list(cx: &Cx) -> Vec<Value> {
    serde_json::from_str(&cx.run(["image", "list", "--format", "json"]).success()).unwrap()
}

/// The blobs of the layout in `folder`.
pub(crate) fn blobs(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
