//! `image`: the local store.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::json;

use super::exit::ExitStatus;
use super::format::{self, Format};
use super::printer::Printer;
use super::registry::RegistryArgs;
use super::table::{self, shown};
use super::{dirs, epoch};
use crate::image::{Facts, ImageRef, Import, Store, Stored, parse_rfc3339};
use crate::progress::Progress as _;
use crate::sandbox::{Folder, Snapshots};
use crate::target::Platform;

/// Images of the local store
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the store's images
    List {
        /// How to write the list
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show an image's config and layers
    Inspect {
        /// The image, of the store or elsewhere
        #[arg(value_parser = ImageRef::find)]
        image: ImageRef,

        #[command(flatten)]
        registry: RegistryArgs,

        /// Show only the image for this platform
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<Platform>,

        /// How to write it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Take images out of the store
    ///
    /// What only they needed stays until `image prune`.
    Remove {
        /// The images' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Delete what no image of the store needs, and unpacked images that no run uses
    Prune,
    /// Make an image of a root file system
    Import {
        /// A folder, or a tar file (plain, gzip, zstd or xz)
        root: PathBuf,

        /// The image: a name of the store, `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`
        #[arg(value_parser = ImageRef::find)]
        name: ImageRef,

        #[command(flatten)]
        registry: RegistryArgs,

        /// The root file system's platform
        #[arg(long, value_name = "PLATFORM")]
        platform: Platform,

        /// An image config (JSON) of which all but the platform and the layers is taken [default: one that starts `/bin/sh`]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl Args {
    pub(super) fn execute(self, printer: Printer) -> anyhow::Result<ExitStatus> {
        let access = dirs::access();
        let mut out = printer.stdout();
        match self.action {
            Action::List { format } => {
                let images = Store::new(access.store()?).list()?;
                match format {
                    Format::Json => format::json(&mut out, &images.iter().map(listed).collect::<Vec<_>>())?,
                    Format::Text => {
                        let rows: Vec<Vec<String>> = images.iter().map(row).collect();
                        let head = ["NAME", "PLATFORM", "DIGEST", "CREATED", "SIZE"];
                        table::print(&mut out, "", &head, &rows)?;
                    }
                }
            }
            Action::Inspect { image, platform, format, registry } => {
                let access = registry.access([&image])?;
                let facts = Facts::read(access.source(&image)?.as_ref(), platform.as_ref())?;
                match format {
                    Format::Json => format::json(&mut out, &facts)?,
                    Format::Text => text(&mut out, &image, &facts)?,
                }
            }
            Action::Remove { names } => {
                let full = names.iter().map(|name| Ok(name.parse::<ImageRef>()?.to_string()));
                let full = full.collect::<anyhow::Result<Vec<_>>>()?;
                for name in Store::new(access.store()?).remove(&full)? {
                    writeln!(out, "{}", shown(name))?;
                }
            }
            Action::Prune => {
                let pruned = Store::new(access.store()?).prune(&printer)?;
                let (blobs, leftovers) = (pruned.blobs, pruned.leftovers);
                let cache = dirs::cache()?;
                Folder::sweep(&cache.join("run"))?;
                let unpacked = Snapshots::new(&cache).prune()?;
                let snapshots = unpacked.snapshots;
                writeln!(
                    out,
                    "{} freed: {blobs} blobs, {leftovers} leftovers, {snapshots} unpacked images",
                    size(pruned.bytes + unpacked.bytes)
                )?;
                if unpacked.used > 0 {
                    printer.note(&format!("{} unpacked images stay, which runs use", unpacked.used));
                }
            }
            Action::Import { root, name, platform, config, registry } => {
                let access = registry.access([&name])?;
                let config = config
                    .map(|path| std::fs::read(&path).with_context(|| format!("reading `{}`", path.display())))
                    .transpose()?;
                let import = Import {
                    root: &root,
                    platform: &platform,
                    config: config.as_deref(),
                    time: epoch()?,
                    progress: &printer,
                };
                let digest = import.write(access.destination(&name)?.as_ref())?;
                writeln!(out, "{name} {digest}")?;
            }
        }
        out.flush()?;
        Ok(ExitStatus::Success)
    }
}

fn platforms(image: &Stored) -> Vec<String> {
    image.platforms.iter().map(ToString::to_string).collect()
}

fn listed(image: &Stored) -> serde_json::Value {
    json!({
        "name": image.name,
        "digest": image.digest.to_string(),
        "id": id(image),
        "platforms": platforms(image),
        "created": image.created,
        "size": image.size,
        "problem": image.problem,
    })
}

fn row(image: &Stored) -> Vec<String> {
    let platforms = match &image.problem {
        Some(problem) => format!("damaged: {problem}"),
        None => platforms(image).join(","),
    };
    vec![
        shown(image.name.as_deref().unwrap_or("-")),
        shown(platforms),
        id(image),
        image.created.as_deref().map_or_else(|| "-".into(), age),
        size(image.size),
    ]
}

/// The digest's first digits, as docker shows it.
fn id(image: &Stored) -> String {
    image.digest.hex().chars().take(12).collect()
}

/// How long ago `created` was.
fn age(created: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let Some(then) = parse_rfc3339(created) else { return shown(created) };
    let seconds = now.saturating_sub(then);
    let (count, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..5_184_000 => (seconds / 86_400, "day"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn text(out: &mut impl std::io::Write, image: &ImageRef, facts: &Facts) -> std::io::Result<()> {
    writeln!(out, "{}", shown(image.to_string()))?;
    writeln!(out, "  digest      {}", facts.digest)?;
    writeln!(out, "  media type  {}", shown(&facts.media_type))?;
    if facts.others > 0 {
        writeln!(out, "  beside      {} entries that are no images", facts.others)?;
    }
    for image in &facts.images {
        writeln!(out, "\n{}", shown(image.platform.as_deref().unwrap_or("unknown platform")))?;
        writeln!(out, "  manifest    {}", image.digest)?;
        writeln!(out, "  config      {}", image.config_digest)?;
        writeln!(out, "  size        {}", size(image.size))?;
        if let Some(created) = image.config.get("created").and_then(|created| created.as_str()) {
            writeln!(out, "  created     {}", shown(created))?;
        }
        let config = image.config.get("config");
        for (key, label) in [
            ("Entrypoint", "entrypoint"),
            ("Cmd", "command"),
            ("Env", "environment"),
            ("WorkingDir", "folder"),
            ("User", "user"),
            ("Labels", "labels"),
        ] {
            if let Some(value) = config.and_then(|config| config.get(key)).filter(|value| !value.is_null()) {
                writeln!(out, "  {label:<11} {}", shown(value.to_string()))?;
            }
        }
        for (at, layer) in image.layers.iter().enumerate() {
            let label = format!("layer {}", at + 1);
            writeln!(
                out,
                "  {label:<11} {}  {}  {}",
                layer.digest,
                size(layer.size),
                shown(&layer.media_type)
            )?;
        }
    }
    Ok(())
}
