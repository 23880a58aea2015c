//! The handle by which an author calls the runtime.

use super::account;
use crate::wire::{self, Empty, Event, StateValue};
use crate::{
    Accepted, Answered, Change, ChatEvent, Choice, Conversation, Health, Ignored, InboundMessage, Known,
    LateReceipt, PluginError, Result, SentSoFar, StatePage, StateWrite,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use vestibule_seam::{Done, RuntimeSide, status};

/// The runtime, as one account of a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) side: RuntimeSide,
    pub(crate) account: String,
    /// Where the account's webhooks come in, if that is another account.
    listener: Option<Arc<str>>,
    /// The accounts whose webhooks come in at this one.
    siblings: Arc<[String]>,
    /// The account that hands over what this one is said to say.
    by: Option<Arc<str>>,
    folder: Option<Arc<Path>>,
}

impl Runtime {
    /// The runtime, as an account sees it that was started so.
    pub(crate) fn of(
        side: RuntimeSide,
        account: String,
        listener: Option<String>,
        siblings: Vec<String>,
    ) -> Runtime {
        let listener = listener.map(Arc::from);
        Runtime { side, account, listener, siblings: siblings.into(), by: None, folder: None }
    }

    pub(crate) fn with_folder(self, folder: Option<String>) -> Runtime {
        Runtime { folder: folder.map(|folder| Arc::from(Path::new(&folder))), ..self }
    }

    /// Hands over a message. Returns **after** it is on disk, or deliberately dropped with a
    /// recorded reason: only then may the platform be acknowledged.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: the message is not on disk; do not acknowledge it.
    /// [`PluginError::Refused`]: it breaks a limit of the vocabulary and never will be taken.
    pub async fn message(&self, message: InboundMessage) -> Result<Accepted> {
        self.message_with(message, Vec::new()).await
    }

    /// The same, and writes to this account's state in the same commit, also when the message is a
    /// duplicate or no agent hears it. Carry a cursor here, and it never runs ahead of its message.
    ///
    /// # Errors
    /// As [`Runtime::message`]; then nothing was written.
    pub async fn message_with(&self, message: InboundMessage, state: Vec<StateWrite>) -> Result<Accepted> {
        self.call(Event::Message { account: self.account.clone(), message, state }).await
    }

    /// Puts on record that an event was left out on purpose.
    ///
    /// # Errors
    /// As [`Runtime::message`].
    pub async fn ignored(&self, ignored: Ignored) -> Result<()> {
        self.ignored_with(ignored, Vec::new()).await
    }

    /// The same, and writes to this account's state in the same commit.
    ///
    /// # Errors
    /// As [`Runtime::message`]; then nothing was written.
    pub async fn ignored_with(&self, ignored: Ignored, state: Vec<StateWrite>) -> Result<()> {
        let Empty {} = self.call(Event::Ignored { account: self.account.clone(), ignored, state }).await?;
        Ok(())
    }

    /// Hands over a choice that a person made (see `Content::Question`). Returns **after** it is on disk:
    /// only then may the platform be acknowledged, and the buttons taken away.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk; hand it over again.
    /// [`PluginError::Refused`]: it breaks a limit of the vocabulary.
    pub async fn answer(&self, choice: Choice) -> Result<Answered> {
        self.answer_with(choice, Vec::new()).await
    }

    /// The same, and writes to this account's state in the same commit, whatever becomes of the choice.
    ///
    /// # Errors
    /// As [`Runtime::answer`]; then nothing was written.
    pub async fn answer_with(&self, choice: Choice, state: Vec<StateWrite>) -> Result<Answered> {
        self.call(Event::Answer { account: self.account.clone(), choice, state }).await
    }

    /// Hands over a change to a message: it was edited or deleted, or a person reacted to it. Returns **after** it is on
    /// disk, or deliberately dropped with a recorded reason.
    ///
    /// # Errors
    /// As [`Runtime::message`]. [`PluginError::Unsupported`]: the runtime is older than this word; say
    /// [`Runtime::ignored`] instead.
    pub async fn change(&self, change: Change) -> Result<Accepted> {
        self.change_with(change, Vec::new()).await
    }

    /// The same, and writes to this account's state in the same commit, whatever becomes of the change.
    ///
    /// # Errors
    /// As [`Runtime::change`]; then nothing was written.
    pub async fn change_with(&self, change: Change, state: Vec<StateWrite>) -> Result<Accepted> {
        self.call(Event::Change { account: self.account.clone(), change, state }).await
    }

    /// Tells that a part of a message that is being delivered has gone out; `id` is the message's, `sent` is all of it so
    /// far. The delivery has its whole deadline once more, and a later attempt is told, so that what was sent is not sent
    /// again. [`Sending`](crate::toolbox::sending::Sending) does this for channels whose parts are messages.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk. [`PluginError::Refused`]: no such message is being delivered.
    /// [`PluginError::Unsupported`]: the runtime is older than this word, and a later attempt begins anew.
    pub async fn sent_so_far(&self, id: &str, sent: SentSoFar) -> Result<()> {
        let (account, id) = (self.account.clone(), id.to_owned());
        let Empty {} = self.call(Event::SentSoFar { account, id, sent }).await?;
        Ok(())
    }

    /// Tells what became of a message after its platform had taken it. A failure turns its delivery into a failed one,
    /// and its agent is told; everything else is shown to the operator. Messages that this account did not send are
    /// passed over.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk, or a message is being sent at this moment, which it may be about: let
    /// the platform say it again. [`PluginError::Unsupported`]: the runtime is older than this word.
    pub async fn late_receipt(&self, receipt: LateReceipt) -> Result<()> {
        let Empty {} = self.call(Event::LateReceipt { account: self.account.clone(), receipt }).await?;
        Ok(())
    }

    /// What this account has kept under `key`. It outlives restarts of the plugin and of the runtime.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it could not be read.
    pub async fn state_get(&self, key: &str) -> Result<Option<String>> {
        let (account, key) = (self.account.clone(), key.to_owned());
        let StateValue { value } = self.call(Event::StateGet { account, key }).await?;
        Ok(value)
    }

    /// What this account has kept under keys that begin with `prefix`, in the order of the keys: the first page, or the one
    /// after a key. Go on with [`StatePage::next`] while there is one.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it could not be read. [`PluginError::Unsupported`]: the runtime is older than this word.
    pub async fn state_list(&self, prefix: &str, after: Option<&str>) -> Result<StatePage> {
        let (account, prefix) = (self.account.clone(), prefix.to_owned());
        self.call(Event::StateList { account, prefix, after: after.map(str::to_owned) }).await
    }

    /// Writes to this account's state; returns after it is on disk. What belongs to a message goes
    /// with it: [`Runtime::message_with`].
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk. [`PluginError::Refused`]: a key or value is too long,
    /// or the account holds too many keys.
    pub async fn state_set(&self, state: Vec<StateWrite>) -> Result<()> {
        let Empty {} = self.call(Event::StateSet { account: self.account.clone(), state }).await?;
        Ok(())
    }

    /// Tells the operator how this account is; `vestibule status` shows it. A started account is live
    /// until it says something else. An older runtime does not listen, and that is no error.
    pub async fn health(&self, health: Health) {
        let event = Event::Health { account: self.account.clone(), health };
        if let Err(error) = self.call::<Empty>(event).await {
            tracing::debug!(reason = error.reason(), "the runtime did not take the report");
        }
    }

    /// Tells that this account does not work any more, and that a new start may mend it: a login that has ended, a stream
    /// that does not come back. The runtime stops the account, and starts it again with back-off; deliveries wait meanwhile.
    /// What only the operator can mend is [`Health::Stopped`]. An older runtime does not listen, and that is no error.
    pub async fn lost(&self, reason: impl Into<String>) {
        let event = Event::Lost { account: self.account.clone(), reason: reason.into() };
        if let Err(error) = self.call::<Empty>(event).await {
            tracing::debug!(reason = error.reason(), "the runtime did not take the report");
        }
    }

    /// Tells what people call a chat, and learns whether any agent is wired to it. Only chats that the
    /// runtime knows keep their name; say it when it is new to you, or has changed. It is shown to the
    /// operator and to agents, who may send there by a name of the operator's.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk. [`PluginError::Refused`]: the name is not one line of
    /// 1 to 512 bytes; [`Conversation::name_of`] makes it so.
    pub async fn conversation(&self, conversation: Conversation) -> Result<Known> {
        self.call(Event::Conversation { account: self.account.clone(), conversation }).await
    }

    /// Tells that the account joined or left a chat, or that the chat has another id. Returns **after** it is on disk: only
    /// then may the platform be acknowledged.
    ///
    /// # Errors
    /// [`PluginError::Retry`]: it is not on disk. [`PluginError::Unsupported`]: the runtime is older than this word.
    pub async fn chat(&self, chat: ChatEvent, state: Vec<StateWrite>) -> Result<Known> {
        self.call(Event::Chat { account: self.account.clone(), chat, state }).await
    }

    /// Tells the names under which the platform knows this account, the one that people use first; `vestibule status`
    /// shows them. An older runtime does not listen, and that is no error.
    pub async fn own_handles(&self, handles: Vec<String>) {
        let event = Event::OwnHandles { account: self.account.clone(), handles };
        if let Err(error) = self.call::<Empty>(event).await {
            tracing::debug!(reason = error.reason(), "the runtime did not take the handles");
        }
    }

    /// The folder in which this account may keep files of its own, such as a database: the runtime made it, only its user can
    /// read it, and it outlives restarts. A channel has one if it lists `folder`, and the runtime is not older than the word.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The account's name in the config.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The account at which this one's webhooks come in: the `listener` of its config, in a channel that lists `listeners`.
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    /// The accounts whose webhooks come in at this one, beside its own.
    pub fn siblings(&self) -> &[String] {
        &self.siblings
    }

    /// The runtime for an event that came in at this account and belongs to another one, which names this one as its
    /// listener. For any other account the runtime leaves messages out, on record, and refuses the rest.
    #[must_use]
    pub fn on_behalf_of(&self, account: &str) -> Runtime {
        if account == self.account {
            return self.clone();
        }
        let (side, listener) = (self.side, Some(Arc::from(self.account.as_str())));
        let by = listener.clone();
        Runtime { side, account: account.to_owned(), listener, siblings: Arc::default(), by, folder: None }
    }

    /// The same work, whose log lines name this account: `tokio::spawn(runtime.named(work))`. The calls of the trait
    /// are named already, and so is everything while a plugin file has one account only.
    pub fn named<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        account::on_behalf(self.account.clone(), work)
    }

    async fn call<T: DeserializeOwned>(&self, event: Event) -> Result<T> {
        let event = match &self.by {
            None => event,
            Some(by) => Event::HandedOver { listener: by.to_string(), event: Box::new(event) },
        };
        let (answered, answer) = tokio::sync::oneshot::channel();
        let done = Done::new(move |code, frame| drop(answered.send((code, frame))));
        self.side.call(wire::frame_with_blobs(event), done);
        match answer.await {
            Ok((status::OK, frame)) => wire::read(&frame).map_err(PluginError::retry),
            Ok((status::ERROR, frame)) => Err(wire::read(&frame).unwrap_or_else(PluginError::retry)),
            Ok((status::UNSUPPORTED, _)) => {
                Err(PluginError::unsupported("this runtime is older than the plugin"))
            }
            Ok((status::BAD_FRAME, frame)) => {
                Err(PluginError::refused(wire::read::<String>(&frame).unwrap_or_else(|e| e)))
            }
            _ => Err(PluginError::retry("the runtime did not take it")),
        }
    }
}

/// A secret from the config. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// The secret itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
