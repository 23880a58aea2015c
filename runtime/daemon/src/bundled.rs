//! The one list of plugins that are linked in. A crate that no line names is not linked at all.

use vestibule_agent_to_agent as _;
use vestibule_github as _;
use vestibule_slack as _;
use vestibule_telegram as _;
use vestibule_terminal as _;
use vestibule_whatsapp as _;

/// The names of the plugins above.
const NAMES: [&str; 6] = ["agent-to-agent", "github", "slack", "telegram", "terminal", "whatsapp"];

/// Makes sure that every plugin above has registered itself.
pub fn link() {
    let linked = vestibule_plugin_api::bundled::bundled().count();
    debug_assert_eq!(linked, NAMES.len(), "a linked-in plugin did not register itself");
}

#[cfg(test)]
mod tests {
    use vestibule_plugin_api::Manifest;
    use vestibule_plugin_api::bundled::bundled;

    #[test]
    fn every_plugin_of_the_list_has_registered_itself() {
        let manifests = bundled().map(|plugin| Manifest::parse(plugin.manifest).expect("a manifest"));
        let mut names: Vec<String> = manifests.map(|manifest| manifest.name).collect();
        names.sort();
        assert_eq!(names, super::NAMES);
    }
}
