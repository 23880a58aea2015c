//! What the runtime asks a channel about its platform. Each answer is a plugin's word: it is held against its limits
//! before anything is done with it.

use super::heads;
use super::link::{CallError, Link};
use super::on_the_way::Loaded;
use crate::lock::locked;
use crate::observer::Observer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use vestibule_plugin_api::wire::{self, Empty, Fetched, Request};
use vestibule_plugin_api::{
    Address, Blob, Capability, Conversation, HISTORY_MAX, HistoryPage, LinkState, PluginError, Read, Sender,
    Working,
};

/// How long a channel may take to show that an agent works, or has read.
const SHOW_DEADLINE: Duration = Duration::from_secs(5);
/// How long a channel may take for a question about its platform.
const ASK_DEADLINE: Duration = Duration::from_secs(30);
/// How long a channel may take to load one file.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);
/// How many messages of one plugin wait for files that are loaded.
pub(super) const LOADING_MAX: usize = 32;
/// So often a message is handed over whose file cannot be loaded; then it goes on without the file.
const LOADS_MAX: u8 = 5;
/// Of how many messages that is counted at once.
const FAILED_LOADS_MAX: usize = 1_000;

impl Link {
    /// Has the account show that an agent works on an answer.
    pub async fn working(&self, working: Working) -> Result<(), CallError> {
        let account = working.address.account.as_str().to_owned();
        let Empty {} = self.shown(&account, &Request::Working { working }, SHOW_DEADLINE).await?;
        Ok(())
    }

    /// Has the account show that an agent has taken up a message.
    pub async fn read(&self, read: Read) -> Result<(), CallError> {
        let account = read.address.account.as_str().to_owned();
        let Empty {} = self.shown(&account, &Request::Read { read }, SHOW_DEADLINE).await?;
        Ok(())
    }

    /// From now on this observer is told what the channel is asked.
    pub fn be_observed(&self, observer: Arc<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// Asks an account that is live, in sight of an observer, if there is one.
    async fn shown<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        account: &str,
        request: &Request,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let channel = self.manifest.channel_type.as_str();
        if let Some(observer) = self.observer.get() {
            observer.asks(channel, request);
        }
        let answer: Result<T, CallError> = self.ask_live(account, wire::frame(request), deadline).await;
        if let Some(observer) = self.observer.get() {
            let told = answer.as_ref().map(|answer| serde_json::to_value(answer).unwrap_or_default());
            let told = told.map_err(ToString::to_string);
            observer.is_told(channel, request, told.as_ref().map_err(String::as_str));
        }
        answer
    }

    /// Tells the account that an agent listens in a thread from now on.
    pub async fn subscribe(&self, address: Address) -> Result<(), CallError> {
        let account = address.account.as_str().to_owned();
        let Empty {} = self.shown(&account, &Request::Subscribe { address }, ASK_DEADLINE).await?;
        Ok(())
    }

    /// Asks which chat a person means who typed this.
    pub async fn normalise(&self, account: &str, chat: &str) -> Result<Conversation, CallError> {
        let request = Request::Normalise { account: account.to_owned(), chat: chat.to_owned() };
        self.ask_about(account, Capability::Normalises, &request, Conversation::fault).await
    }

    /// Asks whom a handle names.
    pub async fn who_is(&self, account: &str, handle: &str) -> Result<Sender, CallError> {
        let request = Request::WhoIs { account: account.to_owned(), handle: handle.to_owned() };
        self.ask_about(account, Capability::People, &request, Sender::fault).await
    }

    /// Has the account open the direct chat with a person, or find it.
    pub async fn open_direct(&self, account: &str, handle: &str) -> Result<Conversation, CallError> {
        let request = Request::OpenDirect { account: account.to_owned(), handle: handle.to_owned() };
        self.ask_about(account, Capability::DirectChats, &request, Conversation::fault).await
    }

    /// Asks what was said in a chat: the newest page, or the one after a cursor.
    pub async fn history(
        &self,
        address: Address,
        after: Option<String>,
        limit: u32,
    ) -> Result<HistoryPage, CallError> {
        let account = address.account.as_str().to_owned();
        let request = Request::History { address, after, limit: limit.clamp(1, HISTORY_MAX) };
        self.ask_about(&account, Capability::History, &request, HistoryPage::fault).await
    }

    /// Asks how far a person is with linking an account.
    pub async fn link_state(&self, account: &str) -> Result<LinkState, CallError> {
        let request = Request::Link { account: account.to_owned() };
        self.ask_about(account, Capability::Linking, &request, LinkState::fault).await
    }

    /// Has the account load a file that a message of this plugin came with by reference, also while the account is started or
    /// stopped: it hands messages over then, too. A file that is larger than `bytes_max` is refused.
    pub async fn fetch(&self, account: &str, reference: &str, bytes_max: u64) -> Result<Loaded, CallError> {
        self.can_do(Capability::Fetches)?;
        let allowance = self.on_the_way.load(bytes_max).await?;
        let request =
            Request::Fetch { account: account.to_owned(), reference: reference.to_owned(), bytes_max };
        let channel = self.manifest.channel_type.as_str();
        if let Some(observer) = self.observer.get() {
            observer.asks(channel, &request);
        }
        let loaded = self.load(account, &request, bytes_max).await;
        if let Some(observer) = self.observer.get() {
            let told = loaded.as_ref().map(|bytes| serde_json::json!({ "bytes": bytes.len() }));
            let told = told.map_err(ToString::to_string);
            observer.is_told(channel, &request, told.as_ref().map_err(String::as_str));
        }
        Ok(Loaded { bytes: loaded?, _allowance: allowance })
    }

    async fn load(&self, account: &str, request: &Request, bytes_max: u64) -> Result<Blob, CallError> {
        let frame = self.frame_of_any(account, wire::frame(request), FETCH_DEADLINE).await?;
        let unreadable =
            |why| CallError::Plugin(PluginError::retry(format!("its answer cannot be read: {why}")));
        let fetched = heads::read(frame, wire::read_with_blobs::<Fetched>).await;
        let fetched = fetched.ok_or(CallError::Cancelled)?.map_err(unreadable)?;
        let refused = |why: &str| CallError::Plugin(PluginError::refused(why));
        let bytes = fetched.file.bytes.ok_or_else(|| refused("the channel answered without the file"))?;
        if bytes.len() as u64 > bytes_max {
            return Err(refused("it is larger than the runtime takes"));
        }
        Ok(bytes)
    }

    /// Counts that a file of a message could not be loaded; says whether its message is to go on without it: else one file
    /// would hold up its whole account.
    pub fn gives_a_load_up(&self, account: &str, event_id: &str) -> bool {
        let mut failed = locked(&self.failed_loads);
        if failed.len() >= FAILED_LOADS_MAX {
            failed.clear();
        }
        let key = (account.to_owned(), event_id.to_owned());
        let count = failed.entry(key.clone()).or_insert(0);
        *count += 1;
        let gives_up = *count >= LOADS_MAX;
        if gives_up {
            failed.remove(&key);
        }
        gives_up
    }

    fn can_do(&self, capability: Capability) -> Result<(), CallError> {
        if self.manifest.can(capability) {
            return Ok(());
        }
        let channel = &self.manifest.channel_type;
        let word = serde_json::to_value(capability).unwrap_or_default();
        let word = word.as_str().unwrap_or_default();
        Err(CallError::Unsupported(format!("the channel `{channel}` does not list `{word}`")))
    }

    async fn ask_about<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        account: &str,
        capability: Capability,
        request: &Request,
        fault: impl Fn(&T) -> Option<String>,
    ) -> Result<T, CallError> {
        self.can_do(capability)?;
        let answer: T = self.shown(account, request, ASK_DEADLINE).await?;
        match fault(&answer) {
            Some(why) => {
                Err(CallError::Plugin(PluginError::refused(format!("its answer breaks a limit: {why}"))))
            }
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::AccountState;

    #[test]
    fn a_load_is_given_up_at_the_fifth_time() {
        let link = Link::idle("x", AccountState::Live);
        let tries = |event: &str| (0..6).map(|_| link.gives_a_load_up("main", event)).collect::<Vec<_>>();
        assert_eq!(tries("e"), [false, false, false, false, true, false]);
        assert!(!link.gives_a_load_up("second", "e"), "another account has its own");
        // What is counted is bounded.
        for number in 0..5_000 {
            link.gives_a_load_up("main", &number.to_string());
        }
        assert!(locked(&link.failed_loads).len() <= FAILED_LOADS_MAX);
    }
}
