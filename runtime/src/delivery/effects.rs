//! What a module may answer with: which effects each hook has, and how many. Pure.

use crate::id::SessionId;
use crate::plugins::bounded;
use vestibule_plugin_api::{EFFECTS_MAX, Effect, TEXT_BYTES_MAX};

/// The hook at which a module was asked, and answers with effects.
#[derive(Debug, Clone, Copy)]
pub enum EffectsHook<'a> {
    /// About a message between agents: one `post` or one `refuse`, and notes.
    Forward,
    /// About what an agent wants done: notes, and one `refuse`.
    Action,
    /// From time to time: words for agents.
    Tick {
        /// The agents to which the operator lets the module write; `None`: any.
        granted: Option<&'a [String]>,
    },
}

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
}

/// A module's answer about one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The effects that it wants.
    pub effects: Effects,
    /// How many programs have written in a row before this answer.
    pub hops: u32,
}

/// Sorts a module's answer.
///
/// # Errors
/// It has an effect that this hook does not have, or too many of one kind. Then none of them is performed.
pub fn read(hook: EffectsHook, effects: Vec<Effect>) -> Result<Effects, String> {
    if effects.len() > EFFECTS_MAX {
        return Err(format!("it asks for {} effects, the limit is {EFFECTS_MAX}", effects.len()));
    }
    let mut read = Effects::default();
    for effect in effects {
        match (hook, effect) {
            (EffectsHook::Forward, Effect::Post { .. } | Effect::Refuse { .. })
            | (EffectsHook::Action, Effect::Refuse { .. })
                if read.has_outcome() =>
            {
                return Err(hook.twice());
            }
            (EffectsHook::Forward, Effect::Post { session, text }) => {
                read.post = Some(Post { session: session.map(SessionId::new), text: checked(text)? });
            }
            (EffectsHook::Forward | EffectsHook::Action, Effect::Refuse { reason }) => {
                read.refusal = Some(bounded(&reason))
            }
            (EffectsHook::Forward, Effect::Note { text }) => read.notes.push(bounded(&checked(text)?)),
            (EffectsHook::Action, Effect::Note { text }) => read.notes.push(checked(text)?),
            (EffectsHook::Tick { granted }, Effect::Tell { agent, text }) => {
                if granted.is_some_and(|granted| !granted.contains(&agent)) {
                    return Err(not_granted(&agent));
                }
                read.told.push((agent, checked(text)?));
            }
            _ => return Err(hook.others()),
        }
    }
    if matches!(hook, EffectsHook::Forward) && !read.has_outcome() {
        return Err("neither `post` nor `refuse`".to_owned());
    }
    Ok(read)
}

/// Why the runtime would refuse such an answer; `None` when it would not.
pub fn fault(hook: EffectsHook, effects: Vec<Effect>) -> Option<String> {
    read(hook, effects).err()
}

impl Effects {
    fn has_outcome(&self) -> bool {
        self.post.is_some() || self.refusal.is_some()
    }
}

impl EffectsHook<'_> {
    fn others(self) -> String {
        let allowed = match self {
            EffectsHook::Forward => "is none of `post`, `refuse` and `note`",
            EffectsHook::Action => "is neither `note` nor `refuse`",
            EffectsHook::Tick { .. } => "is not `tell`",
        };
        format!("an effect that {allowed}")
    }

    fn twice(self) -> String {
        match self {
            EffectsHook::Forward => "more than one `post` or `refuse`".to_owned(),
            EffectsHook::Action | EffectsHook::Tick { .. } => "more than one `refuse`".to_owned(),
        }
    }
}

fn not_granted(agent: &str) -> String {
    format!(
        "it tells the agent `{}` something, and `agents` in its [plugins] section does not name that one",
        agent.escape_debug()
    )
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
                assert_eq!(fault(hook, effects.to_vec()), Some(why.clone()));
                format!("wrong: {why}")
            }
            Ok(read) => {
                let outcome = match (&read.post, &read.refusal) {
                    (Some(_), _) => "post".to_owned(),
                    (None, Some(why)) => format!("refuse {why}"),
                    (None, None) => "done".to_owned(),
                };
                format!("{outcome} notes={} told={}", read.notes.len(), read.told.len())
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
        let granted = ["a".to_owned()];
        let (a, any) = (EffectsHook::Tick { granted: Some(&granted) }, EffectsHook::Tick { granted: None });
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
            (EffectsHook::Action, vec![], "done notes=0 told=0"),
            (EffectsHook::Action, vec![note(), note()], "done notes=2 told=0"),
            (EffectsHook::Action, vec![note(), refuse()], "refuse no more notes=1 told=0"),
            (EffectsHook::Action, vec![refuse(), refuse()], "wrong: more than one `refuse`"),
            (EffectsHook::Action, vec![post()], "wrong: an effect that is neither"),
            (EffectsHook::Action, vec![tell("a")], "wrong: an effect that is neither"),
            (EffectsHook::Action, vec![Effect::Unknown], "wrong: an effect that is neither"),
            (EffectsHook::Action, vec![note(); EFFECTS_MAX + 1], "wrong: it asks for 9"),
            (a, vec![], "done notes=0 told=0"),
            (a, vec![tell("a"), tell("a")], "done notes=0 told=2"),
            (a, vec![tell("a"), tell("b")], "wrong: it tells the agent `b` something, and `agents`"),
            (any, vec![tell("a"), tell("b")], "done notes=0 told=2"),
            (any, vec![note()], "wrong: an effect that is not `tell`"),
            (any, vec![tell("a"); EFFECTS_MAX + 1], "wrong: it asks for 9 effects"),
        ] {
            let told = told(hook, &effects);
            assert!(told.starts_with(want), "{hook:?} {effects:?}: {told}");
        }
    }
}
