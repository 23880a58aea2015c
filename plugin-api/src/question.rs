//! A question with a choice of answers, and the choice that a person made.

use crate::address::{PlatformId, fault};
use crate::message::Sender;
use serde::{Deserialize, Serialize};

/// The longest token of an offer, in bytes: what the smallest platform carries in a button.
pub const TOKEN_BYTES_MAX: usize = 64;

/// One of the answers that a question offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What the button says: 1 to 512 bytes.
    pub label: String,
    /// What comes back in [`Choice::token`]: letters, digits and `.`, at most [`TOKEN_BYTES_MAX`] bytes.
    /// Made by the runtime, opaque, good for one answer.
    pub token: String,
}

/// A person's choice among the offers, as a channel hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The token of the offer.
    pub token: String,
    /// The chat in which they chose: by the platform's word, not by the token's.
    pub platform_id: PlatformId,
    /// Who chose.
    pub sender: Sender,
}

impl Choice {
    /// Why the runtime would refuse this choice, if it would.
    pub fn fault(&self) -> Option<String> {
        fault("token", &self.token).or_else(|| self.platform_id.fault()).or_else(|| self.sender.fault())
    }
}

/// The outcome of a choice. It is on disk in any case: the platform may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Answered {
    /// It is the answer; the agent gets it. The same choice by the same person is answered the same.
    Taken {
        /// What to show in place of the buttons.
        shown: String,
    },
    /// The question was answered before, otherwise or by another person.
    Already {
        /// The answer that counts, to show in place of the buttons.
        shown: String,
    },
    /// No such question is open: it was never asked, or it is too old.
    Closed,
    /// They may not answer it: it was asked in another chat, or they are a program.
    NotYours,
    /// An outcome of a newer vocabulary.
    #[serde(other)]
    Unknown,
}
