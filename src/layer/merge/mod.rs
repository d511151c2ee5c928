//! Several layers become one, without being unpacked.
//!
//! A first pass over the layers' headers finds which names are left in the end and what each of them is; a second one
//! copies the content of those. Nothing but names is kept in memory, and nothing is written to the disk, so that
//! any user may do it, owners and device nodes included.

mod changes;
mod memory;
mod options;
mod tree;
mod ustar;
mod view;
mod writer;

pub use changes::{Changes, LayeredFile, Swap};
pub use memory::LayerMemory;
pub use options::{Ids, LayerStream, MergeOptions, TarFormat, Times, Unfit};
pub use view::LayeredRoot;

use std::io::Write;

use super::ahead::decompressed_ahead;
use super::entry::{Kind, Meta};
use super::name::lossy;
use super::walk::Walk;
use super::{Compression, DigestWriter, LayerError, Written};
use tree::Tree;
use writer::Writer;

/// Writes the files that `layers`, the lowest first, make together as one tar stream, with whiteouts resolved.
///
/// The order of files is that of their entries, each with the folders that it is in before it. Of a file with several names the
/// shortest holds the content and the others follow as hard links. The same layers always give the same bytes.
///
/// # Errors
/// [`LayerError::Unfit`], before anything is written, names all files that the format cannot hold. Otherwise as
/// [`Unpacker::apply`](super::Unpacker::apply), and [`LayerError::Write`].
pub fn merge<W: Write>(
    layers: &[LayerStream<'_>],
    options: &MergeOptions,
    out: W,
) -> Result<Written, LayerError> {
    let mut plan = Plan { tree: Tree::new(), unfit: Vec::new(), entries: 0 };
    let mut walk = Walk::new(options.limits);
    let mut written = 0_u64;
    for layer in layers {
        plan.tree.begin_layer();
        let source = layer.open()?;
        walk.layer(source, None, &|| false, &mut |_, meta, _| {
            // A sparse file of a few bytes can claim any size.
            written = written.saturating_add(meta.size);
            if written > options.limits.bytes {
                return Err(LayerError::Limit { what: "bytes", limit: options.limits.bytes });
            }
            plan.entry(&meta, options)
        })?;
    }
    plan.check(options)?;

    let mut writer = Writer { out: DigestWriter::new(out), options, tree: &mut plan.tree };
    writer.root()?;
    let mut walk = Walk::new(options.limits);
    let (mut entry, mut file) = (0, 0);
    for layer in layers {
        let source = layer.open()?;
        decompressed_ahead(source, |plain| {
            walk.plain(plain, layer.diff_id(), &|| false, &mut |walk, meta, content| {
                if writer.tree.entry(file) == Some(entry) {
                    writer.file(file, walk, meta, content)?;
                    file += 1;
                }
                entry += 1;
                Ok(())
            })
        })?;
    }
    if entry != plan.entries {
        return Err(LayerError::Changed);
    }
    writer.rest()?;
    let (out, digest, size) = writer.finish()?;
    drop(out);
    Ok(Written { diff_id: digest, plain_size: size, digest, size, compression: Compression::None })
}

/// What the first pass finds.
struct Plan {
    tree: Tree,
    /// Files of which the format cannot hold something that the tree does not know: the number of the entry, and what.
    unfit: Vec<(u32, &'static str)>,
    entries: u32,
}

impl Plan {
    fn entry(&mut self, meta: &Meta, options: &MergeOptions) -> Result<(), LayerError> {
        let is_file = !matches!(meta.kind, Kind::Folder | Kind::HardLink(_) | Kind::Ignored);
        if options.format == TarFormat::PureUstar && is_file {
            // Names are checked at the end, when it is known which are left.
            let header = ustar::Header { path: b"", link: b"", ..writer::header(meta, options) };
            let reasons = ustar::unfit(&header);
            self.unfit.extend(reasons.into_iter().map(|reason| (self.entries, reason)));
        }
        self.tree.apply(self.entries, meta)?;
        self.entries = self
            .entries
            .checked_add(1)
            .ok_or(LayerError::Limit { what: "entries", limit: u32::MAX.into() })?;
        Ok(())
    }

    /// Whether the format can hold all that is left.
    fn check(&self, options: &MergeOptions) -> Result<(), LayerError> {
        if options.format != TarFormat::PureUstar {
            return Ok(());
        }
        let mut found = Vec::new();
        let mut add = |path: &[u8], reason| found.push(Unfit { path: lossy(path), reason });
        for (node, is_folder, target) in self.tree.left() {
            let path = self.tree.path(node);
            if ustar::split_name(&path).is_none() {
                add(&path, ustar::LONG_NAME);
            }
            if target.is_some_and(|target| target.len() > 100) {
                add(&path, ustar::LONG_LINK);
            }
            if is_folder && let Some(meta) = self.tree.folder_meta(node) {
                let header = writer::folder_header(b"", meta, options);
                for reason in ustar::unfit(&header) {
                    add(&path, reason);
                }
            }
        }
        let mut unfit = self.unfit.iter().peekable();
        let mut file = 0;
        while let Some(entry) = self.tree.entry(file) {
            while unfit.next_if(|(number, _)| *number < entry).is_some() {}
            let names = self.tree.names(file);
            if let Some(((first, _), others)) = names.split_first() {
                while let Some((_, reason)) = unfit.next_if(|(number, _)| *number == entry) {
                    add(first, reason);
                }
                if first.len() > 100 {
                    for (path, _) in others {
                        add(path, ustar::LONG_LINK);
                    }
                }
            }
            file += 1;
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        Err(LayerError::Unfit { files: found })
    }
}
