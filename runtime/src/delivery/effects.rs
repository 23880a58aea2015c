//! What a module may answer with: which effects each hook has, and how many. Pure.

use super::saying::{Saying, Scheduled};
use crate::id::SessionId;
use crate::plugins::bounded;
use vestibule_plugin_api::{EFFECTS_MAX, Effect, TEXT_BYTES_MAX};

/// The hook at which a module was asked, and answers with effects.
#[derive(Debug, Clone, Copy)]
pub enum EffectsHook<'a> {
    /// About a message between agents: one `post` or one `refuse`, and notes.
    Forward,
    /// About what an agent wants done: notes, one `refuse`, and what sessions say.
    Action(Granted<'a>),
    /// About a decision that it asked for: notes, and what sessions say.
    Decided(Granted<'a>),
    /// From time to time: words for agents, and what sessions say.
    Tick(Granted<'a>),
}

/// The agents to which the operator lets the module write; `None`: any.
pub type Granted<'a> = Option<&'a [String]>;

/// Words for a session of another agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The session; `None`: the agent's newest, or a new one.
    pub session: Option<SessionId>,
    /// The text for the agent.
    pub text: String,
}

/// The effects that a module wants, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Words for another agent.
    pub post: Option<Post>,
    /// Why it refuses.
    pub refusal: Option<String>,
    /// Words for the agent that the module was asked about.
    pub notes: Vec<String>,
    /// Words for other agents: name and text.
    pub told: Vec<(String, String)>,
    /// What sessions say.
    pub said: Vec<Saying>,
    /// What is brought by a tick.
    pub scheduled: Vec<Scheduled>,
}

/// A module's answer about one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The module.
    pub module: String,
    /// The effects that it wants.
    pub effects: Effects,
    /// How many programs have written in a row before this answer.
    pub hops: u32,
}

/// Why a module's answer is refused whole: none of its effects is performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It may not have such effects.
    Wrong(String),
    /// This runtime does not do that.
    Unsupported(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Wrong(why) => f.write_str(why),
            Fault::Unsupported(effect) => write!(f, "this runtime does not do `{effect}` yet"),
        }
    }
}

/// Sorts a module's answer.
///
/// # Errors
/// It has an effect that this hook, or this runtime, does not have, or too many of one kind. Then none of them is performed.
pub fn read(hook: EffectsHook, effects: Vec<Effect>) -> Result<Effects, Fault> {
    if effects.len() > EFFECTS_MAX {
        let size = effects.len();
        return Err(Fault::Wrong(format!("it asks for {size} effects, the limit is {EFFECTS_MAX}")));
    }
    let mut read = Effects::default();
    for effect in effects {
        if let (Some(word), false) = (not_yet(&effect), matches!(hook, EffectsHook::Forward)) {
            return Err(Fault::Unsupported(word));
        }
        read.add(hook, effect).map_err(Fault::Wrong)?;
    }
    if matches!(hook, EffectsHook::Forward) && !read.has_outcome() {
        return Err(Fault::Wrong("neither `post` nor `refuse`".to_owned()));
    }
    Ok(read)
}

/// Why the runtime would refuse such an answer; `None` when it would not.
pub fn fault(hook: EffectsHook, effects: Vec<Effect>) -> Option<String> {
    read(hook, effects).err().map(|fault| fault.to_string())
}

/// The word of an effect for which this runtime has no room.
fn not_yet(effect: &Effect) -> Option<&'static str> {
    match effect {
        Effect::RequestApproval { .. } => Some("request_approval"),
        Effect::WithdrawApproval { .. } => Some("withdraw_approval"),
        Effect::CreateAgent { .. } => Some("create_agent"),
        Effect::ChangeAgent { .. } => Some("change_agent"),
        Effect::RestartAgent { .. } => Some("restart_agent"),
        _ => None,
    }
}

impl Effects {
    fn add(&mut self, hook: EffectsHook, effect: Effect) -> Result<(), String> {
        use EffectsHook::{Action, Decided, Forward, Tick};
        match (hook, effect) {
            (Forward, Effect::Post { .. } | Effect::Refuse { .. }) | (Action(_), Effect::Refuse { .. })
                if self.has_outcome() =>
            {
                return Err(hook.twice());
            }
            (Forward, Effect::Post { session, text }) => {
                self.post = Some(Post { session: session.map(SessionId::new), text: checked(text)? });
            }
            (Forward | Action(_), Effect::Refuse { reason }) => self.refusal = Some(bounded(&reason)),
            (Forward, Effect::Note { text }) => self.notes.push(bounded(&checked(text)?)),
            (Action(_) | Decided(_), Effect::Note { text }) => self.notes.push(checked(text)?),
            (Tick(granted), Effect::Tell { agent, text }) => {
                may_tell(granted, &agent)?;
                self.told.push((agent, checked(text)?));
            }
            (Action(_) | Decided(_) | Tick(_), Effect::Schedule { key, at, payload }) => {
                self.scheduled.push(Scheduled::new(key, at, payload)?);
            }
            (Action(granted) | Decided(granted) | Tick(granted), effect) => match Saying::read(effect)? {
                Some(saying) => {
                    match &saying.agent {
                        Some(agent) => may_tell(granted, agent)?,
                        None if matches!(hook, Tick(_)) => {
                            return Err("a tick is about no agent, so an effect must name one".to_owned());
                        }
                        None => {}
                    }
                    self.said.push(saying);
                }
                None => return Err(hook.others()),
            },
            _ => return Err(hook.others()),
        }
        Ok(())
    }

    fn has_outcome(&self) -> bool {
        self.post.is_some() || self.refusal.is_some()
    }
}

impl EffectsHook<'_> {
    fn others(self) -> String {
        let allowed = match self {
            EffectsHook::Forward => "is none of `post`, `refuse` and `note`",
            EffectsHook::Action(_) => "is neither `note` nor `refuse`, and makes no session say anything",
            EffectsHook::Decided(_) => "is not `note`, and makes no session say anything",
            EffectsHook::Tick(_) => "is not `tell`, and makes no session say anything",
        };
        format!("an effect that {allowed}")
    }

    fn twice(self) -> String {
        match self {
            EffectsHook::Forward => "more than one `post` or `refuse`",
            EffectsHook::Action(_) | EffectsHook::Decided(_) | EffectsHook::Tick(_) => {
                "more than one `refuse`"
            }
        }
        .to_owned()
    }
}

fn may_tell(granted: Granted, agent: &str) -> Result<(), String> {
    if granted.is_none_or(|granted| granted.iter().any(|one| one == agent)) {
        return Ok(());
    }
    Err(format!(
        "it tells the agent `{}` something, and `agents` in its [plugins] section does not name that one",
        agent.escape_debug()
    ))
}

fn checked(text: String) -> Result<String, String> {
    match text.len() {
        ..=TEXT_BYTES_MAX => Ok(text),
        size => Err(format!("a text has {size} bytes, the limit is {TEXT_BYTES_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In words: what is wrong, or what the module wants.
    fn told(hook: EffectsHook, effects: &[Effect]) -> String {
        match read(hook, effects.to_vec()) {
            Err(why) => {
                assert_eq!(fault(hook, effects.to_vec()), Some(why.to_string()));
                format!("wrong: {why}")
            }
            Ok(read) => {
                let outcome = match (&read.post, &read.refusal) {
                    (Some(_), _) => "post".to_owned(),
                    (None, Some(why)) => format!("refuse {why}"),
                    (None, None) => "done".to_owned(),
                };
                let Effects { notes, told, said, scheduled, .. } = &read;
                let [notes, told, said, scheduled] = [notes.len(), told.len(), said.len(), scheduled.len()];
                format!("{outcome} notes={notes} told={told} said={said} scheduled={scheduled}")
            }
        }
    }

    #[test]
    fn which_effects_a_hook_has() {
        let post = || Effect::Post { session: None, text: "x".into() };
        let refuse = || Effect::Refuse { reason: "no\nmore".into() };
        let note = || Effect::Note { text: "n".into() };
        let tell = |agent: &str| Effect::Tell { agent: agent.into(), text: "x".into() };
        let long = |bytes| "x".repeat(bytes);
        let say = |agent: Option<&str>| Effect::Edit {
            agent: agent.map(str::to_owned),
            key: "k".into(),
            text: "x".into(),
        };
        let later =
            |key: &str| Effect::Schedule { key: key.into(), at: None, payload: serde_json::Value::Null };
        let create = || Effect::CreateAgent { name: "x".into(), instructions: None };
        let withdraw = || Effect::WithdrawApproval { key: "k".into() };
        let restart = || Effect::RestartAgent { agent: None, note: "n".into() };
        let granted = ["a".to_owned()];
        let (a, any) = (EffectsHook::Tick(Some(&granted)), EffectsHook::Tick(None));
        let decided = EffectsHook::Decided(Some(&granted));
        for (hook, effects, want) in [
            (EffectsHook::Forward, vec![post()], "post notes=0 told=0"),
            (EffectsHook::Forward, vec![note(), post(), note()], "post notes=2 told=0"),
            (EffectsHook::Forward, vec![refuse(), note()], "refuse no more notes=1 told=0"),
            (EffectsHook::Forward, vec![], "wrong: neither `post` nor `refuse`"),
            (EffectsHook::Forward, vec![note()], "wrong: neither `post` nor `refuse`"),
            (EffectsHook::Forward, vec![post(), refuse()], "wrong: more than one `post` or `refuse`"),
            (EffectsHook::Forward, vec![post(), post()], "wrong: more than one `post` or `refuse`"),
            (
                EffectsHook::Forward,
                vec![Effect::Post { session: None, text: long(TEXT_BYTES_MAX) }],
                "post notes=0 told=0",
            ),
            (EffectsHook::Forward, vec![post(), Effect::Unknown], "wrong: an effect that is none of"),
            (EffectsHook::Forward, vec![post(), tell("a")], "wrong: an effect that is none of"),
            (EffectsHook::Forward, vec![note(); EFFECTS_MAX + 1], "wrong: it asks for 9 effects"),
            (
                EffectsHook::Forward,
                vec![Effect::Note { text: long(TEXT_BYTES_MAX + 1) }],
                "wrong: a text has 1048577 bytes",
            ),
            (EffectsHook::Action(None), vec![], "done notes=0 told=0"),
            (EffectsHook::Action(None), vec![note(), note()], "done notes=2 told=0"),
            (EffectsHook::Action(None), vec![note(), refuse()], "refuse no more notes=1 told=0"),
            (EffectsHook::Action(None), vec![refuse(), refuse()], "wrong: more than one `refuse`"),
            (EffectsHook::Action(None), vec![post()], "wrong: an effect that is neither"),
            (EffectsHook::Action(None), vec![tell("a")], "wrong: an effect that is neither"),
            (EffectsHook::Action(None), vec![Effect::Unknown], "wrong: an effect that is neither"),
            (EffectsHook::Action(None), vec![note(); EFFECTS_MAX + 1], "wrong: it asks for 9"),
            (a, vec![], "done notes=0 told=0"),
            (a, vec![tell("a"), tell("a")], "done notes=0 told=2"),
            (a, vec![tell("a"), tell("b")], "wrong: it tells the agent `b` something, and `agents`"),
            (any, vec![tell("a"), tell("b")], "done notes=0 told=2"),
            (any, vec![note()], "wrong: an effect that is not `tell`"),
            (any, vec![tell("a"); EFFECTS_MAX + 1], "wrong: it asks for 9 effects"),
            (decided, vec![], "done notes=0 told=0"),
            (decided, vec![note(), say(None), say(Some("a"))], "done notes=1 told=0 said=2"),
            (decided, vec![say(Some("b"))], "wrong: it tells the agent `b` something, and `agents`"),
            (decided, vec![refuse()], "wrong: an effect that is not `note`"),
            (decided, vec![tell("a")], "wrong: an effect that is not `note`"),
            (decided, vec![Effect::Unknown], "wrong: an effect that is not `note`"),
            (
                EffectsHook::Action(None),
                vec![say(None), note(), later("k")],
                "done notes=1 told=0 said=1 scheduled=1",
            ),
            (EffectsHook::Action(None), vec![refuse(), say(None)], "refuse no more notes=0 told=0 said=1"),
            (EffectsHook::Action(None), vec![later("")], "wrong: a key is empty"),
            (a, vec![say(Some("a")), later("k"), tell("a")], "done notes=0 told=1 said=1 scheduled=1"),
            (a, vec![say(None)], "wrong: a tick is about no agent"),
            (a, vec![say(Some("b"))], "wrong: it tells the agent `b` something"),
            (EffectsHook::Forward, vec![post(), say(None)], "wrong: an effect that is none of"),
            (EffectsHook::Forward, vec![post(), later("k")], "wrong: an effect that is none of"),
            (EffectsHook::Forward, vec![post(), create()], "wrong: an effect that is none of"),
            (
                EffectsHook::Action(None),
                vec![note(), create()],
                "wrong: this runtime does not do `create_agent` yet",
            ),
            (a, vec![withdraw()], "wrong: this runtime does not do `withdraw_approval` yet"),
            (decided, vec![restart()], "wrong: this runtime does not do `restart_agent` yet"),
            (
                EffectsHook::Action(None),
                vec![Effect::Edit { agent: None, key: "k".into(), text: long(TEXT_BYTES_MAX + 1) }],
                "wrong: a text has 1048577 bytes",
            ),
        ] {
            let told = told(hook, &effects);
            assert!(told.starts_with(want), "{hook:?} {effects:?}: {told}");
        }
    }
}
