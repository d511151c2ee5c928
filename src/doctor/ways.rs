//! Which of the ways to run applies to each target.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Machine;
use super::machine::is_native;
use crate::emulator::Emulator;
use crate::target::Catalogue;

/// How a program of a target reaches what runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The machine runs it itself.
    Native,
    /// A binfmt_misc of the container's own.
    Private,
    /// The host's handlers.
    Host,
    /// A tracer.
    Trace,
    /// An emulator that executes its guest's programs itself, in bundles.
    Direct,
}

/// Whether a way can be had for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayState {
    /// Which.
    pub way: Way,
    /// Whether it can be had.
    pub available: bool,
    /// Why not; null where it can.
    pub reason: Option<String>,
}

/// The ways of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetWays {
    /// The target's name.
    pub target: String,
    /// QEMU's name of its guest.
    pub guest: String,
    /// The emulator, where there is one.
    pub emulator: Option<Emulator>,
    /// Every way, the best first.
    pub ways: Vec<WayState>,
    /// The way that would be taken; null where there is none.
    pub chosen: Option<Way>,
}

/// The ways of every target of the catalogue.
#[must_use]
pub fn ways(
    machine: &Machine,
    emulators: &BTreeMap<&'static str, Result<Emulator, String>>,
) -> Vec<TargetWays> {
    let (no_private, no_trace) = (machine.no_private(), machine.no_trace());
    let targets = Catalogue::builtin().targets().iter();
    targets
        .map(|target| {
            let guest = target.qemu.guest.as_str();
            let native = is_native(guest);
            let found = emulators.get(guest);
            let no_emulator = match found {
                _ if native => Some("the machine runs it itself".to_owned()),
                Some(Ok(_)) => None,
                Some(Err(reason)) => Some(reason.clone()),
                None => Some("no emulator is known".into()),
            };
            let state = |way, reason: Option<String>| WayState { way, available: reason.is_none(), reason };
            let ways = vec![
                state(Way::Native, (!native).then(|| "it is foreign to this machine".into())),
                state(Way::Private, no_emulator.clone().or_else(|| no_private.clone())),
                state(
                    Way::Host,
                    native.then(|| "the machine runs it itself".into()).or_else(|| machine.no_host(guest)),
                ),
                state(Way::Trace, no_emulator.clone().or_else(|| no_trace.clone())),
                state(
                    Way::Direct,
                    Some(
                        no_emulator.unwrap_or_else(|| "it takes an emulator with a direct-exec patch".into()),
                    ),
                ),
            ];
            let chosen = ways.iter().find(|state| state.available).map(|state| state.way);
            let emulator = found.and_then(|found| found.as_ref().ok()).cloned();
            TargetWays { target: target.name.clone(), guest: guest.into(), emulator, ways, chosen }
        })
        .collect()
}
