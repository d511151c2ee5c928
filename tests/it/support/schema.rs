//! Published schemas that reports are held against, kept from one run of the tests to the next.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{deb, ran};

/// Where SARIF's committee has published it, it is a file of this digest.
const SARIF: &str = "af47e7b67f24efe74076621fd3a5fbe7398add9e84fe820c971219a385895cea";

/// The schema of SARIF 2.1.0. It is taken out of a crate that carries it, by cargo, which has a registry where tests can run at all.
pub(crate) fn sarif() -> PathBuf {
    let folder = deb::fixtures().join("sarif");
    let path = folder.join("schema.json");
    if !path.exists() {
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("src/lib.rs"), "").unwrap();
        let manifest = "[package]\nname = \"carrier\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                        [dependencies]\nserde-sarif = \"=0.8.0\"\n[workspace]\n";
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&folder).args(["metadata", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&ran(&mut cargo).success()).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let carrier = packages.iter().find(|package| package["name"] == "serde-sarif").unwrap();
        let manifest = PathBuf::from(carrier["manifest_path"].as_str().unwrap());
        let schema = fs::read(manifest.with_file_name("src").join("schema.json")).unwrap();
        // Another test may have made it in the meantime.
        let temporary = folder.join(format!("{:?}", std::thread::current().id()));
        fs::write(&temporary, schema).unwrap();
        fs::rename(&temporary, &path).unwrap();
    }
    let digest: Vec<String> =
        Sha256::digest(fs::read(&path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest.concat(), SARIF, "`{}` is not the published schema", path.display());
    path
}
