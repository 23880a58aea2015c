//! `vestibule channel link`: shows a person how to let an account in with a device of theirs.

use crate::cli::AccountPlace;
use crate::client;
use anyhow::bail;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;
use std::time::Duration;
use vestibule_plugin_api::LinkState;
use vestibule_runtime::{Home, words};

/// How often the runtime is asked how far the person is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Shows what to scan or to type until the account is linked.
pub async fn link(home: &Home, place: &AccountPlace) -> anyhow::Result<()> {
    let mut shown = None;
    loop {
        let args = json!({ "channel": place.channel, "account": place.account });
        let state: LinkState = serde_json::from_value(client::ask(home, "channel.link", args).await?)?;
        if let LinkState::Linked { handle } = &state {
            let name = handle.as_deref().map(|handle| format!(" as {}", words::line(handle, 200)));
            println!("[channels.{}.{}] is linked{}.", place.channel, place.account, name.unwrap_or_default());
            return Ok(());
        }
        if shown.as_ref() != Some(&state) {
            show(&state)?;
            shown = Some(state);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn show(state: &LinkState) -> anyhow::Result<()> {
    match state {
        LinkState::Scan { text, seconds } => {
            let code = QrCode::new(text)?.render::<Dense1x2>().build();
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
