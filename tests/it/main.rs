//! The integration tests: one module a verb or room, all on the real program and real inputs.
//!
//! They need the tools that `scripts/test` installs; one that is missing fails its test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archives;
mod binfmt;
mod binfmt_exec;
mod build;
mod build_bad;
mod build_context;
mod build_edges;
mod build_options;
mod build_remote;
mod build_shared;
mod build_steps;
mod bundle;
mod bundle_from;
mod bundle_programs;
mod bundle_routeros;
mod bundle_whole;
mod check;
mod check_ci;
mod check_loaders;
mod check_output;
mod check_report;
mod check_table;
mod check_threads;
mod compress;
mod containerfile;
mod copy;
mod debian;
mod doctor;
mod emulation;
mod emulator;
mod emulators;
mod facts;
mod hostile;
mod house;
mod inspect;
mod layer;
mod matrix;
mod merge;
mod pins;
mod readelf;
mod registry;
mod rootfs;
mod rules;
mod run;
mod run_confine;
mod run_debian;
mod run_debug;
mod run_emulation;
mod run_images;
mod run_kill;
mod run_network;
mod run_root;
mod run_terminal;
mod run_volumes;
mod store;
mod stub;
mod support;
mod target;
