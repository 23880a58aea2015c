//! An agent's Markdown (CommonMark, tables, strikethrough, task lists) in the dialect of a platform, cut into messages
//! that each stand by themselves: a fence, tag or bold word that a cut would open is closed there and opened again.
//! Pure.

mod cut;
mod dialect;
mod render;
mod source;

pub use cut::Unit;
pub use dialect::Dialect;
pub use source::source;
use std::ops::Range;

/// The text as one message, however long.
pub fn whole(text: &str, dialect: Dialect) -> String {
    messages(text, dialect, Unit::Characters, usize::MAX).pop().unwrap_or_default()
}

/// The parts of a text, by their bytes, that are read as words: no code, no link's words or address, no HTML.
pub fn words(text: &str) -> Vec<Range<usize>> {
    render::words(text)
}

/// The text as messages of at most `most` units each (256, if that is less). A text of blanks only has none.
pub fn messages(text: &str, dialect: Dialect, unit: Unit, most: usize) -> Vec<String> {
    let most = most.max(256);
    cut::cut(&render::render(text, dialect, most / 2), unit, most)
}

#[cfg(test)]
mod tests;
