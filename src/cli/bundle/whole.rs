//! `bundle --rootfs`: a whole foreign image becomes one for the host.

use std::path::Path;

use super::from::{is_root, platform};
use super::{Args, spool};
use crate::bundle::{BundleError, Equipment, Whole};
use crate::cli::epoch;
use crate::cli::exit::ExitStatus;
use crate::cli::printer::Printer;
use crate::image::{Image, ImageRef};
use crate::layer::{FolderWriter, LayerStream, Part};
use crate::progress::Progress as _;

impl Args {
    pub(super) fn whole(
        &self,
        rootfs: &str,
        equipment: Equipment,
        printer: Printer,
    ) -> anyhow::Result<ExitStatus> {
        if is_root(rootfs) {
            // Written once as a layer, into a file without a name, so that it is the same however often it is read.
            let spool = spool()?;
            let mut out = tempfile::tempfile_in(&spool)?;
            FolderWriter::new(epoch()?).write(Path::new(rootfs), &mut out)?;
            let part = Part::whole(out)?;
            let layer = LayerStream::new(move || Ok(Box::new(part.reader()) as _), None);
            let whole = Whole::scan(vec![layer])?;
            return self.turned(whole, equipment, None, printer);
        }
        let reference = ImageRef::find(rootfs)?;
        let wanted = platform(self.source.platform.as_deref(), equipment.target.as_ref())?;
        let image = Image::open(&reference, &wanted, &self.registry.access([&reference])?)?;
        let whole = Whole::scan(image.streams())?;
        self.turned(whole, equipment, Some(&image), printer)
    }

    fn turned(
        &self,
        whole: Whole<'_>,
        mut equipment: Equipment,
        image: Option<&Image>,
        printer: Printer,
    ) -> anyhow::Result<ExitStatus> {
        let foreign = whole.foreign(&equipment.host);
        if foreign.is_empty() {
            let host = equipment.host.platform.to_string();
            return Err(BundleError::NothingForeign { host }.into());
        }
        for (at, (guest, _)) in foreign.iter().enumerate() {
            match self.emulator(guest, &equipment.host, printer) {
                Ok(emulator) => equipment.emulators.push(emulator),
                // A few programs of another machine among many are told of, and left.
                Err(err) if at > 0 => printer.verbose(format_args!("{err:#}")),
                Err(err) => return Err(err),
            }
        }
        let mut settings = self.settings.settings(&self.arguments);
        if image.is_none() && settings.entrypoint.is_none() && settings.cmd.is_none() {
            settings.cmd = Some(vec!["/bin/sh".into()]);
        }
        let digest = image.map(|image| image.digest().to_string());
        let source = image.map(Image::config).zip(digest.as_deref());
        let access = self.registry.access([&self.output])?;
        let turned = whole.write(&equipment, &settings, source, epoch()?, (&self.output, &access))?;
        for note in &turned.notes {
            printer.warn(note);
        }
        printer.verbose(format_args!("{} programs have a stub", turned.stubs));
        self.told(&turned.image.digest, printer)
    }
}
