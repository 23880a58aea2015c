//! The bytes of a file. Cloning one copies nothing.

#[cfg(feature = "abi")]
use abi_stable::std_types::RVec;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "abi")]
type Bytes = RVec<u8>;
#[cfg(not(feature = "abi"))]
type Bytes = Vec<u8>;

/// Bytes that belong to a message: read it as a `[u8]`, make it from a `Vec<u8>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Blob(State);

/// On the wire a blob is its number among the frame's blobs; everywhere else it is the bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
enum State {
    Here(Arc<Bytes>),
    Numbered(u32),
}

impl From<u32> for State {
    fn from(number: u32) -> State {
        State::Numbered(number)
    }
}

impl From<State> for u32 {
    /// Bytes that the writer did not move beside the head have no number: the reader will not find them.
    fn from(state: State) -> u32 {
        match state {
            State::Here(_) => u32::MAX,
            State::Numbered(number) => number,
        }
    }
}

#[cfg(feature = "abi")]
impl Blob {
    pub(crate) fn numbered(number: usize) -> Blob {
        Blob(State::Numbered(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    pub(crate) fn number(&self) -> Option<usize> {
        match self.0 {
            State::Here(_) => None,
            State::Numbered(number) => usize::try_from(number).ok(),
        }
    }

    /// The bytes; copied only while another `Blob` shares them.
    pub(crate) fn into_rvec(self) -> RVec<u8> {
        match self.0 {
            State::Here(bytes) => Arc::try_unwrap(bytes).unwrap_or_else(|shared| (*shared).clone()),
            State::Numbered(_) => RVec::new(),
        }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            State::Here(bytes) => bytes.as_slice(),
            State::Numbered(_) => &[],
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        #[allow(clippy::useless_conversion, reason = "with the feature `abi` it converts")]
        Blob(State::Here(Arc::new(bytes.into())))
    }
}

#[cfg(feature = "abi")]
impl From<RVec<u8>> for Blob {
    fn from(bytes: RVec<u8>) -> Blob {
        Blob(State::Here(Arc::new(bytes)))
    }
}

/// Shows the length only: a file's contents do not belong in a log.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
