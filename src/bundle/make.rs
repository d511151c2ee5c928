//! Making the image of a bundle.

use std::collections::HashMap;

use oci_spec::image::{Arch, ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, Os, RootFsBuilder};

use super::{BundleError, Program};
use crate::emulator::Emulator;
use crate::image::{
    self, Access, ImageConfiguration, ImageRef, NewImage, NewLayer, WrittenImage, labels, rfc3339,
};
use crate::layer::{Content, LayerFile};
use crate::target::Target;

/// Where a bundle keeps what is not the program's own.
const FOLDER: &str = ".polyarch";

/// What goes into a bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The program.
    pub program: Program,
    /// The machine that is to run it.
    pub host: Target,
    /// The emulator for it on the host. It is left out where the host runs the program itself.
    pub emulator: Option<Emulator>,
    /// The target whose CPU the emulator shows to the program.
    pub target: Option<Target>,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Its environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Its working directory.
    pub workdir: Option<String>,
    /// The time that all files and the image itself carry, in seconds since 1970.
    pub time: u64,
}

impl Bundle {
    /// Whether the host needs an emulator for the program.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        !self.host.runs_natively(&self.program.guest().name)
    }

    /// Writes it to where `reference` says. The same bundle gives the same bytes.
    ///
    /// # Errors
    /// [`BundleError`] where the program does not go with the target or the emulator, or the image cannot be written.
    pub fn write(&self, reference: &ImageRef, access: &Access) -> Result<WrittenImage, BundleError> {
        let config = self.config()?;
        let layer = NewLayer { files: self.files()?, time: self.time };
        let history = HistoryBuilder::default()
            .created(rfc3339(self.time))
            .created_by(format!("polyarch bundle {} --host {}", self.program.name, self.host.platform))
            .build()
            .map_err(config_error)?;
        let image = NewImage { config, layers: vec![(&layer, history)] };
        image::write(&image, reference, access).map_err(|source| BundleError::Write { source })
    }

    /// The emulator, where the bundle needs one.
    fn emulator(&self) -> Result<Option<&Emulator>, BundleError> {
        if !self.is_emulated() {
            return Ok(None);
        }
        self.emulator.as_ref().map(Some).ok_or_else(|| BundleError::NoEmulator {
            path: self.program.path.clone(),
            guest: self.program.guest().name.clone(),
            host: self.host.platform.to_string(),
        })
    }

    fn emulator_path(&self) -> String {
        format!("{FOLDER}/qemu-{}", self.program.guest().name)
    }

    fn files(&self) -> Result<Vec<LayerFile>, BundleError> {
        let file = |path: String, content| LayerFile { path, mode: 0o755, content };
        let mut files = vec![
            file("bin".into(), Content::Folder),
            file(format!("bin/{}", self.program.name), Content::Copy(self.program.path.clone())),
        ];
        if let Some(emulator) = self.emulator()? {
            files.push(file(FOLDER.into(), Content::Folder));
            files.push(file(self.emulator_path(), Content::Copy(emulator.path.clone())));
        }
        Ok(files)
    }

    /// The whole command line is in the entry point, for some hosts (RouterOS) parse none of their own.
    fn config(&self) -> Result<ImageConfiguration, BundleError> {
        let Program { name, digest, .. } = &self.program;
        let guest = &self.program.guest().name;
        if let Some(target) = &self.target
            && target.qemu.guest != *guest
        {
            return Err(BundleError::WrongTarget {
                path: self.program.path.clone(),
                guest: guest.clone(),
                target: target.name.clone(),
                expected: target.qemu.guest.clone(),
            });
        }
        let program = format!("/bin/{name}");
        let mut labels = HashMap::from([
            (labels::GUEST.to_owned(), guest.clone()),
            (labels::PROGRAM.to_owned(), program.clone()),
            (labels::PROGRAM_DIGEST.to_owned(), digest.to_string()),
        ]);
        if let Some(target) = &self.target {
            labels.insert(labels::TARGET.into(), target.name.clone());
        }
        let mut entrypoint = Vec::new();
        if let Some(emulator) = self.emulator()? {
            let path = format!("/{}", self.emulator_path());
            entrypoint.extend([path.clone(), "-0".into(), name.clone()]);
            if let Some(cpu) = self.target.as_ref().and_then(|target| target.qemu.cpu.clone()) {
                entrypoint.extend(["-cpu".into(), cpu]);
            }
            labels.insert(labels::EMULATOR.into(), path);
            labels.insert(labels::EMULATOR_DIGEST.into(), format!("sha256:{}", emulator.sha256));
            if let Some(version) = &emulator.version {
                labels.insert(labels::EMULATOR_VERSION.into(), version.clone());
            }
        }
        entrypoint.push(program);

        let mut config = ConfigBuilder::default().entrypoint(entrypoint).labels(labels);
        if !self.args.is_empty() {
            config = config.cmd(self.args.clone());
        }
        if !self.env.is_empty() {
            config = config.env(self.env.clone());
        }
        if let Some(workdir) = &self.workdir {
            config = config.working_dir(workdir.clone());
        }
        let platform = &self.host.platform;
        let rootfs = RootFsBuilder::default().typ("layers").diff_ids(Vec::new());
        let mut image = ImageConfigurationBuilder::default()
            .created(rfc3339(self.time))
            .os(Os::from(platform.os.as_str()))
            .architecture(Arch::from(platform.architecture.as_str()))
            .config(config.build().map_err(config_error)?)
            .rootfs(rootfs.build().map_err(config_error)?);
        if let Some(variant) = &platform.variant {
            image = image.variant(variant.clone());
        }
        image.build().map_err(config_error)
    }
}

fn config_error(source: oci_spec::OciSpecError) -> BundleError {
    BundleError::Config { source: Box::new(source) }
}
