//! Telling a manager of services, such as systemd, how the mount does: sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The mount can be used.
pub(super) fn ready() {
    send("READY=1");
}

/// The mount is being ended.
pub(super) fn stopping() {
    send("STOPPING=1");
}

/// Reports again and again that this process is alive, as often as it is wanted; `look` is what a process
/// that hangs does not come back from.
pub(super) fn keep_alive(look: impl Fn() + Send + 'static) {
    let wanted = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    let Some(interval) = wanted.map(Duration::from_micros) else { return };
    let report = move || {
        loop {
            look();
            send("WATCHDOG=1");
            std::thread::sleep(interval / 3);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("watchdog".to_owned()).spawn(report) {
        log::warn!("no sign of life: {error}");
    }
}

/// Nothing happens where nobody listens.
fn send(state: &str) {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        log::debug!("{name}: {error}");
    }
}
