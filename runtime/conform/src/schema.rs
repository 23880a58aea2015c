//! The schema that the plugin describes, and whether its start holds to it: the runtime looks at the schema only.

use crate::report::Outcome;
use crate::trial::{Said, Trial};
use serde_json::{Value, json};
use vestibule_plugin_api::{ConfigKey, KeyType};

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    let described = trial
        .harness()
        .file
        .describe()
        .await
        .map(|description| description.config)
        .map_err(|why| why.to_string());
    trial.schema = described.as_ref().ok().cloned().flatten();
    trial
        .check("schema", async |_| {
            let Some(schema) = described? else {
                return Ok(Outcome::Skipped(
                    "it does not describe its config: config! does, and the runtime then answers a typo before the start"
                        .into(),
                ));
            };
            let names: Vec<&str> = schema.keys.iter().map(|key| key.key.as_str()).collect();
            Ok(Outcome::Ok(match names.len() {
                0 => "its config has no keys".to_owned(),
                _ => format!("its config has the keys {}", names.join(", ")),
            }))
        })
        .await;
    trial.check("schema and start", agree).await;
}

/// The start must refuse what the schema does not allow, and name the key.
async fn agree(trial: &Trial) -> Result<Outcome, String> {
    let Some(schema) = &trial.schema else {
        return Ok(Outcome::Skipped("it does not describe its config".into()));
    };
    if let Some(key) = schema.keys.iter().find(|key| key.required && trial.config.get(&key.key).is_none()) {
        return Ok(Outcome::Skipped(format!(
            "the config lacks \"{}\", which it needs: give it with --set or --config",
            key.key
        )));
    }
    let mut tried = 0;
    for key in schema.keys.iter().filter(|key| !trial.manifest().is_runtimes_key(&key.key)) {
        for (what, config) in misfits(&trial.config, key) {
            let said = trial.start(config).await;
            let words = said.words()?;
            if let Said::Done(_) = said {
                trial.stop().await.words()?;
                return Err(format!("its account starts {what}, which its schema does not allow"));
            }
            if !words.contains(&key.key) {
                return Err(format!("{what} it does not start, and does not name the key: {words}"));
            }
            tried += 1;
        }
    }
    Ok(Outcome::Ok(format!("its start refuses {tried} configs that the schema does not allow")))
}

/// The config with this key made wrong in each way. Pure.
fn misfits(config: &Value, key: &ConfigKey) -> Vec<(String, Value)> {
    let name = &key.key;
    let mut wrong = Vec::new();
    if let (true, Some(mut without)) = (key.required, config.as_object().cloned()) {
        without.remove(name);
        wrong.push((format!("without \"{name}\""), Value::Object(without)));
    }
    let other = match key.kind {
        KeyType::String | KeyType::List | KeyType::Table => json!(7),
        KeyType::Integer | KeyType::Number | KeyType::Boolean => json!("words"),
        KeyType::Any | KeyType::Unknown => return wrong,
    };
    let mut config = config.clone();
    config[name] = other;
    wrong.push((format!("with \"{name}\" that is no {}", key.kind.word()), config));
    wrong
}
