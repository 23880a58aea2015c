//! The tier `process`: a plugin in a process of its own, behind the same frames.
//!
//! Invariants:
//! - A plugin's process confines itself before it opens the plugin's file.
//! - Every byte from it is untrusted, and what waits for it or from it is bounded.
//! - However it ends, its calls are answered, no other plugin notices, and it is started again, until
//!   it has ended too often.

mod blob;
mod child;
mod conn;
mod crashes;
mod health;
mod hog;
mod host;
mod listen;
mod packet;
mod socket;
mod spec;
mod starter;
mod supervisor;

pub use child::{Life, OPEN_PATIENCE, not_ready};
pub use conn::Conn;
pub use host::main as host_main;
pub use spec::{OwnFolder, Spec};
pub use supervisor::{ProcessState, Supervisor, supervise};
