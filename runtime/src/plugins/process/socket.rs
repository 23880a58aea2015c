//! Sending and receiving bytes with memory files beside them.

use super::packet::{BLOBS_MAX, Packed};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, fstat};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{Error, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;

/// How much is read, and at most sent together, at once.
pub const PART: usize = 256 * 1024;
/// The most descriptors that the kernel lets travel with one message (`SCM_MAX_FD`). With less room the kernel would close
/// the others here, while it receives.
const FILES_MAX: usize = 253;

/// A descriptor that another process chose, or in which such ones may wait. To close one may take as long as that process
/// wants: of a socket, until its other side has taken everything. So it is closed aside, unless it is a file.
#[derive(Debug)]
pub struct Foreign(Option<OwnedFd>);

impl From<OwnedFd> for Foreign {
    fn from(descriptor: OwnedFd) -> Foreign {
        Foreign(Some(descriptor))
    }
}

impl Foreign {
    /// The descriptor, to be read from, until it is closed.
    pub fn open(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// The descriptor, which a trusted process chose: to close it takes no time.
    pub fn trusted(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let Some(descriptor) = self.0.take() else { return };
        let is_file = fstat(&descriptor)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if !is_file {
            // Where no thread can be started, it is closed here.
            let _ = std::thread::Builder::new().name("vst-closer".to_owned()).spawn(move || drop(descriptor));
        }
    }
}

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
pub fn receive(socket: impl AsFd, into: &mut [u8], flags: RecvFlags) -> Result<(usize, Vec<Foreign>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
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
            files.extend(came.map(Foreign::from));
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Error::other("more memory files came than a frame may have"));
    }
    Ok((got.bytes, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    /// A socket whose end waits for ten seconds, as long as its other side, which is there, takes nothing.
    fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[7; 64 * 1024]).is_ok() {}
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::from_secs(10))).unwrap();
        (socket.into(), other)
    }

    fn send(to: &UnixStream, files: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(beside.push(SendAncillaryMessage::ScmRights(files)));
        sendmsg(to, &[IoSlice::new(b"x")], &mut beside, SendFlags::empty()).unwrap();
    }

    #[test]
    fn no_descriptor_that_another_process_chose_holds_up_who_closes_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let [(one, _a), (among_many, _b), (unread, _c)] = [lingering(), lingering(), lingering()];
        let begin = Instant::now();
        let mut part = [0; 8];
        send(&theirs, &[one.as_fd()]);
        drop(std::thread::spawn(move || drop(one)));
        drop(receive(&ours, &mut part, RecvFlags::empty()).unwrap());
        // More than a packet has: those for which there is no room are closed as well.
        let null = std::fs::File::open("/dev/null").unwrap();
        let many: Vec<_> =
            std::iter::repeat_n(null.as_fd(), FILES_MAX - 1).chain([among_many.as_fd()]).collect();
        send(&theirs, &many);
        drop(many);
        drop(std::thread::spawn(move || drop(among_many)));
        assert_eq!(receive(&ours, &mut part, RecvFlags::empty()).unwrap().1.len(), FILES_MAX);
        // What nothing has read ends with the socket.
        send(&theirs, &[unread.as_fd()]);
        drop(std::thread::spawn(move || drop(unread)));
        std::thread::sleep(Duration::from_millis(300));
        drop(Foreign::from(OwnedFd::from(ours)));
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}
