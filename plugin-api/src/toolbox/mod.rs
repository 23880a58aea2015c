//! The author's toolbox: pieces that channels share, each used by a channel that comes with Vestibule.
//!
//! - [`inbox`]: what comes in, held in order until it is on disk.
//! - [`lines`]: lines of text over TCP, each sent whole or not at all.
//! - [`markdown`]: an agent's Markdown in the platform's dialect, cut into messages that each stand by themselves.
//! - [`emoji`]: the names that agents give emoji, as the platforms know them.
//! - [`http`]: a client that goes to the named host only; its failures have a class.
//! - [`json`]: what platforms send, also where one string of it is broken.
//! - [`sending`]: a delivery that becomes several messages, none of them sent twice.
//! - [`socket`]: a WebSocket that notices when nothing comes any more.
//! - [`order`]: the order of a chat, where its events come by several requests at once.
//! - [`pace`]: the wait after failures and between calls, what the operator is told, and loops that go on over failures.
//! - [`task`]: a task that ends with its account.

pub mod emoji;
pub mod http;
pub mod inbox;
pub mod json;
pub mod lines;
pub mod markdown;
pub mod order;
pub mod pace;
pub mod sending;
pub mod socket;
pub mod task;
