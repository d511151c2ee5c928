//! A bundle's `config.json`, as the OCI runtime specification has it.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use super::super::confine::{Identity, READ_ONLY, masked};
use super::super::plan::Plan;

/// The version of the specification that it is written by.
const VERSION: &str = "1.0.2";

/// The plan's container, its root file system being complete at `root` but for `/proc`. `warn` gets which limits are less than wanted.
pub(super) fn config(plan: &Plan, root: &Path, identity: &Identity, warn: &mut dyn FnMut(String)) -> Value {
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    let confine = &plan.confine;
    let held = confine.capabilities.names();
    // As after an execve by that user.
    let own = if identity.uid == 0 { held.clone() } else { Vec::new() };
    let mut env: Vec<String> =
        plan.process.env.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    if !plan.process.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", text(&identity.home)));
    }
    let rlimits: Vec<Value> = confine
        .ulimits
        .iter()
        .map(|limit| {
            let (limit, less) = limit.granted();
            if let Some(less) = less {
                warn(less);
            }
            let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
            json!({
                "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
                "soft": number(limit.soft),
                "hard": number(limit.hard),
            })
        })
        .collect();
    let (masked_paths, read_only_paths) = if confine.unmasked {
        (Vec::new(), Vec::new())
    } else {
        let masked = masked();
        (masked.iter().map(|path| text(path.as_os_str())).collect(), READ_ONLY.to_vec())
    };
    let cwd = if plan.process.cwd.is_empty() { "/".to_owned() } else { text(&plan.process.cwd) };
    let mut linux = json!({
        "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
        "maskedPaths": masked_paths,
        "readonlyPaths": read_only_paths,
    });
    if let Some(seccomp) = &confine.seccomp
        && let Ok(seccomp) = serde_json::to_value(seccomp)
    {
        linux["seccomp"] = seccomp;
    }
    let dev = root.join("dev");
    json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": plan.terminal.is_some(),
            "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
            "args": plan.process.args.iter().map(|arg| text(arg)).collect::<Vec<_>>(),
            "env": env,
            "cwd": cwd,
            "capabilities": {
                "bounding": held, "effective": own, "permitted": own, "inheritable": [], "ambient": [],
            },
            "rlimits": rlimits,
            "noNewPrivileges": confine.no_new_privileges,
        },
        "root": {"path": text(root.as_os_str()), "readonly": plan.root.is_read_only},
        "hostname": plan.hostname,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            // It is complete: a runtime that finds it bound adds nothing.
            {"destination": "/dev", "type": "bind", "source": text(dev.as_os_str()), "options": ["rbind"]},
        ],
        "linux": linux,
    })
}
