//! `dropped-message`: messages that were left out, counted by chat and reason.

use super::{Outcome, answer};
use crate::clock::{Timestamp, format_time};
use crate::db::ReadTxn;
use crate::drops;
use crate::error::Result;
use serde_json::{Value, json};

const SHOWN: i64 = 1000;

/// Shows the counts, the most recent first.
pub fn list(db: &ReadTxn, _: Value) -> Result<Outcome> {
    let row = |drop: drops::DroppedMessage| {
        json!({
            "channel": drop.channel_type,
            "account": drop.account,
            "chat": drop.platform_id,
            "reason": drop.reason,
            "messages": drop.message_count,
            "last_sender": drop.last_sender,
            "last_seen": format_time(Timestamp(drop.last_seen)),
        })
    };
    answer(&drops::recent(db, SHOWN)?.into_iter().map(row).collect::<Vec<_>>(), vec![])
}
