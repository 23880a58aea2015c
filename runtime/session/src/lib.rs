//! The mailbox that the runtime and the runner share: one folder, two SQLite files, each with exactly one writer.
//! Nothing else passes between the two programs.
//!
//! The format is NanoClaw v2's, so that its runner works in this runtime's folders, and this runtime's runner in its.
//!
//! What must stay true:
//! - `journal_mode = DELETE` on both files: WAL's shared memory does not cross a mount.
//! - `inbound.db` is opened, written and closed for each change; the runner opens it anew for each poll. A connection
//!   that is kept open shows stale pages across some mounts.
//! - One writer per file. A type and a feature say which program may write or read one: `ledger` gives
//!   [`InboundWriter`], `keeper` gives [`OutboundReader`], `runner` gives [`InboundReader`] and [`OutboundWriter`]. The
//!   ledger drafts an `outbound.db` for a session that never ran.
//! - Nothing the agent can write lies beside `inbound.db`: the agent's part is the folder `out/`.

#[cfg(any(feature = "ledger", feature = "keeper"))]
mod beneath;
mod calls;
#[cfg(any(feature = "keeper", feature = "ledger"))]
mod check;
pub mod crash;
mod error;
mod foreign;
mod heartbeat;
#[cfg(any(feature = "ledger", feature = "runner"))]
mod inbound;
mod layout;
pub mod name;
#[cfg(any(feature = "keeper", feature = "runner", feature = "ledger"))]
mod outbound;
mod row;
mod seq;
mod share;
mod task;
mod time;
pub mod words;

#[cfg(any(feature = "ledger", feature = "keeper"))]
pub use beneath::{open_beneath, open_regular};
pub use calls::never_wait;
pub use error::{Error, Result};
pub use foreign::{ForeignIn, ForeignOut, ForeignSettled, ForeignState, STATE_BYTES_MAX, inbox_files};
#[cfg(feature = "keeper")]
pub use foreign::{ForeignReader, copy as copy_foreign};
#[cfg(feature = "keeper")]
pub use heartbeat::look as look_at_heartbeat;
#[cfg(feature = "runner")]
pub use heartbeat::touch as touch_heartbeat;
#[cfg(feature = "ledger")]
pub use inbound::{Applied, InboundWriter, Projection, Pruned};
#[cfg(feature = "runner")]
pub use inbound::{InboundReader, Waiting};
pub use layout::SessionDir;
#[cfg(feature = "ledger")]
pub use outbound::OutboundDraft;
#[cfg(feature = "keeper")]
pub use outbound::OutboundReader;
#[cfg(feature = "runner")]
pub use outbound::OutboundWriter;
pub use row::{
    Ack, AckRow, AckStatus, CONTENT_BYTES_MAX, DELIVERY, Delivered, Destination, FIELD_BYTES_MAX, MessageIn,
    MessageOut, NO_DESTINATION, Routing, Settled, TOOL_SILENCE_MS_MAX, is_note,
};
pub use seq::{SEQ_MAX, next_even, next_odd};
pub use task::{has_prompt, has_script};
pub use time::{format_time, parse_time};
pub use vestibule_plugin_api::ATTACHMENTS_MAX;
