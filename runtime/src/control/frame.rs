//! The lines of the control socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The home's token.
    pub token: String,
    /// Such as `agent.list`.
    pub verb: String,
    /// The verb's arguments.
    #[serde(default)]
    pub args: Value,
}

/// The answer to a client: one of the two.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The verb's answer.
    Result(Value),
    /// Why not, in one sentence.
    Error(String),
}
