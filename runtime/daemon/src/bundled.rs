//! The one list of plugins that are linked in. A crate that nobody names is not linked at all.

use vestibule_github as _;
use vestibule_telegram as _;
use vestibule_terminal as _;

/// The channel types of the plugins above.
const CHANNELS: [&str; 3] = ["github", "telegram", "terminal"];

/// Makes sure that every plugin above has registered itself.
pub fn link() {
    let linked = vestibule_plugin_api::bundled::bundled().count();
    debug_assert_eq!(linked, CHANNELS.len(), "a linked-in plugin did not register itself");
}

#[cfg(test)]
mod tests {
    use vestibule_plugin_api::Manifest;
    use vestibule_plugin_api::bundled::bundled;

    #[test]
    fn every_plugin_of_the_list_has_registered_itself() {
        let manifests = bundled().map(|plugin| Manifest::parse(plugin.manifest).expect("a manifest"));
        let mut channels: Vec<String> = manifests.map(|manifest| manifest.channel_type).collect();
        channels.sort();
        assert_eq!(channels, super::CHANNELS);
    }
}
