//! Places that are not surely root's: opened once, and used by descriptor from then on.
//!
//! A path is looked at by its owners. As long as all directories on the way are such that nobody but
//! root can change them, it means what root once made it mean. From the first directory on that
//! somebody else can change, every name is that person's word: no symbolic link is followed there,
//! and what was opened is not looked up again.

pub(crate) mod case;
mod look;
mod path;
mod private;
mod server;

pub(crate) use self::look::open_mount;
pub use self::look::{find_mount, look, mount_containing, read};
pub(crate) use self::path::failure;
pub use self::path::{Place, open, open_dir, open_file, open_parent};
pub(crate) use self::private::{
    Owners, Private, Refused, keep_own_user, open_below, open_private, own_user,
};
pub(crate) use self::server::{device_of, known};

/// Stops where a test has asked for it, so that races are won on purpose: `HSCI_PAUSE=NAME:FILE` has
/// this process make FILE when it comes to the point NAME, and go on when FILE is gone.
#[cfg(debug_assertions)]
pub fn pause(point: &str) {
    let Ok(wanted) = std::env::var("HSCI_PAUSE") else { return };
    let Some((_, file)) = wanted.split_once(':').filter(|(name, _)| *name == point) else { return };
    if std::fs::write(file, point).is_err() {
        return;
    }
    while std::path::Path::new(file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Optimised builds have no such points.
#[cfg(not(debug_assertions))]
pub fn pause(_: &str) {}
