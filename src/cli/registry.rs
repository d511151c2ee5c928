//! How registries are reached: what the command line and the environment say of it.

use std::convert::Infallible;
use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use super::dirs;
use super::report::Told;
use crate::image::registry::{Credentials, Login, Options, Proxies, Registries, Tls};
use crate::image::{Access, ImageRef};

/// What every verb knows that takes `docker://` images.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(super) struct RegistryArgs {
    /// The user's name and password, in place of those in files
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<Creds>,

    /// The file of credentials [default: those of podman and docker]
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE", hide_env_values = true)]
    authfile: Option<PathBuf>,

    /// Whether to demand HTTPS and check certificates [default: true, but for this machine's own registries]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,

    /// A folder of root certificates (`*.crt`) to be trusted too, and of our own (`*.cert`, `*.key`)
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

/// What `--creds` was given. It always parses, so that no message of the parser's shows it.
#[derive(Debug, Clone)]
struct Creds(Option<Login>);

impl FromStr for Creds {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Login::parse(text)))
    }
}

impl RegistryArgs {
    /// How `images` are reached.
    pub(super) fn access<'a>(
        &self,
        images: impl IntoIterator<Item = &'a ImageRef>,
    ) -> anyhow::Result<Access> {
        let mut hosts: Vec<&str> = images
            .into_iter()
            .filter_map(|image| match image {
                ImageRef::Docker { name } => Some(name.registry.as_str()),
                _ => None,
            })
            .collect();
        // What is wrong with these files matters only where a registry does.
        if hosts.is_empty() {
            return Ok(dirs::access());
        }
        hosts.sort_unstable();
        hosts.dedup();
        Ok(dirs::access().with_registries(self.options(hosts.len())?))
    }

    /// How one image is reached of which it is not known in which registry it is.
    pub(super) fn pulling(&self) -> anyhow::Result<Access> {
        Ok(dirs::access().with_registries(self.options(1)?))
    }

    fn options(&self, hosts: usize) -> anyhow::Result<Options> {
        let given = match &self.creds {
            None => None,
            Some(Creds(None)) => {
                return Err(Told::new("`--creds` has no password", "give `--creds USER:PASSWORD`").into());
            }
            // The password of one registry is not for another.
            Some(_) if hosts > 1 => {
                let message = "`--creds` cannot be given for several registries at once";
                return Err(Told::new(message, "log in to each with `podman login` or `docker login`").into());
            }
            Some(Creds(login)) => login.clone(),
        };
        let path =
            |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = path("HOME");
        let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let files = match &self.authfile {
            Some(file) => vec![file.clone()],
            None => [
                path("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json")),
                config.as_ref().map(|config| config.join("containers/auth.json")),
                path("DOCKER_CONFIG")
                    .or_else(|| home.as_ref().map(|home| home.join(".docker")))
                    .map(|docker| docker.join("config.json")),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let within = |folder: &str| {
            let own = config.as_ref().map(|config| config.join("containers").join(folder));
            [own, Some(PathBuf::from("/etc/containers").join(folder))].into_iter().flatten()
        };
        let confs: Vec<PathBuf> = match path("CONTAINERS_REGISTRIES_CONF") {
            Some(file) => vec![file],
            None => within("registries.conf")
                .chain([PathBuf::from("/usr/share/containers/registries.conf")])
                .collect(),
        };
        // The user's own is read last, and counts.
        let folders: Vec<PathBuf> =
            within("registries.conf.d").collect::<Vec<_>>().into_iter().rev().collect();
        let text = |names: [&str; 2]| names.into_iter().find_map(|name| env::var(name).ok());
        Ok(Options {
            credentials: Credentials { given, files },
            registries: Registries::read(&confs, &folders)?,
            tls: Tls {
                verify: self.tls_verify,
                roots: path("SSL_CERT_FILE"),
                folder: self.cert_dir.clone(),
                host_folders: within("certs.d").chain([PathBuf::from("/etc/docker/certs.d")]).collect(),
            },
            proxies: Proxies {
                http: text(["http_proxy", "HTTP_PROXY"]),
                https: text(["https_proxy", "HTTPS_PROXY"]),
                except: text(["no_proxy", "NO_PROXY"]),
            },
            ..Options::default()
        })
    }
}
