//! What plugins ask of the runtime, handed to the loop that does it.

use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::observer::Taken;
use crate::plugins::{self, Link, Outcome, Services};
use crate::{delivery, http, inbound, messaging_groups};
use std::sync::Arc;
use vestibule_plugin_api::wire::{self, Empty, Event};
use vestibule_seam::Frame;

impl Services for Context {
    fn hear(self: Arc<Self>, link: Arc<Link>, event: Event) -> Outcome<Result<Frame>> {
        Box::pin(async move {
            let Some(observer) = self.observer.get().cloned() else { return hear(&self, link, event).await };
            let seen = event.clone();
            observer.hears(&plugins::slot(&link.manifest), &seen).await;
            let answer = hear(&self, link, event).await;
            observer.has_taken(&seen, taken(&seen, &answer));
            answer
        })
    }

    fn account_is_live(self: Arc<Self>, link: Arc<Link>, account: String) -> Outcome<Result<()>> {
        Box::pin(async move {
            if let Some(observer) = self.observer.get() {
                link.be_observed(observer.clone());
            }
            let cases = self.plugins.registry.cases();
            self.central.write(move |db: &WriteTxn| messaging_groups::note_case(db, &cases)).await?;
            delivery::account_is_live(&self, &link, account.clone()).await?;
            inbound::account_is_live(&self, &link, &account).await
        })
    }

    fn plugins_are_complete(self: Arc<Self>) -> Outcome<Result<()>> {
        Box::pin(async move { delivery::plugins_are_complete(&self).await })
    }

    fn listen(self: Arc<Self>) -> Outcome<std::result::Result<(), String>> {
        Box::pin(async move { http::listen(&self).await })
    }
}

/// What an observer is told of an answer.
fn taken(event: &Event, answer: &Result<Frame>) -> Taken {
    match (answer, event) {
        (Err(_), _) => Taken::Not,
        (Ok(frame), Event::Message { .. } | Event::Change { .. }) => {
            wire::read(frame).map_or(Taken::Done, Taken::As)
        }
        (Ok(_), _) => Taken::Done,
    }
}

/// Hands an event to the loop that takes it.
async fn hear(context: &Arc<Context>, link: Arc<Link>, event: Event) -> Result<Frame> {
    match event {
        Event::SentSoFar { account, id, sent } => {
            delivery::sent_so_far(context, &link, &account, id, sent).await?;
        }
        Event::LateReceipt { account, receipt } => {
            delivery::late_receipt(context, &link, account, receipt).await?;
        }
        Event::Chat { account, chat, state } => {
            let channel = plugins::slot(&link.manifest);
            let (known, to_deliver) = inbound::chat(context, channel, account, chat, state).await?;
            delivery::go_on(context, to_deliver);
            return Ok(wire::frame(&known));
        }
        event => return inbound::hear(context, &link, event).await,
    }
    Ok(wire::frame(&Empty {}))
}
