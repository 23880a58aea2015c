//! What came in is handed over: each event for the account of its phone number, and once it is on disk.

use crate::api::Api;
use crate::map::{self, Chosen, Event, What};
use crate::send;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use vestibule_plugin_api::toolbox::inbox::{hand_over, persist};
use vestibule_plugin_api::{
    Answered, Change, Conversation, Ignored, InboundMessage, PlatformId, PluginError, Result, Runtime,
    Sender, Sibling, Siblings, UNKNOWN_ACCOUNT,
};

/// So many names of people are remembered.
const NAMES_MAX: usize = 10_000;

/// The accounts that are started, by Meta's id of their phone number.
pub static NUMBERS: Siblings<Arc<Account>> = Siblings::new();

/// An account that is started.
pub struct Account {
    api: Api,
    /// The names of chats that were told.
    names: Mutex<HashMap<String, String>>,
    /// The chats by people's ids within the business of which it was told that they are those by their numbers.
    one_chat: Mutex<HashSet<PlatformId>>,
}

impl Account {
    pub fn new(api: Api) -> Account {
        Account { api, names: Mutex::default(), one_chat: Mutex::default() }
    }
}

/// Hands over what a webhook said, in order; what became of messages last, for that may have to wait. What is left out is
/// on record. After an event that is not on disk no later one of its chat is handed over: Meta sends them all again.
///
/// # Errors
/// Something of it is not on disk: Meta is to send it again.
pub async fn take(runtime: Runtime, events: Vec<Event>) -> Result<()> {
    let (mut outcome, mut held_up) = (Ok(()), BTreeSet::new());
    let (fates, rest): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| matches!(event.what, What::Fate(_)));
    for Event { number, what } in rest.into_iter().chain(fates) {
        let chat = what.chat();
        if chat.as_ref().is_some_and(|chat| held_up.contains(chat)) {
            continue;
        }
        let done = match NUMBERS.find(&runtime, &number) {
            Sibling::Here { kept, runtime } => one(&kept, &runtime, &number, what).await,
            Sibling::Away => Err(PluginError::retry("the account of its phone number is not started")),
            Sibling::Unknown => unknown(&runtime, what).await,
        };
        if done.is_err() {
            held_up.extend(chat);
        }
        outcome = outcome.and(done);
    }
    outcome
}

/// The chats of which a webhook tells something that has an order.
pub fn chats(events: &[Event]) -> BTreeSet<String> {
    events.iter().filter_map(|event| event.what.chat()).collect()
}

/// Hands a message over whose files the runtime has loaded meanwhile: when one cannot be, Meta says the message again, at
/// its own pace, and that is how long the file may take.
async fn with_files(runtime: &Runtime, message: InboundMessage) -> Result<()> {
    match runtime.message(message.clone()).await {
        Err(PluginError::Refused { .. }) => hand_over(runtime, message).await,
        taken => taken.map(drop),
    }
}

async fn one(account: &Account, runtime: &Runtime, number: &str, what: What) -> Result<()> {
    if let Some((chat, sender)) = what.person() {
        account.join_chats(runtime, number, chat, sender).await?;
    }
    match what {
        What::Said(message) => {
            let chat = conversation(&message);
            match message.attachments.is_empty() {
                true => hand_over(runtime, *message).await?,
                false => with_files(runtime, *message).await?,
            }
            account.tell(runtime, chat).await;
            Ok(())
        }
        What::Changed(change) => change_one(runtime, *change).await,
        What::Chosen(chosen) => account.choose(runtime, *chosen).await,
        // One that is too early comes again with its request.
        What::Fate(receipt) => match runtime.late_receipt(receipt).await {
            Err(PluginError::Refused { reason } | PluginError::Unsupported { reason }) => {
                tracing::debug!(reason, "the runtime does not take what became of a message");
                Ok(())
            }
            done => done,
        },
        What::Ignored(ignored) => persist(|| runtime.ignored(ignored.clone())).await,
    }
}

/// An event of a phone number for which there is no account.
async fn unknown(runtime: &Runtime, what: What) -> Result<()> {
    let (event_id, sender) = match what {
        What::Said(message) => (message.event_id, message.sender.name),
        What::Changed(change) => (change.event_id, change.sender.name),
        What::Chosen(chosen) => (chosen.event_id, chosen.choice.sender.name),
        What::Ignored(ignored) => (ignored.event_id, ignored.sender),
        What::Fate(_) => return Ok(()),
    };
    let ignored = Ignored { event_id, reason: UNKNOWN_ACCOUNT.to_owned(), platform_id: None, sender };
    persist(|| runtime.ignored(ignored.clone())).await
}

/// Hands a change over. An older runtime knows none: then it goes on record.
async fn change_one(runtime: &Runtime, change: Change) -> Result<()> {
    match persist(|| runtime.change(change.clone())).await {
        Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
            let ignored = Ignored {
                event_id: change.event_id,
                reason: "change".into(),
                platform_id: Some(change.platform_id),
                sender: change.sender.name,
            };
            persist(|| runtime.ignored(ignored.clone())).await
        }
        taken => taken.map(drop),
    }
}

/// What people call the chat: the person in it.
fn conversation(message: &InboundMessage) -> Option<Conversation> {
    let name = Conversation::name_of(message.sender.name.as_deref()?);
    Some(Conversation { platform_id: message.platform_id.clone(), name, is_group: Some(false) })
}

impl Account {
    /// Tells the name of a chat when it is new. A chat that no agent hears is told again: the runtime keeps no name of it.
    async fn tell(&self, runtime: &Runtime, chat: Option<Conversation>) {
        let Some((chat, name)) = chat.and_then(|chat| Some((chat.clone(), chat.name?))) else { return };
        let key = chat.platform_id.to_string();
        let names = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names().get(&key) == Some(&name) {
            return;
        }
        if runtime.conversation(chat).await.is_ok_and(|known| known.wired) {
            let mut names = names();
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            names.insert(key, name);
        }
    }

    /// Tells that the chat by a person's id within the business is the one by their number, once both are known: who is
    /// wired there goes on to be heard. Where agents are wired to both, both stay.
    async fn join_chats(
        &self,
        runtime: &Runtime,
        number: &str,
        chat: &PlatformId,
        sender: &Sender,
    ) -> Result<()> {
        let told = || self.one_chat.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(event) = map::one_chat(number, sender) else {
            // Their number is hidden again: there may be such a chat now.
            told().remove(chat);
            return Ok(());
        };
        let by_id = event.platform_id.clone();
        if told().contains(&by_id) {
            return Ok(());
        }
        match persist(|| runtime.chat(event.clone(), vec![])).await {
            Err(PluginError::Refused { reason } | PluginError::Unsupported { reason }) => {
                tracing::debug!(reason, "the runtime does not take that two chats are one");
            }
            taken => drop(taken?),
        }
        let mut told = told();
        if told.len() >= NAMES_MAX {
            told.clear();
        }
        told.insert(by_id);
        Ok(())
    }

    /// Hands an answer to a question over. The person's own message shows what they chose; when that does not count,
    /// they are told.
    async fn choose(&self, runtime: &Runtime, chosen: Chosen) -> Result<()> {
        let choice = &chosen.choice;
        let answered = match persist(|| runtime.answer(choice.clone())).await {
            // An older runtime asks no questions, so the button belongs to another program.
            Err(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
                let ignored = Ignored {
                    event_id: chosen.event_id,
                    reason: "unknown_button".into(),
                    platform_id: Some(choice.platform_id.clone()),
                    sender: choice.sender.name.clone(),
                };
                return persist(|| runtime.ignored(ignored.clone())).await;
            }
            answered => answered?,
        };
        if let Some(note) = note(&answered) {
            let target = map::target(&choice.platform_id)?;
            let (api, message) = (self.api.clone(), send::note(&target, &note, &chosen.message_id));
            // Meta waits for its answer, and would say the tap again.
            tokio::spawn(runtime.named(async move {
                if let Err(error) = api.send(&message).await {
                    let reason = error.reason();
                    tracing::warn!(reason, "a person could not be told that their answer does not count");
                }
            }));
        }
        Ok(())
    }
}

/// What a person is told of an answer that does not count.
fn note(answered: &Answered) -> Option<String> {
    match answered {
        Answered::Taken { .. } | Answered::Unknown => None,
        Answered::Already { shown } => Some(format!("It was answered before: {shown}")),
        Answered::Closed => Some("This question is not open any more.".to_owned()),
        Answered::NotYours => Some("This question is not for you.".to_owned()),
    }
}
