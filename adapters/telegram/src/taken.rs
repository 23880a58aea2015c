//! Which updates were handed over last. Telegram posts an update again when it does not hear of success: such a one is not
//! held anew as the beginning of a message, for the runtime knows it, and would not take what joins it either.

use std::collections::VecDeque;
use vestibule_plugin_api::{Result, Runtime, StateWrite};

/// The state key of the numbers.
const TAKEN: &str = "taken";
/// How many numbers are known. Telegram has at most 100 updates under way at once, and posts one again soon.
const TAKEN_MAX: usize = 256;

/// The numbers of the updates that were handed over last, in that order.
#[derive(Debug, Default)]
pub struct Taken(VecDeque<i64>);

impl Taken {
    /// Reads the numbers that were noted before the channel last ended.
    pub async fn load(runtime: &Runtime) -> Result<Taken> {
        let kept = runtime.state_get(TAKEN).await?.unwrap_or_default();
        Ok(Taken(serde_json::from_str(&kept).unwrap_or_default()))
    }

    /// Whether this update was handed over.
    pub fn has(&self, number: i64) -> bool {
        self.0.contains(&number)
    }

    /// Notes updates that are being handed over. Returns the write that belongs to their commit.
    pub fn note(&mut self, numbers: impl IntoIterator<Item = i64>) -> StateWrite {
        self.0.extend(numbers);
        self.0.drain(..self.0.len().saturating_sub(TAKEN_MAX));
        StateWrite::set(TAKEN, serde_json::to_string(&self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::STATE_VALUE_BYTES_MAX;
    use vestibule_plugin_api::testing::ScriptedRuntime;

    #[tokio::test]
    async fn the_last_numbers_are_known_over_restarts() {
        let (scripted, mut taken) = (ScriptedRuntime::new(), Taken::default());
        let runtime = scripted.runtime("main");
        let most = i64::MAX - TAKEN_MAX as i64;
        taken.note([1, 2]);
        let write = taken.note((0..TAKEN_MAX as i64 - 1).map(|number| most + number));
        assert!(write.value.as_ref().is_some_and(|value| value.len() < STATE_VALUE_BYTES_MAX));
        runtime.state_set(vec![write]).await.expect("it is kept");
        let taken = Taken::load(&runtime).await.expect("it is there");
        assert_eq!(
            (taken.0.len(), taken.has(1), taken.has(2), taken.has(most)),
            (TAKEN_MAX, false, true, true)
        );
        let other = Taken::load(&scripted.runtime("other")).await.expect("it has none");
        assert!(!other.has(2), "each account has its own");
    }
}
