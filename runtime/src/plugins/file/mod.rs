//! A plugin as a file: read, checked, trusted, tried and opened, and the folder in which files appear and go.

pub(super) mod describe;
pub(super) mod elf;
pub(super) mod examine;
pub(super) mod fit;
pub(super) mod folder;
pub(super) mod load;
pub(super) mod opening;
pub(super) mod pins;
pub(super) mod rehearsal;
pub(super) mod trust;
