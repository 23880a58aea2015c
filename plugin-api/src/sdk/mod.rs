//! The author's side: the trait to implement, the handle to call, the macro to export with.

pub(crate) mod account;
mod channel;
pub(crate) mod config;
mod export;
mod handle;
pub(crate) mod kind;
mod local;
pub(crate) mod log;
mod module;
pub(crate) mod note;
mod panics;
pub(crate) mod serve;
mod siblings;

pub use channel::Channel;
pub use config::ConfigValue;
pub use handle::{Runtime, Secret};
pub use local::local_socket;
pub use module::Module;
pub use siblings::{Sibling, Siblings};
