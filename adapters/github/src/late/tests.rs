//! What comes late, over a runtime that takes its time.

use super::*;
use vestibule_plugin_api::Sender;
use vestibule_plugin_api::testing::ScriptedRuntime;

fn message(id: &str, at: Timestamp) -> Event {
    Event::Message(Box::new(InboundMessage {
        event_id: id.into(),
        message_id: id.into(),
        platform_id: "c".into(),
        sender: Sender { handle: "u".into(), ..Default::default() },
        timestamp: at,
        ..InboundMessage::default()
    }))
}

fn change(id: &str, of: &str, at: Timestamp, what: Changed) -> Event {
    Event::Change(Box::new(Change {
        event_id: id.into(),
        message_id: of.into(),
        platform_id: "c".into(),
        thread_id: None,
        sender: Sender { handle: "u".into(), ..Default::default() },
        timestamp: at,
        is_group: true,
        what,
    }))
}

fn ago(minutes: i64) -> Timestamp {
    Timestamp(Timestamp::now().0 - minutes * 60_000)
}

#[tokio::test]
async fn what_is_late_is_handed_over_together_and_in_order() {
    let runtime = ScriptedRuntime::new();
    let (handle, late) = (runtime.runtime("main"), Arc::new(Late::default()));
    let said = |id: &str, at| {
        let (late, handle, message) = (late.clone(), handle.clone(), message(id, at));
        tokio::spawn(async move { late.take(&handle, message).await })
    };
    let all = [said("b", ago(20)), said("a", ago(30)), said("c", ago(10))];
    late.take(&handle, message("now", ago(0))).await.expect("taken");
    for one in all {
        one.await.expect("it ends").expect("taken");
    }
    let ids: Vec<String> = runtime.messages().into_iter().map(|message| message.event_id).collect();
    assert_eq!(ids, ["now", "a", "b", "c"]);
    // The next that is late is taken, too.
    late.take(&handle, message("d", ago(10))).await.expect("taken");
}

#[tokio::test]
async fn what_changes_a_message_that_waits_waits_behind_it() {
    let runtime = ScriptedRuntime::new();
    let (handle, late) = (runtime.runtime("main"), Arc::new(Late::default()));
    let edited = |of: &str, minutes| {
        let what = Changed::Edited { text: "x".into(), is_mention: false };
        change("edited", of, ago(minutes), what)
    };
    let (task, all) = (late.clone(), handle.clone());
    let waiting = tokio::spawn(async move { task.take(&all, message("a", ago(20))).await });
    while locked(&late.queue).waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let waits = |event: &Event| late.waits(event, Timestamp::now());
    assert!(waits(&edited("a", 0)), "its message waits");
    assert!(!waits(&edited("b", 0)), "its message was taken long ago");
    assert!(waits(&edited("b", 20)));
    assert!(!waits(&message("a", ago(0))));
    late.take(&handle, edited("a", 0)).await.expect("taken");
    assert_eq!(runtime.messages().len(), 1, "the message went first");
    waiting.await.expect("it ends").expect("taken");
    assert!(!waits(&edited("a", 0)), "nothing waits any more");
}

#[tokio::test]
async fn a_message_comes_before_its_edit_and_that_before_its_deletion() {
    let runtime = ScriptedRuntime::new().runtime("main");
    let mut queue = Queue::default();
    let at = ago(20);
    let edit = Changed::Edited { text: "x".into(), is_mention: false };
    for event in [
        change("deleted", "a", at, Changed::Deleted),
        change("edited", "a", at, edit),
        message("a", at),
        message("older", ago(30)),
    ] {
        let (taken, _) = oneshot::channel();
        queue.waiting.push(Waiting { event, runtime: runtime.clone(), taken });
    }
    let mut ids = Vec::new();
    while let Some(next) = queue.next() {
        assert!(queue.has(&next.event.of()), "it is under way");
        ids.push(match next.event {
            Event::Message(message) => message.event_id,
            Event::Change(change) => change.event_id,
        });
    }
    assert_eq!(ids, ["older", "a", "edited", "deleted"]);
}

#[test]
fn what_is_late() {
    for (at, want) in [(10_000_000, false), (9_700_000, false), (9_699_999, true), (20_000_000, false)] {
        assert_eq!(is_late(&message("m", Timestamp(at)), Timestamp(10_000_000)), want, "{at}");
    }
}
