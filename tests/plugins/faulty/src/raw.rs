//! Bytes that the plugin's process would never send, straight into its socket to the runtime.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::IoSlice;
use std::mem::MaybeUninit;

const CALL: u8 = 3;
const ANSWER: u8 = 4;

/// Sends what the word says.
pub fn send(what: &str) -> String {
    let in_file = |len: u64| len | 1 << 63;
    let memory = || memfd_create("raw", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let sized = |len: u64| {
        let file = memory();
        ftruncate(&file, len).unwrap();
        file
    };
    let seal = |file: &rustix::fd::OwnedFd| {
        fcntl_add_seals(file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).unwrap();
    };
    match what {
        "garbage" => write(&[0x55; 4096], &[]),
        "huge" => write(&u32::MAX.to_le_bytes(), &[]),
        "sum" => write(&packet(CALL, 1, 0, b"{}", &[9]), &[]),
        "unknown-answer" => write(&packet(ANSWER, 1 << 40, 0, b"{}", &[]), &[]),
        "old-answer" => {
            // Call 1 was answered long ago: the second answer changes nothing.
            write(&packet(ANSWER, 1, 0, b"{}", &[]), &[]);
            write(&packet(ANSWER, 1, 0, b"{}", &[]), &[]);
        }
        // The first call started the account; the second is under way, and is answered once more by the SDK.
        "early-answer" => {
            write(&packet(ANSWER, 2, 0, b"{}", &[]), &[]);
        }
        "not-json" => write(&packet(CALL, 7, 0, b"\xff{{{", &[]), &[]),
        "deep" => write(&packet(CALL, 8, 0, "[".repeat(100_000).as_bytes(), &[]), &[]),
        "unsealed" => write(&packet(CALL, 9, 0, b"{}", &[in_file(10)]), &[sized(10).as_fd()]),
        "truncated" => {
            let file = sized(10);
            seal(&file);
            write(&packet(CALL, 9, 0, b"{}", &[in_file(1000)]), &[file.as_fd()]);
        }
        "no-file" => write(&packet(CALL, 9, 0, b"{}", &[in_file(10)]), &[]),
        "files" => {
            let file = sized(10);
            for _ in 0..4 {
                write(&[0], &[file.as_fd(); 60]);
            }
        }
        _ => return format!("no such bytes: {what}"),
    }
    "sent".to_owned()
}

fn packet(kind: u8, id: u64, status: u32, head: &[u8], lengths: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let len = 20 + lengths.len() * 8 + head.len();
    out.extend((len as u32).to_le_bytes());
    out.extend([kind, lengths.len() as u8, 0, 0]);
    out.extend(id.to_le_bytes());
    out.extend(status.to_le_bytes());
    out.extend((head.len() as u32).to_le_bytes());
    lengths.iter().for_each(|len| out.extend(len.to_le_bytes()));
    out.extend(head);
    out
}

fn write(bytes: &[u8], files: &[BorrowedFd<'_>]) {
    // The host's socket is the first descriptor above the three standard ones.
    let socket = unsafe { BorrowedFd::borrow_raw(3) };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(files)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty()).unwrap();
}
