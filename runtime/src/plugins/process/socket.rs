//! Sending and receiving bytes with memory files beside them.

use super::packet::{BLOBS_MAX, Packed};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{Error, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;

/// How much is read, and at most sent together, at once.
pub const PART: usize = 256 * 1024;

/// What waits to be sent. Packets without memory files are joined.
#[derive(Debug, Default)]
pub struct Queue {
    parts: VecDeque<Part>,
    /// How many bytes wait.
    pub bytes: usize,
}

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    sent: usize,
    files: Vec<OwnedFd>,
}

impl Queue {
    /// Puts a packet at the end.
    pub fn push(&mut self, packed: Packed) {
        self.bytes += packed.bytes.len();
        if packed.files.is_empty()
            && let Some(last) = self.parts.back_mut()
            && last.bytes.len() + packed.bytes.len() <= PART
        {
            last.bytes.extend_from_slice(&packed.bytes);
            return;
        }
        self.parts.push_back(Part { bytes: packed.bytes, sent: 0, files: packed.files });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes everything, to be sent without holding a lock.
    pub fn take(&mut self) -> Queue {
        std::mem::take(self)
    }

    /// Puts back, before what came meanwhile, what could not be sent yet.
    pub fn put_back(&mut self, mut rest: Queue) {
        rest.parts.append(&mut self.parts);
        rest.bytes += self.bytes;
        *self = rest;
    }

    /// Sends until nothing waits.
    ///
    /// # Errors
    /// The socket takes no more now (`WouldBlock`), or never will.
    pub fn send(&mut self, socket: impl AsFd, flags: SendFlags) -> Result<()> {
        while let Some(part) = self.parts.front_mut() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BLOBS_MAX))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let files: Vec<BorrowedFd<'_>> = part.files.iter().map(AsFd::as_fd).collect();
            if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&files)) {
                return Err(Error::other("too many memory files"));
            }
            let slice = [IoSlice::new(&part.bytes[part.sent..])];
            let sent = match sendmsg(&socket, &slice, &mut beside, flags | SendFlags::NOSIGNAL) {
                Ok(sent) => sent,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            part.files.clear(); // they went with the first byte
            part.sent += sent;
            self.bytes -= sent;
            if part.sent == part.bytes.len() {
                self.parts.pop_front();
            }
        }
        Ok(())
    }
}

/// Reads what is there; 0 bytes at the end.
///
/// # Errors
/// The socket failed, or more memory files came than one packet may have.
pub fn receive(socket: impl AsFd, into: &mut [u8], flags: RecvFlags) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BLOBS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(into)], &mut beside, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut files = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            files.extend(came);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Error::other("more memory files came than a frame may have"));
    }
    Ok((got.bytes, files))
}
