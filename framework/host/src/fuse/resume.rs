//! Going on with a connection that an earlier worker has begun.
//!
//! The kernel says INIT once, while a session of fuser begins with it. So the session is made on a
//! socket, from which it reads an INIT like the kernel's, and then gets the device in its place.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fuser::{Config, Session, SessionACL};
use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::adapter::Adapter;
use crate::sys::descriptors::replace;
use crate::takeover::Offer;

const INIT: u32 = 26;
/// `struct fuse_in_header` and `struct fuse_init_in`.
const INIT_LEN: usize = 40 + 64;
/// `FUSE_NOTIFY_RESEND` (Linux 6.9): the kernel sends again what it has no answer to.
const RESEND: i32 = 7;

/// A session on a device whose connection has begun with this offer.
pub(super) fn session(
    adapter: Adapter,
    device: &OwnedFd,
    config: Config,
    offer: &Offer,
) -> std::io::Result<Session<Adapter>> {
    let session = join(adapter, device.as_fd(), config, offer)?;
    resend(device.as_fd())?;
    Ok(session)
}

/// One more session beside those that serve a device already.
pub(super) fn join(
    adapter: Adapter,
    device: BorrowedFd<'_>,
    config: Config,
    offer: &Offer,
) -> std::io::Result<Session<Adapter>> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    write(&ours, &init_request(offer))?;
    let session = Session::from_fd(adapter, theirs, SessionACL::All, config)?;
    // The answer tells the kernel nothing that it does not know.
    let mut answer = [MaybeUninit::uninit(); 256];
    read(&ours, &mut answer)?;
    replace(session.as_fd().as_raw_fd(), device)?;
    Ok(session)
}

fn init_request(offer: &Offer) -> [u8; INIT_LEN] {
    let words = [
        (0, INIT_LEN as u32),
        (4, INIT),
        // The number of the request.
        (8, 1),
        (40, offer.major),
        (44, offer.minor),
        (48, offer.max_readahead),
        (52, offer.flags as u32),
        (56, (offer.flags >> 32) as u32),
    ];
    let mut request = [0; INIT_LEN];
    for (at, word) in words {
        request[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    request
}

/// Asks for the requests that earlier workers have read and not answered.
fn resend(device: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut notice = [0; 16];
    notice[..4].copy_from_slice(&16_u32.to_ne_bytes());
    notice[4..8].copy_from_slice(&RESEND.to_ne_bytes());
    write(device, &notice)?;
    Ok(())
}
