//! How a bundle's container is started: the image's config.

use std::collections::HashMap;

use oci_spec::image::{Arch, ConfigBuilder, ImageConfigurationBuilder, Os, RootFsBuilder};

use super::BundleError;
use super::equip::Equipment;
use crate::image::{ImageConfiguration, labels, rfc3339};
use crate::layer::LayerFile;

/// What the user says of the config. What is not said comes from the image that the bundle is made of, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The program that is started, with what always comes after it.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments that a caller's take the place of.
    pub cmd: Option<Vec<String>>,
    /// The environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The user, as docker has it: `1000:1000`.
    pub user: Option<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Ports that are listened on: `80/tcp`.
    pub ports: Vec<String>,
    /// Folders for data.
    pub volumes: Vec<String>,
}

impl Settings {
    /// The config of an image for the host, and the program that is a whole command line, where the host's runtime wants one.
    /// `base` is the config of the image that the bundle is made of, `first` the program to start.
    pub(super) fn config(
        &self,
        equipment: &Equipment,
        base: Option<&ImageConfiguration>,
        first: Option<&str>,
        time: u64,
    ) -> Result<(ImageConfiguration, Option<LayerFile>), BundleError> {
        let mut process = base
            .and_then(|base| base.config().clone())
            .map_or_else(|| ConfigBuilder::default().build().map_err(config_error), Ok)?;

        let given = self.entrypoint.clone().or_else(|| first.map(|first| vec![first.to_owned()]));
        // A caller's arguments are for the program that they were given with.
        let is_new = given.is_some();
        let mut entrypoint = given.or_else(|| process.entrypoint().clone()).unwrap_or_default();
        let mut cmd = match &self.cmd {
            Some(cmd) => cmd.clone(),
            None if is_new => Vec::new(),
            None => process.cmd().clone().unwrap_or_default(),
        };
        if let Some(init) = equipment.init() {
            if equipment.keep.idle {
                (entrypoint, cmd) = (Vec::new(), Vec::new());
            }
            entrypoint.insert(0, init);
        }
        let words: Vec<String> = entrypoint.iter().chain(&cmd).cloned().collect();
        // RouterOS before 7.18 takes a word for each of the two and no more.
        let start = if equipment.host.routeros.is_some() && (entrypoint.len() > 1 || cmd.len() > 1) {
            equipment.start(&words)?
        } else {
            None
        };

        let mut all: HashMap<String, String> = process.labels().clone().unwrap_or_default();
        all.extend(equipment.labels());
        if let Some(first) = first {
            all.insert(labels::PROGRAM.into(), first.to_owned());
        }
        if let Some(start) = &start {
            all.insert(labels::START.into(), format!("/{}", start.path));
        }
        all.extend(self.labels.iter().cloned());
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        process.set_entrypoint(some(entrypoint));
        process.set_cmd(some(cmd));
        process.set_labels(Some(all));
        let mut env = process.env().clone().unwrap_or_default();
        for variable in &self.env {
            let name = variable.split('=').next().unwrap_or_default();
            env.retain(|known| known.split('=').next() != Some(name));
            env.push(variable.clone());
        }
        process.set_env(some(env));
        if self.workdir.is_some() {
            process.set_working_dir(self.workdir.clone());
        }
        if self.user.is_some() {
            process.set_user(self.user.clone());
        }
        let joined = |known: &Option<Vec<String>>, more: &[String]| {
            let mut list = known.clone().unwrap_or_default();
            list.extend(
                more.iter().filter(|one| !known.iter().flatten().any(|known| known == *one)).cloned(),
            );
            some(list)
        };
        process.set_exposed_ports(joined(process.exposed_ports(), &self.ports));
        process.set_volumes(joined(process.volumes(), &self.volumes));

        let platform = &equipment.host.platform;
        let rootfs = RootFsBuilder::default().typ("layers").diff_ids(Vec::new());
        let mut image = ImageConfigurationBuilder::default()
            .created(rfc3339(time))
            .os(Os::from(platform.os.as_str()))
            .architecture(Arch::from(platform.architecture.as_str()))
            .config(process)
            .rootfs(rootfs.build().map_err(config_error)?);
        if let Some(variant) = &platform.variant {
            image = image.variant(variant.clone());
        }
        Ok((image.build().map_err(config_error)?, start))
    }
}

pub(super) fn config_error(source: oci_spec::OciSpecError) -> BundleError {
    BundleError::Config { source: Box::new(source) }
}
