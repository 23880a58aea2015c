//! `vestibule channel link`: shows a person how to let an account in with a device of theirs.

use crate::cli::AccountPlace;
use crate::client;
use anyhow::bail;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;
use std::time::{Duration, Instant};
use vestibule_plugin_api::LinkState;
use vestibule_runtime::{Home, words};

/// How often the runtime is asked how far the person is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an account may be away once a code was shown.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows what to scan or to type until the account is linked.
pub async fn link(home: &Home, place: &AccountPlace) -> anyhow::Result<()> {
    let (mut shown, mut failed_since) = (None, None);
    loop {
        let args = json!({ "channel": place.channel, "account": place.account });
        let answer = client::ask(home, "channel.link", args).await;
        let answer = match answer {
            // Some platforms end the connection once a device lets the account in, and it is started again.
            Err(_)
                if shown.is_some() && failed_since.get_or_insert_with(Instant::now).elapsed() < PATIENCE =>
            {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            answer => answer?,
        };
        failed_since = None;
        let state: LinkState = serde_json::from_value(answer)?;
        if let LinkState::Linked { handle } = &state {
            let name = handle.as_deref().map(|handle| format!(" as {}", words::line(handle, 200)));
            println!("[channels.{}.{}] is linked{}.", place.channel, place.account, name.unwrap_or_default());
            return Ok(());
        }
        let code = code_of(&state).map(str::to_owned);
        if shown.as_ref() != Some(&code) {
            show(&state)?;
            shown = Some(code);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What there is to scan or to type; how long it can be is counted down.
fn code_of(state: &LinkState) -> Option<&str> {
    match state {
        LinkState::Scan { text, .. } => Some(text),
        LinkState::Enter { code, .. } => Some(code),
        LinkState::Linked { .. } | LinkState::Preparing | LinkState::Unknown => None,
    }
}

fn show(state: &LinkState) -> anyhow::Result<()> {
    match state {
        LinkState::Scan { text, seconds } => {
            let code = QrCode::with_error_correction_level(text, EcLevel::L)?.render::<Dense1x2>().build();
            println!(
                "{code}\nScan this within {seconds} s with the device that links accounts; a new one follows."
            );
        }
        LinkState::Enter { code, seconds } => {
            println!(
                "Type {} into the device that links accounts, within {seconds} s.",
                words::line(code, 200)
            );
        }
        LinkState::Preparing => println!("The platform prepares a code …"),
        LinkState::Unknown => bail!("this vestibule is older than the channel: it cannot show how to link"),
        LinkState::Linked { .. } => {}
    }
    Ok(())
}
