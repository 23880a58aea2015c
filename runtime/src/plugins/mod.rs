//! Plugins: the door to foreign code. Linked-in ones and files go through one path.
//!
//! Invariants:
//! - A file is read and checked before it is opened; what is opened is a private copy.
//! - Code that is to run in-process was opened before in a process that was thrown away.
//! - A plugin says what its config may hold before any account of it is started.
//! - A replacement takes over only when what was live is live in it.
//! - A file from the folder runs in a process of its own unless the config says otherwise.
//! - A plugin speaks for its own channel type only; the runtime stamps it.
//! - Nothing a plugin does stops the runtime from starting: a refusal is a sentence in the list.

mod accounts;
mod condition;
mod describe;
mod elf;
mod examine;
mod fit;
mod folder;
mod handover;
mod link;
mod load;
mod opening;
mod pins;
mod port;
mod process;
mod registry;
mod rehearsal;
mod rig;
mod stations;
mod tier;
mod trust;

pub use accounts::{AccountState, start_accounts, stop_all, without_plugin};
pub use examine::{Report, examine};
pub use folder::{reload, watch};
pub use link::{CallError, Link, Origin};
pub use pins::Pin;
pub use process::{SeatState, host_main};
pub use registry::Registry;
pub use rig::{Begun, Rig};
pub use stations::{Said, Words, bounded, read as read_verdict, review, screen};
pub use tier::Tier;
pub use trust::{trust, untrust};

use crate::config::{Config, TierWanted};
use crate::house::House;
use std::sync::Arc;
use vestibule_plugin_api::Manifest;
use vestibule_plugin_api::bundled::Bundled;

/// What is linked in and not left out by the config.
fn built_in(config: &Config) -> impl Iterator<Item = (&'static Bundled, Manifest)> {
    let read = |bundled: &'static Bundled| match Manifest::parse(bundled.manifest) {
        Ok(manifest) => Some((bundled, manifest)),
        Err(why) => {
            tracing::error!(%why, "a linked-in plugin has no readable manifest");
            None
        }
    };
    let all = vestibule_plugin_api::bundled::bundled().filter_map(read);
    all.filter(|(_, manifest)| config.plugin(&manifest.name).built_in)
}

/// Registers and starts every linked-in plugin that `wanted` names.
pub fn start_bundled(house: &Arc<House>, wanted: impl Fn(&Manifest) -> bool) {
    for (bundled, manifest) in built_in(&house.config) {
        if !wanted(&manifest) {
            continue;
        }
        let name = manifest.name.clone();
        if house.config.plugin(&name).tier == Some(TierWanted::Process) {
            tracing::warn!(plugin = name, "it is built in, so it runs in-process whatever `tier` says");
        }
        let added = load::check(bundled.header)
            .and_then(|root| Link::in_process(house, &house.config, manifest, Origin::Bundled, root))
            .and_then(|link| house.registry.add(link));
        match added {
            Ok(link) => start_accounts(house, &link),
            Err(why) => tracing::error!(plugin = name, %why, "a linked-in plugin was not loaded"),
        }
    }
}
