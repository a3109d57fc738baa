//! Messages with descriptors, on sockets between processes that work for one mount or command.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hsci_protocol::line::{MAX_LEN, receive_buffered};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many descriptors a message may come with.
const MOST_FILES: usize = 2;

/// Receives one message of a line, and nothing after it: what follows, and descriptors that come with that, stay for
/// their own reader. `None` if the other side is gone.
pub(crate) fn receive_line<T: DeserializeOwned>(from: &UnixStream) -> std::io::Result<Option<T>> {
    receive_line_while(from, || Ok(()))
}

/// The same from somebody who is not trusted: all of the line must be there at `end`, however it comes.
pub(crate) fn receive_line_before<T: DeserializeOwned>(
    from: &UnixStream,
    end: Instant,
) -> std::io::Result<Option<T>> {
    receive_line_while(from, || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(std::io::ErrorKind::TimedOut.into()),
        rest => from.set_read_timeout(Some(rest)),
    })
}

fn receive_line_while<T: DeserializeOwned>(
    from: &UnixStream,
    may_wait: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut part = [0; 4096];
    while line.last() != Some(&b'\n') && (line.len() as u64) < MAX_LEN {
        may_wait()?;
        let seen = rustix::io::retry_on_intr(|| recv(from, &mut part[..], RecvFlags::PEEK))?.0;
        let end = part[..seen].iter().position(|byte| *byte == b'\n');
        let own = &mut part[..end.map_or(seen, |end| end + 1)];
        match rustix::io::retry_on_intr(|| recv(from, &mut own[..], RecvFlags::empty()))?.0 {
            0 => break,
            len => line.extend(&own[..len]),
        }
    }
    receive_buffered(&mut line.as_slice())
}

/// Sends a descriptor, with a number that says what it is.
pub(crate) fn send_descriptor(
    to: &UnixStream,
    number: u64,
    descriptor: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = number.to_ne_bytes();
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a descriptor and its number, which not every sender has.
pub(crate) fn receive_descriptor(from: &UnixStream) -> std::io::Result<(u64, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let buffers = &mut [IoSliceMut::new(&mut bytes)];
    recvmsg(from, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok((u64::from_ne_bytes(bytes), descriptor));
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// One message: a line of JSON, bytes, and up to [`MOST_FILES`] descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    head: &impl Serialize,
    bytes: &[u8],
    files: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut line = serde_json::to_vec(head).map_err(|_| rustix::io::Errno::INVAL)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(files));
    }
    let parts = [IoSlice::new(&line), IoSlice::new(bytes)];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &parts, &mut ancillary, SendFlags::NOSIGNAL))
        .map(drop)
}

/// The length of the next message, and the descriptors that came with it; 0 when the other end is gone.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let parts = &mut [IoSliceMut::new(buffer)];
        recvmsg(&socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let files = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    Ok((received.bytes, files.flatten().collect()))
}

/// The line of JSON that a message begins with, and the bytes after it.
pub(crate) fn parse<T: DeserializeOwned>(message: &[u8]) -> Option<(T, &[u8])> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    Some((serde_json::from_slice(&message[..end]).ok()?, &message[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_line_leaves_what_follows_and_its_descriptors() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"content").expect("written");
        file.rewind().expect("the beginning");
        let long = "x".repeat(10_000);
        for message in [&long, "short"] {
            ours.write_all(format!("\"{message}\"\n").as_bytes()).expect("sent");
            send_descriptor(&ours, 7, file.as_fd()).expect("sent");
        }
        ours.write_all(b"\"cut off").expect("sent");
        drop(ours);
        for message in [&long, "short"] {
            assert_eq!(receive_line::<String>(&theirs).expect("a line").as_deref(), Some(message));
            let (number, descriptor) = receive_descriptor(&theirs).expect("a descriptor");
            let mut content = String::new();
            let mut file = File::from(descriptor);
            file.read_to_string(&mut content).expect("read");
            file.rewind().expect("the beginning, for both");
            assert_eq!((number, content.as_str()), (7, "content"));
        }
        assert!(receive_line::<String>(&theirs).is_err(), "cut off");
        assert_eq!(receive_line::<String>(&theirs).expect("the end"), None);
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_has_an_end() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let drip = std::thread::spawn(move || {
            while ours.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let end = Instant::now() + Duration::from_millis(100);
        let late = receive_line_before::<String>(&theirs, end).expect_err("no end of a line");
        assert!(matches!(late.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{late}");
        drop(theirs);
        drip.join().expect("it ends with the other side");
    }
}
