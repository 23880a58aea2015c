//! What a channel says of its platform: each capability that it lists is asked for once.

use crate::report::Outcome;
use crate::trial::{Said, Trial};
use serde::de::DeserializeOwned;
use vestibule_plugin_api::wire::{self, Empty, Request};
use vestibule_plugin_api::{Capability, Conversation, HistoryPage, LinkState, Read, Sender};

/// The capabilities that are asked for here.
const LISTED: [Capability; 8] = [
    Capability::Reads,
    Capability::Subscribes,
    Capability::Normalises,
    Capability::People,
    Capability::DirectChats,
    Capability::History,
    Capability::Linking,
    Capability::Fetches,
];

/// Runs the check, for a channel that lists one of these.
pub async fn examine(trial: &mut Trial) {
    if LISTED.into_iter().any(|one| trial.manifest().can(one)) {
        trial.check_live("asks", asks).await;
    }
}

async fn asks(trial: &Trial) -> Result<Outcome, String> {
    let mut told = Vec::new();
    for capability in LISTED {
        let word = serde_json::to_value(capability).unwrap_or_default();
        let word = word.as_str().unwrap_or_default().to_owned();
        let said = ask(trial, capability).await;
        told.extend(judge(&word, trial.manifest().can(capability), said)?);
    }
    Ok(Outcome::Ok(told.join("; ")))
}

/// Asks for one of them, and holds the answer against its limits.
async fn ask(trial: &Trial, capability: Capability) -> Said<()> {
    let (account, address) = (trial.place.account.clone(), trial.message("", "").address);
    let (chat, handle) = (address.platform_id.as_str().to_owned(), "conform-no-such-person".to_owned());
    match capability {
        Capability::Reads => {
            let read = Read { address, message_id: "conform-1".to_owned() };
            said(trial, &Request::Read { read }, |_: &Empty| None).await
        }
        Capability::Subscribes => said(trial, &Request::Subscribe { address }, |_: &Empty| None).await,
        Capability::Normalises => {
            said(trial, &Request::Normalise { account, chat }, Conversation::fault).await
        }
        Capability::People => said(trial, &Request::WhoIs { account, handle }, Sender::fault).await,
        Capability::DirectChats => {
            said(trial, &Request::OpenDirect { account, handle }, Conversation::fault).await
        }
        Capability::History => {
            said(trial, &Request::History { address, after: None, limit: 3 }, HistoryPage::fault).await
        }
        Capability::Linking => said(trial, &Request::Link { account }, LinkState::fault).await,
        _ => {
            let reference = "conform-no-such-file".to_owned();
            let request = Request::Fetch { account, reference, bytes_max: 1024 };
            said(trial, &request, |_: &serde_json::Value| None).await
        }
    }
}

async fn said<T: DeserializeOwned>(
    trial: &Trial,
    request: &Request,
    fault: impl Fn(&T) -> Option<String>,
) -> Said<()> {
    match trial.ask::<T>(wire::frame(request)).await {
        Said::Done(answer) => match fault(&answer) {
            Some(why) => Said::Bug(format!("its answer breaks a limit: {why}")),
            None => Said::Done(()),
        },
        Said::Error(error) => Said::Error(error),
        Said::Unsupported(why) => Said::Unsupported(why),
        Said::BadFrame(why) => Said::BadFrame(why),
        Said::Bug(why) => Said::Bug(why),
    }
}

/// What is told of one capability; an error is a sentence for the author. Pure.
fn judge(word: &str, is_listed: bool, said: Said<()>) -> Result<Option<String>, String> {
    match (is_listed, said) {
        (true, Said::Unsupported(_)) => {
            Err(format!("it lists `{word}` and does not support it: write its method of `Channel`"))
        }
        (false, Said::Done(())) => {
            Err(format!("it does not list `{word}` and does it: the runtime will not ask"))
        }
        (false, said) => said.words().map(|_| None),
        (true, said) => {
            Ok(Some(format!("{word}: {}", said.words().map_err(|why| format!("{word}: {why}"))?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::PluginError;

    #[test]
    fn what_is_listed_and_what_is_done_go_together() {
        for (is_listed, said, want) in [
            (true, Said::Done(()), Ok(Some("people: done"))),
            (true, Said::Error(PluginError::refused("unknown")), Ok(Some("people: refused: unknown"))),
            (true, Said::Unsupported("no".into()), Err("it lists `people` and does not support it")),
            (true, Said::Bug("late".into()), Err("people: late")),
            (false, Said::Unsupported("no".into()), Ok(None)),
            (false, Said::Done(()), Err("it does not list `people` and does it")),
            (false, Said::BadFrame("x".into()), Err("could not read the frame")),
        ] {
            let judged = judge("people", is_listed, said);
            match (&judged, want) {
                (Ok(told), Ok(want)) => assert_eq!(told.as_deref(), want),
                (Err(why), Err(want)) => assert!(why.contains(want), "{why}"),
                _ => panic!("{judged:?}, {want:?}"),
            }
        }
    }
}
