//! Having the kernel forget names that nobody uses, of users who have made it know more than their share.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use hsci_extension::Ino;
use rustix::io::write;

use crate::lower::LowerTree;

/// `FUSE_NOTIFY_PRUNE` (Linux 6.18): the kernel drops what it does not use of some inodes.
const PRUNE: i32 = 9;
/// `struct fuse_out_header` and `struct fuse_notify_prune_out`.
const HEAD_LEN: usize = 16 + 16;
/// Inodes of one notice.
const MOST: usize = 256;

/// Users who are to give some back.
pub(super) type Due = SyncSender<u32>;

/// Begins a thread of its own: the kernel may wait for an answer meanwhile.
pub(super) fn start(device: OwnedFd, tree: Arc<LowerTree>) -> std::io::Result<Due> {
    // Another user's turn comes again when it is missed.
    let (due, users) = sync_channel(16);
    let prune = move || {
        for user in users {
            for inodes in tree.surplus_of(user).chunks(MOST) {
                if let Err(errno) = write(&device, &notice(inodes)) {
                    // An older kernel: it gives back under pressure alone.
                    log::debug!("names that nobody uses stay known: {errno}");
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("prune".to_owned()).spawn(prune)?;
    Ok(due)
}

fn notice(inodes: &[Ino]) -> Vec<u8> {
    let len = HEAD_LEN + 8 * inodes.len();
    let mut notice = vec![0; HEAD_LEN];
    for (at, word) in [(0, len as u32), (4, PRUNE as u32), (16, inodes.len() as u32)] {
        notice[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    notice.extend(inodes.iter().flat_map(|ino| ino.0.to_ne_bytes()));
    notice
}
