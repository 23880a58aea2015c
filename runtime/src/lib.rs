//! The program outside the sandbox.
//!
//! Data enters by one door, walks one road, and leaves by one door; every loop reads, decides,
//! performs. Imports go down only:
//!
//! - **loops** start things and own no state: [`inbound`], [`delivery`], [`wake`], [`control`],
//!   [`http`], [`adopt`], [`backup`];
//! - **rooms** are the central rows: [`agents`], [`messaging_groups`], [`wirings`],
//!   [`destinations`], [`sessions`], [`drops`],
//!   [`plugin_state`], [`questions`]; a room imports no other room;
//! - **doors**, one for each danger: [`db`], [`attachments`], [`ledger`], [`plugins`], [`launcher`];
//! - **floor**: [`home`], [`private`], [`config`], [`clock`], [`id`], [`lanes`], [`error`], [`words`].
//!
//! [`House`] is what the loops share; [`Running`] starts and stops it.

pub mod adopt;
pub mod agents;
pub mod attachments;
pub mod backup;
pub mod clock;
pub mod config;
pub mod control;
pub mod db;
pub mod delivery;
pub mod destinations;
pub mod drops;
pub mod error;
pub mod home;
mod house;
mod housekeeping;
pub mod http;
pub mod id;
pub mod inbound;
pub mod lanes;
pub mod launcher;
pub mod ledger;
pub mod messaging_groups;
pub mod plugin_state;
pub mod plugins;
pub mod private;
pub mod questions;
mod run;
pub mod sessions;
pub mod wake;
pub mod wirings;

pub use config::Config;
pub use error::{Error, Result};
pub use home::Home;
pub use house::House;
pub use run::{Running, Scope};
pub use vestibule_session::words;
