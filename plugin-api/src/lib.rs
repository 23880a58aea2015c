//! The interface for authors of plugins.
//!
//! - The **vocabulary**: plain types that both sides speak ([`Address`], [`InboundMessage`],
//!   [`OutboundMessage`] …). No input or output happens here.
//! - The **SDK** (feature `sdk`, the default): [`Channel`], [`Runtime`], [`config!`] and [`export_channel!`].
//!   An author writes plain async Rust and sees no FFI type.
//! - **Testing** (feature `testing`): a runtime that notes all calls and answers as the test says.
//! - The **toolbox** (feature `toolbox`): pieces that channels share, such as Markdown in a platform's dialect.
//! - The **wire** (feature `abi`): how the vocabulary travels in the frames of `vestibule-seam`.
//!
//! The seam's shape is frozen; the vocabulary grows by new verbs and optional fields only.
//! A plugin is a channel ([`Channel`], [`export_channel!`]) or a module ([`Module`], [`export_module!`]).

mod address;
mod ask;
mod blob;
mod card;
mod change;
mod conversation;
mod decided;
mod error;
mod failure;
mod hmac;
mod limits;
#[cfg(feature = "abi")]
mod local;
mod manifest;
mod message;
mod module;
mod question;
mod receipt;
mod schema;
mod state;
mod webhook;

#[cfg(feature = "abi")]
pub mod bundled;
#[cfg(all(test, feature = "abi"))]
mod goldens;
#[cfg(feature = "sdk")]
mod sdk;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "toolbox")]
pub mod toolbox;
#[cfg(feature = "abi")]
pub mod wire;

pub use address::{ACCOUNT_MAIN, Account, Address, ChannelType, ID_BYTES_MAX, PlatformId, ThreadId, UserId};
pub use ask::{HISTORY_MAX, HistoryPage, LINK_BYTES_MAX, LinkState, Read};
pub use blob::Blob;
pub use card::{Card, Field, Link};
pub use change::{Change, Changed, EMOJI_BYTES_MAX, emoji_fault};
pub use conversation::{ChatChange, ChatEvent, Conversation, Known};
pub use decided::{
    AgentPart, AskOption, DUE_MAX, Decided, Decider, Decision, Due, EFFECT_KEY_BYTES_MAX, PAYLOAD_BYTES_MAX,
    Requested, effect_key_fault, payload_fault,
};
pub use error::{PluginError, Result};
pub use failure::{About, Class, Failure, Standing};
pub use hmac::HmacScheme;
pub use limits::{Defaults, Limit, Limits, Listening, Rate, TextUnit};
#[cfg(feature = "abi")]
pub use local::open_socket;
pub use manifest::{
    ACTION, AGENT, API_LEVEL, Capability, DELIVER_SECONDS, DELIVER_SECONDS_MAX, Handover, Manifest,
    PluginKind, WebhookScheme,
};
pub use message::{
    ATTACHMENTS_MAX, Accepted, Attachment, Command, Content, EVENT_IDS_MAX, HANDLES_MAX, Ignored,
    InboundMessage, MENTIONS_MAX, METADATA_BYTES_MAX, Mention, OutboundMessage, REFERENCE_BYTES_MAX, ReplyTo,
    Sender, TEXT_BYTES_MAX, Timestamp, UNKNOWN_ACCOUNT, WORKING_SECONDS, Working,
};
pub use module::{
    Action, Agent, Asking, AskingOption, EFFECTS_MAX, Effect, Forwarded, Hook, OnFailure, REASON_BYTES_MAX,
    Reviewed, Screened, SessionRef, Station, Tick, Verdict,
};
pub use question::{Answered, Choice, Offer, TOKEN_BYTES_MAX};
pub use receipt::{Fate, LateReceipt, MESSAGE_IDS_MAX, NOTE_BYTES_MAX, Receipt, SentSoFar};
pub use schema::{CONFIG_KEYS_MAX, ConfigKey, HELP_BYTES_MAX, KEY_BYTES_MAX, KeyType, Schema};
pub use state::{
    Health, STATE_KEYS_MAX, STATE_PAGE_BYTES_MAX, STATE_PAGE_ENTRIES_MAX, STATE_VALUE_BYTES_MAX,
    STATE_WRITES_MAX, StateEntry, StatePage, StateWrite, prefix_fault,
};
pub use webhook::{Challenge, Signing, Terms, WebhookRequest, WebhookResponse};

#[cfg(feature = "sdk")]
pub use async_trait::async_trait;
#[cfg(feature = "sdk")]
pub use sdk::{Channel, ConfigValue, Module, Runtime, Secret, Sibling, Siblings, local_socket};

/// The items that [`export_channel!`] and [`export_module!`] expand to; not for authors.
#[doc(hidden)]
#[cfg(feature = "sdk")]
pub mod __export {
    pub use crate::bundled::Bundled;
    pub use crate::sdk::account::in_scope as account_in_scope;
    pub use crate::sdk::config::{ConfigOf, Described, KeyText, Section, Undescribed};
    pub use crate::sdk::kind::{Kind, OfChannel, OfModule};
    pub use crate::sdk::note::{ManifestText, Note};
    pub use crate::sdk::serve::{State, serve_call, serve_cancel, serve_init, serve_shutdown};
    pub use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleError, RootModuleResult};
    pub use abi_stable::prefix_type::{PrefixRefTrait, PrefixTypeTrait};
    pub use inventory;
    pub use serde::{Deserialize, Deserializer};
    pub use serde_json::json;
    pub use vestibule_seam::{Done, Frame, PluginCalls, PluginRoot, PluginRootRef, RuntimeSide};
}
