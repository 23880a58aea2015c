//! The rows that the decision about one reply needs.

use crate::clock::Timestamp;
use crate::db::ReadTxn;
use crate::error::Result;
use crate::id::{AgentGroupId, SessionId};
use crate::messaging_groups::{self, MessagingGroup};
use crate::{agents, destinations, ledger, sessions};
use vestibule_plugin_api::AGENT;
use vestibule_session::{MessageOut, parse_time};

/// The rows that the decision sees.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The session it was written in.
    pub session_id: SessionId,
    /// The chats that the reply may mean: this channel type and platform id on some account, each
    /// with whether the session may send there.
    pub chats: Vec<(MessagingGroup, bool)>,
    /// The agent it names, if there is one, with whether the session may write to it.
    pub agent: Option<(AgentGroupId, bool)>,
    /// Whether it is for later, and its session has as many of those as it may.
    pub too_much_later: bool,
}

impl Snapshot {
    /// Reads the rows; `None` when the session is gone.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn load(
        db: &ReadTxn,
        session_id: &SessionId,
        reply: &MessageOut,
        now: Timestamp,
    ) -> Result<Option<Snapshot>> {
        let Some(session) = sessions::by_id(db, session_id)? else { return Ok(None) };
        let (mut chats, mut agent) = (Vec::new(), None);
        if let (Some(AGENT), Some(to)) = (reply.channel_type.as_deref(), &reply.platform_id) {
            if let Some(to) = agents::by_id(db, &AgentGroupId::new(to.as_str()))? {
                let allowed = destinations::allows_agent(db, &session.agent_group_id, &to.id)?;
                agent = Some((to.id, allowed));
            }
        } else if let (Some(channel), Some(chat)) = (&reply.channel_type, &reply.platform_id) {
            for group in messaging_groups::on_any_account(db, channel, chat)? {
                let own = session.messaging_group_id.as_ref() == Some(&group.id);
                let allowed = own || destinations::allows(db, &session.agent_group_id, &group.id)?;
                chats.push((group, allowed));
            }
        }
        let is_later = reply.deliver_after.as_deref().and_then(parse_time).is_some_and(|at| at > now);
        let too_much_later = is_later && !ledger::has_room_later(db, session_id)?;
        Ok(Some(Snapshot { session_id: session.id, chats, agent, too_much_later }))
    }
}
