//! The manifest: what a plugin is and can do. Static facts, readable in the file before it is opened.

use crate::module::{Hook, OnFailure};
use crate::webhook::{Challenge, Signing};
use crate::{Defaults, HmacScheme, Limit, Limits, webhook};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The level of the vocabulary this crate speaks. Levels only add.
pub const API_LEVEL: &str = "0.2";

/// The channel type of messages between agents: no platform has it.
pub const AGENT: &str = "agent";

/// The channel type of actions, which agents ask for: no platform has it.
pub const ACTION: &str = "action";

/// How long a channel may take for one message, in seconds, unless its manifest says something else.
pub const DELIVER_SECONDS: u32 = 60;
/// The longest time for one message that a manifest may ask for, in seconds.
pub const DELIVER_SECONDS_MAX: u32 = 600;

/// The key in which an account names another as the one at which its webhooks come in.
const LISTENER: &str = "listener";

/// The longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 16 * 1024;

/// What kind of plugin it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// An adapter for a chat platform.
    Channel,
    /// A plugin that listens at hooks of the runtime.
    Module,
    /// A kind of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// Something a channel can do beyond starting and delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// A thread is a conversation of its own. Without this word the runtime discards thread ids.
    Threads,
    /// Receives webhooks at `/webhook/<channel>/<account>`.
    Webhook,
    /// Delivering the same message id twice shows one message.
    Idempotent,
    /// Can say whether a message whose delivery was cut off has arrived: `Channel::find`.
    Reconcilable,
    /// Carries files out. Without this word the runtime names a reply's files in its text instead.
    Attachments,
    /// Is reached at a socket of this machine, which the config of the account names as `socket`.
    LocalSocket,
    /// Shows questions with buttons: `Content::Question`. Without this word the runtime numbers the answers
    /// in a text, and takes a typed one.
    Questions,
    /// The ids of its chats compare without case: what is wired as `acme/widgets` hears `Acme/Widgets`, too.
    IgnoresCase,
    /// Gives a message that it sent other words: `Content::Edit`.
    Edits,
    /// Takes a message back that it sent: `Content::Delete`.
    Deletes,
    /// Reacts to messages: `Content::Reaction`.
    Reactions,
    /// Shows cards: `Content::Card`.
    Cards,
    /// Shows that an agent works on an answer: `Channel::working`.
    Working,
    /// An account may name another as its `listener`: its webhooks come in there, and the plugin hands each event over for
    /// the account it belongs to.
    Listeners,
    /// Has a line that says what a message is about: `OutboundMessage::subject`. Without this word the runtime puts it
    /// before the text.
    Subjects,
    /// Shows that a message was read: `Channel::read`.
    Reads,
    /// Is told in which threads agents listen: `Channel::subscribe`.
    Subscribes,
    /// Knows which chat a person means who types a name or an id: `Channel::normalise`. Without this word an operator types
    /// the platform's id.
    Normalises,
    /// Knows people by their handles: `Channel::who_is`.
    People,
    /// Opens direct chats: `Channel::open_direct`. Without this word the person has to write first.
    DirectChats,
    /// Tells what was said in a chat: `Channel::history`.
    History,
    /// Its accounts are linked by a device of a person: `Channel::link`.
    Linking,
    /// Loads files later: `Attachment::reference`, `Channel::fetch`.
    Fetches,
    /// Has a folder of its own for each account: `Runtime::folder`.
    Folder,
    /// A word of a newer vocabulary.
    #[serde(other)]
    Unknown,
}

/// How the runtime verifies a webhook before anything else sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookScheme {
    /// No webhooks.
    None,
    /// `X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the raw body>`; the key is the account's
    /// `webhook_secret`.
    GithubSha256,
    /// An HMAC that the manifest describes: [`Manifest::hmac`].
    Hmac,
    /// Slack's: `X-Slack-Signature: v0=<hex HMAC-SHA256 of v0:TIME:BODY>`; the key is the account's `signing_secret`.
    SlackV0,
    /// A signature by Ed25519, as Discord makes it unless [`Manifest::signing`] says otherwise; the account's
    /// `public_key` verifies it.
    Ed25519,
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`; the key is the account's
    /// `webhook_secret`: `whsec_…`, or the platform's public key, `whpk_…`.
    StandardWebhooks,
    /// The secret itself, in a header that [`Manifest::signing`] names: Telegram's, GitLab's. It signs nothing.
    SecretHeader,
    /// A scheme of a newer vocabulary. The runtime refuses what it cannot verify.
    #[serde(other)]
    Unknown,
}

/// What happens when a newer file of the same plugin appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handover {
    /// Stop the old one, then start the new one: for connections that must not exist twice.
    StopFirst,
    /// Start the new one, then stop the old one.
    Overlap,
    /// A word of a newer vocabulary, read as [`Handover::StopFirst`].
    #[serde(other)]
    Unknown,
}

/// The manifest, as the runtime reads it from the file's note section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name: lower-case letters, digits and `-`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// A few words for the operator.
    #[serde(default)]
    pub description: String,
    /// What kind of plugin it is.
    pub kind: PluginKind,
    /// The major version of the seam it was built for.
    pub abi: u32,
    /// The level of the vocabulary it was built for.
    pub api: String,
    /// The platform it speaks, for a channel; a module has none.
    #[serde(default)]
    pub channel_type: String,
    /// Where a module is asked: `stations` in the JSON, the word of the first versions.
    #[serde(default, rename = "stations", alias = "hooks")]
    pub hooks: Vec<Hook>,
    /// The actions that a module takes at the hook `action`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// How often a module is asked at the hook `tick`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_seconds: Option<u32>,
    /// What happens to a message when a module that screens or reviews it fails.
    #[serde(default = "closed")]
    pub on_failure: OnFailure,
    /// What a channel can do beyond starting and delivering.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// How long a channel may take for one message, in seconds: [`DELIVER_SECONDS`] unless it says something else, at most
    /// [`DELIVER_SECONDS_MAX`]. Each part that it tells of gives it that time once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_seconds: Option<u32>,
    /// What its platform takes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How agents listen there, unless the operator says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// How the runtime verifies its webhooks.
    #[serde(default = "no_scheme")]
    pub webhook: WebhookScheme,
    /// How webhooks of the scheme `hmac` are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacScheme>,
    /// What the scheme of its webhooks is told beside its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
    /// The question by `GET` with which its platform tries a webhook's address; the runtime answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// The headers that its answers to webhooks may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_headers: Vec<String>,
    /// The config keys that hold secrets.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// How a newer file replaces it.
    #[serde(default = "stop_first")]
    pub handover: Handover,
    /// `unwind` or `abort`: with `abort` one panic in it would end the whole runtime.
    #[serde(default)]
    pub panic: String,
}

fn no_scheme() -> WebhookScheme {
    WebhookScheme::None
}

fn stop_first() -> Handover {
    Handover::StopFirst
}

fn closed() -> OnFailure {
    OnFailure::Closed
}

impl Manifest {
    /// The config key of what an account's webhooks are verified with: a secret, or a public key.
    pub fn webhook_secret_key(&self) -> &str {
        self.terms().map_or("webhook_secret", |terms| terms.key)
    }

    /// Whether it is a module that listens at this hook.
    pub fn listens(&self, hook: Hook) -> bool {
        self.kind == PluginKind::Module && self.hooks.contains(&hook)
    }

    /// Whether it is the module that takes this action.
    pub fn takes(&self, action: &str) -> bool {
        self.listens(Hook::Action) && self.actions.iter().any(|one| one == action)
    }

    /// How often it is asked at `tick`: a minute, unless it says something else.
    pub fn tick_every(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.tick_seconds.unwrap_or(60).max(1).into())
    }

    /// How long a channel may take for one message, in seconds.
    pub fn deliver_seconds(&self) -> u32 {
        self.deliver_seconds.unwrap_or(DELIVER_SECONDS).clamp(1, DELIVER_SECONDS_MAX)
    }

    /// A limit of its platform; without a word of the channel, none.
    pub fn limit(&self, of: impl Fn(&Limits) -> &Option<Limit>) -> Limit {
        self.limits.as_ref().and_then(|limits| of(limits).clone()).unwrap_or_default()
    }

    /// Whether a thread is a conversation of its own in a direct chat, or in a group.
    pub fn threads_in(&self, is_group: bool) -> bool {
        let defaults = self.defaults.as_ref();
        let listening = defaults.and_then(|d| if is_group { d.group.as_ref() } else { d.direct.as_ref() });
        self.can(Capability::Threads) && listening.and_then(|listening| listening.threads) != Some(false)
    }

    /// Whether the plugin listed this capability.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The local socket that an account with this config is reached at.
    pub fn local_socket<'a>(&self, config: &'a serde_json::Value) -> Option<&'a Path> {
        self.can(Capability::LocalSocket).then(|| config["socket"].as_str().map(Path::new)).flatten()
    }

    /// Whether a key of an account's config is the runtime's own: then the plugin does not see it.
    pub fn is_runtimes_key(&self, key: &str) -> bool {
        key == LISTENER && self.can(Capability::Listeners)
    }

    /// The account at which the webhooks of one with this config come in, if that names another; takes the key out.
    pub fn take_listener(&self, config: &mut serde_json::Value) -> Option<String> {
        let named = config.as_object_mut().filter(|_| self.is_runtimes_key(LISTENER))?.remove(LISTENER)?;
        named.as_str().map(str::to_owned)
    }

    /// Reads a manifest from its JSON text.
    ///
    /// # Errors
    /// A sentence, for the person who built the plugin, that says what is wrong with the manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, String> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(format!("it has {} bytes, the limit is {MANIFEST_BYTES_MAX}", text.len()));
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let named = [("name", &manifest.name), ("channel_type", &manifest.channel_type)];
        let count = if manifest.kind == PluginKind::Module { 1 } else { 2 };
        for (what, name) in named.into_iter().take(count) {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                return Err(format!("its {what} `{}` is not made of a-z, 0-9 and -", name.escape_debug()));
            }
        }
        match manifest.kind {
            PluginKind::Module if !manifest.channel_type.is_empty() => {
                return Err("it is a module and names a channel_type".to_owned());
            }
            PluginKind::Channel if [AGENT, ACTION].contains(&manifest.channel_type.as_str()) => {
                return Err(format!(
                    "its channel_type `{}` is the runtime's own word",
                    manifest.channel_type
                ));
            }
            PluginKind::Module if manifest.listens(Hook::Action) == manifest.actions.is_empty() => {
                return Err("the hook `action` and the list `actions` go together".to_owned());
            }
            _ => {}
        }
        match (manifest.webhook, &manifest.hmac) {
            (WebhookScheme::Hmac, None) => Err("its webhooks are `hmac`, and it does not say how".into()),
            (WebhookScheme::Hmac, Some(hmac)) => hmac.fault(&manifest).map_or(Ok(()), Err),
            _ => Ok(()),
        }?;
        match webhook::fault(&manifest) {
            Some(fault) => Err(fault),
            None => Ok(manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_read_not_refused() {
        let text = r#"{"name":"x","version":"1","kind":"oracle","abi":1,"api":"0.9","channel_type":"x",
            "capabilities":["threads","teleport"],"webhook":"rot13","handover":"magic","new_field":7}"#;
        let manifest = Manifest::parse(text.as_bytes()).expect("it is valid");
        assert_eq!(manifest.kind, PluginKind::Unknown);
        assert_eq!(manifest.capabilities, [Capability::Threads, Capability::Unknown]);
        assert_eq!(manifest.webhook, WebhookScheme::Unknown);
        assert_eq!(manifest.handover, Handover::Unknown);
    }

    #[test]
    fn a_declared_hmac_must_make_sense() {
        let parse = |hmac: &str| {
            let text = format!(
                r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.1","channel_type":"x",
                "secrets":["webhook_secret"],"webhook":"hmac"{hmac}}}"#
            );
            Manifest::parse(text.as_bytes())
        };
        let slack = r#","hmac":{"header":"X-Slack-Signature","prefix":"v0=","signed":"v0:{timestamp}:{body}",
            "timestamp_header":"X-Slack-Request-Timestamp"}"#;
        for fits in
            [r#","hmac":{"header":"X-Sign"}"#, r#","hmac":{"header":"X-Sign","salt":"of later"}"#, slack]
        {
            assert!(parse(fits).is_ok(), "{fits}: {:?}", parse(fits));
        }
        for (hmac, fault) in [
            ("", "does not say how"),
            (r#","hmac":{}"#, "missing field `header`"),
            (r#","hmac":{"header":"X Y"}"#, "names a header"),
            (r#","hmac":{"header":"X","key":"token"}"#, "not among its secrets"),
            (r#","hmac":{"header":"X","signed":"{timestamp}"}"#, "must sign `{body}`"),
            (r#","hmac":{"header":"X","timestamp_header":"T"}"#, "must sign `{timestamp}`"),
            (r#","hmac":{"header":"X","signed":"{timestamp}{body}"}"#, "must sign `{timestamp}`"),
        ] {
            let told = parse(hmac).expect_err(hmac);
            assert!(told.contains(fault), "{hmac}: {told}");
        }
    }
}
