//! The program outside the sandbox.
//!
//! Data enters in one place, takes one way, and leaves in one place; every loop reads, decides, performs. A module
//! imports from the layers below its own only:
//!
//! ```text
//! control           what operators ask: one table of verbs, `status`
//! services          what plugins ask of the runtime, handed to the loop that does it
//! run               starts everything and stops it
//!
//! wake              the lane of each session: projects, starts runners, hears keepers
//! housekeeping      forgets what was kept long enough
//! adopt             session folders of other installations become sessions here
//! inbound           from a platform's message to a row in a session
//! delivery          from a reply to its platform, or to another agent
//! http              the listener for webhooks
//! backup            a copy of a home, and a home made of one
//!
//! context           what the loops share
//!
//! plugins           foreign code: as a file, live, in a process of its own
//! launcher          starts keepers, and chooses the sandbox
//!
//! agents            agent identities          messaging_groups  chats
//! wirings           which agent listens where destinations      where an agent may send
//! sessions          which mailbox             questions         what agents asked people
//! drops             what was left out, why    plugin_state      what channels keep
//! taken_webhooks    which requests were taken
//!
//! ledger            the rows that every session's `inbound.db` is a projection of
//! attachments       the bytes of files
//! db                the central database: one writer, many readers
//!
//! config home private   settings; the home's folders; files that no other user may read
//! lanes places listener one lane a key; places for runners; what is known of the listener
//! observer              is told what passes, where an author watches
//! chat_key clock        which chat; time
//! error id lock         what can go wrong; new names; mutexes
//! ```

pub mod adopt;
pub mod agents;
pub mod attachments;
pub mod backup;
pub mod chat_key;
pub mod clock;
pub mod config;
mod context;
pub mod control;
pub mod db;
pub mod delivery;
pub mod destinations;
pub mod drops;
pub mod error;
pub mod home;
mod housekeeping;
pub mod http;
pub mod id;
pub mod inbound;
pub mod lanes;
pub mod launcher;
pub mod ledger;
pub mod listener;
mod lock;
pub mod messaging_groups;
pub mod observer;
pub mod places;
pub mod plain_file;
pub mod plugin_state;
pub mod plugins;
pub mod private;
pub mod questions;
mod run;
mod services;
pub mod sessions;
pub mod taken_webhooks;
pub mod wake;
pub mod wirings;

pub use config::Config;
pub use context::Context;
pub use error::{Error, Result};
pub use home::Home;
pub use run::{Running, Scope};
pub use vestibule_session::words;
