//! Decisions of people that a module asked for, and what else a module may ask the runtime to do with an agent.

use crate::address::{Address, fault};
use crate::message::Timestamp;
use crate::module::Agent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest key of an effect, in bytes.
pub const EFFECT_KEY_BYTES_MAX: usize = 64;
/// The longest payload of an effect, in bytes of JSON.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024;
/// The most payloads that one tick brings.
pub const DUE_MAX: usize = 32;

/// An answer that people may choose, as a module asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskOption {
    /// What its button says: 1 to 512 bytes.
    pub label: String,
    /// What the module gets; without it, the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is shown in place of the buttons once it is chosen; without it, the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// A part of what an agent has at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum AgentPart {
    /// A package of software.
    Package {
        /// What installs it, such as `apt` or `npm`.
        manager: String,
        /// Its name there.
        name: String,
    },
    /// A server of tools (MCP).
    Server {
        /// Its name.
        name: String,
        /// The program; empty where one is taken away.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        command: String,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Its environment.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// A folder of this machine.
    Mount {
        /// Where it is.
        path: String,
        /// Whether the agent may write into it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_writable: bool,
    },
    /// A part of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// What came of a question that a module asked, or of an approval that it requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Names the decision: the same when the module is told again.
    pub id: String,
    /// What was asked for.
    pub request: Requested,
    /// What came of it.
    pub verdict: Decision,
    /// The person who decided; none where time, or the module itself, did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Decider>,
    /// When, by the runtime's clock.
    pub decided_at: Timestamp,
}

/// A question, or a request for an approval, as its module made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The module's key of it.
    pub key: String,
    /// `question`, or the kind of approval.
    pub kind: String,
    /// The agent that it is about.
    pub agent: Agent,
    /// The agent's session.
    pub session: String,
    /// Where people were asked.
    pub address: Address,
    /// What the module gave along.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
    /// When it was asked, by the runtime's clock.
    pub asked_at: Timestamp,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// A person chose an option.
    Chosen {
        /// Its value.
        value: String,
        /// Its label.
        label: String,
    },
    /// No person chose in time.
    Expired,
    /// The module withdrew it.
    Withdrawn,
    /// It reached no person.
    Failed {
        /// Why.
        reason: String,
    },
    /// A decision of a newer vocabulary. It approves nothing.
    #[serde(other)]
    Unknown,
}

/// Who decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decider {
    /// The kind of platform on which they did; none for an operator at this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_type: Option<String>,
    /// The account there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Their handle on the platform.
    pub handle: String,
    /// The name that people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A payload whose time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The module's key of it.
    pub key: String,
    /// The time for which it was scheduled.
    pub at: Timestamp,
    /// What the module gave along.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// Why no runtime takes this key of an effect, if none does.
pub fn effect_key_fault(key: &str) -> Option<String> {
    let too_long = || format!("a key has {} bytes, the limit is {EFFECT_KEY_BYTES_MAX}", key.len());
    fault("a key", key).or_else(|| (key.len() > EFFECT_KEY_BYTES_MAX).then(too_long))
}

/// Why no runtime takes this payload of an effect, if none does.
pub fn payload_fault(payload: &Value) -> Option<String> {
    let size = payload.to_string().len();
    (size > PAYLOAD_BYTES_MAX)
        .then(|| format!("a payload has {size} bytes, the limit is {PAYLOAD_BYTES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_payloads_have_limits() {
        for (key, fits) in [
            ("k", true),
            ("ask:7 €", true),
            (&*"k".repeat(EFFECT_KEY_BYTES_MAX), true),
            (&*"k".repeat(EFFECT_KEY_BYTES_MAX + 1), false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(effect_key_fault(key).is_none(), fits, "{key}");
        }
        assert_eq!(payload_fault(&Value::Null), None);
        assert_eq!(payload_fault(&Value::from("x".repeat(PAYLOAD_BYTES_MAX - 2))), None);
        assert!(payload_fault(&Value::from("x".repeat(PAYLOAD_BYTES_MAX - 1))).is_some());
    }
}
