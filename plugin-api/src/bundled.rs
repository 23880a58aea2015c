//! Plugins that are linked into the binary. They arrive by `inventory` and go through the same
//! manifest, root and frames as a file from the plugins folder.

use abi_stable::library::LibHeader;

/// One plugin that is linked into the binary.
pub struct Bundled {
    /// The plugin's manifest, as JSON.
    pub manifest: &'static [u8],
    /// The plugin's exported root, the same static that a `.so` of the crate exports.
    pub header: &'static LibHeader,
}

inventory::collect!(Bundled);

/// Every plugin that is linked into this binary.
pub fn bundled() -> impl Iterator<Item = &'static Bundled> {
    inventory::iter::<Bundled>.into_iter()
}
