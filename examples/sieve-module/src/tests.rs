//! The module before a scripted runtime: no running Vestibule, no file.

use super::*;
use vestibule_plugin_api::testing::{self, ScriptedRuntime};

async fn started(config: &str) -> SieveModule {
    let runtime = ScriptedRuntime::new().for_module();
    let config = testing::module_config::<SieveModule>(config).expect("it fits");
    SieveModule::start(config, runtime.runtime(ACCOUNT_MAIN)).await.expect("it starts")
}

#[tokio::test]
async fn a_forbidden_word_is_refused_and_its_parts_are_not() {
    let module = started(r#"{ "forbidden": ["Rude"] }"#).await;
    for (text, passes) in [("good day", true), ("how RUDE!", false), ("crude oil", true), ("", true)] {
        let verdict = module.screen(testing::screened(text)).await.expect("answered");
        assert_eq!(verdict == Verdict::Allow, passes, "{text}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_forbidden_word_does_not_pass_in_a_quote_or_a_name() {
    let module = started(r#"{ "forbidden": ["rude"] }"#).await;
    let quoting = testing::screened_quoting("well?", "so rude");
    let mut named = testing::screened("hello");
    named.sender.name = Some("Rude Rudi".to_owned());
    for message in [quoting, named] {
        let verdict = module.screen(message.clone()).await.expect("answered");
        assert!(matches!(verdict, Verdict::Refuse { .. }), "{message:?}: {verdict:?}");
    }
    assert_eq!(module.screen(testing::screened_quoting("well?", "so kind")).await, Ok(Verdict::Allow));
}

#[tokio::test]
async fn a_key_is_taken_out_and_the_rest_stays() {
    let module = started("{}").await;
    let said = "Use `ghp_0123456789abcdef`,\n\tor sk-ant-api03-x_Y9. ";
    let verdict = module.review(testing::reviewed(said)).await;
    let text = "Use `[a key was removed]`,\n\tor [a key was removed]. ".to_owned();
    assert_eq!(verdict, Ok(Verdict::replace(text)));
    for said in ["sk-8 is a road", "no key here: task-force-of-the-year", "ключ 🗝 é\u{301}"] {
        assert_eq!(module.review(testing::reviewed(said)).await, Ok(Verdict::Allow), "{said}");
    }
    let mut named = testing::reviewed("see the file");
    named.files = vec!["ghp_0123456789abcdef.txt".to_owned()];
    assert!(matches!(module.review(named).await, Ok(Verdict::Refuse { .. })), "a name cannot be replaced");
}

#[tokio::test]
async fn a_config_that_cannot_be_meant_is_told() {
    let runtime = ScriptedRuntime::new().for_module();
    for (config, words) in
        [(r#"{ "keys": [""] }"#, "`keys`"), (r#"{ "forbidden": ["two words"] }"#, "`two words`")]
    {
        let config = testing::module_config::<SieveModule>(config).expect("it fits");
        let told = SieveModule::start(config, runtime.runtime(ACCOUNT_MAIN)).await.err().expect("refused");
        assert!(told.reason().contains(words), "{told:?}");
    }
    assert!(testing::module_config::<SieveModule>(r#"{ "forbiden": [] }"#).is_err(), "a typo");
}
