//! What plugins ask of the runtime, handed to the loop that does it.

use crate::context::Context;
use crate::db::WriteTxn;
use crate::error::Result;
use crate::plugins::{self, Link, Outcome, Services};
use crate::{delivery, http, inbound, messaging_groups};
use std::sync::Arc;
use vestibule_plugin_api::wire::{self, Empty, Event};
use vestibule_seam::Frame;

impl Services for Context {
    fn hear(self: Arc<Self>, link: Arc<Link>, event: Event) -> Outcome<Result<Frame>> {
        Box::pin(async move {
            match event {
                Event::SentSoFar { account, id, sent } => {
                    delivery::sent_so_far(&self, &link, &account, id, sent).await?;
                }
                Event::LateReceipt { account, receipt } => {
                    delivery::late_receipt(&self, &link, account, receipt).await?;
                }
                Event::Chat { account, chat, state } => {
                    let channel = plugins::slot(&link.manifest);
                    let (known, to_deliver) = inbound::chat(&self, channel, account, chat, state).await?;
                    delivery::go_on(&self, to_deliver);
                    return Ok(wire::frame(&known));
                }
                event => return inbound::hear(&self, &link, event).await,
            }
            Ok(wire::frame(&Empty {}))
        })
    }

    fn account_is_live(self: Arc<Self>, link: Arc<Link>, account: String) -> Outcome<Result<()>> {
        Box::pin(async move {
            let cases = self.plugins.registry.cases();
            self.central.write(move |db: &WriteTxn| messaging_groups::note_case(db, &cases)).await?;
            delivery::account_is_live(&self, &link, account).await
        })
    }

    fn plugins_are_complete(self: Arc<Self>) -> Outcome<Result<()>> {
        Box::pin(async move { delivery::plugins_are_complete(&self).await })
    }

    fn listen(self: Arc<Self>) -> Outcome<std::result::Result<(), String>> {
        Box::pin(async move { http::listen(&self).await })
    }
}
