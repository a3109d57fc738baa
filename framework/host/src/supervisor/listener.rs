//! Where the supervisor of a mount is asked.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_protocol::control::{Caller, Command, Reply, Request};
use hsci_protocol::failure::{Exit, Failure};
use hsci_protocol::line::send;
use parking_lot::Mutex;
use rustix::process::geteuid;

use super::internal;
use crate::control::sweep;
use crate::mounts::Mounted;
use crate::passing::receive_line_before;
use crate::run_dir::{self, Directory};

/// A caller has this long to ask, and to take the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// One user may have so many connections at a time.
const MOST_BY_USER: usize = 8;

/// All users but root and who has mounted may have so many: one person may be many users, in a namespace.
const MOST: usize = 256;

/// What answers.
pub(super) trait Respond: Send + Sync + 'static {
    fn answer(&self, caller: Caller, command: Command) -> Reply;
}

/// A socket on which requests are taken. Its name goes with the value.
pub(super) struct Listener {
    directory: Directory,
    name: PathBuf,
    /// How many connections each user has.
    users: Users,
}

type Users = Arc<Mutex<HashMap<u32, usize>>>;

impl Listener {
    /// Listens for a mount from now on.
    pub(super) fn start(mounted: &Mounted, desk: impl Respond) -> Result<Self, Failure> {
        let directory = run_dir::own().map_err(|why| Failure::new(Exit::Impossible, why))?;
        let fail = |error: std::io::Error| internal("the control socket", &error);
        sweep();
        let name = PathBuf::from(crate::control::socket_name(mounted, std::process::id()));
        let path = directory.path(&name);
        let socket = UnixListener::bind(&path).map_err(fail)?;
        let listener = Self { directory, name, users: Users::default() };
        // Everybody may ask; the answer depends on who asks.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).map_err(fail)?;
        let users = Arc::clone(&listener.users);
        let listen = move || listen(&socket, &Arc::new(desk), &users);
        std::thread::Builder::new().name("listen".to_owned()).spawn(listen).map_err(fail)?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.directory.path(&self.name));
        // Who has asked gets an answer before this process ends.
        let begun = Instant::now();
        while !self.users.lock().is_empty() && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn listen(socket: &UnixListener, desk: &Arc<impl Respond>, users: &Users) {
    for connection in socket.incoming() {
        let Ok(connection) = connection else {
            // For want of descriptors or memory, which others may give back.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Some(caller) = caller(&connection) else { continue };
        let Some(turn) = Turn::take(users, caller.uid) else { continue };
        let desk = Arc::clone(desk);
        let serve = move || {
            let _turn = turn;
            if let Err(error) = serve(&connection, caller, &*desk) {
                log::debug!("a request of process {}: {error}", caller.pid);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("request".to_owned()).spawn(serve) {
            log::warn!("a request is not answered: {error}");
        }
    }
}

/// One of the connections that a user may have.
struct Turn {
    users: Users,
    user: u32,
}

impl Turn {
    fn take(users: &Users, user: u32) -> Option<Self> {
        let mut counts = users.lock();
        let trusted = [0, geteuid().as_raw()];
        let others = counts.iter().filter(|(user, _)| !trusted.contains(user));
        let is_full = others.map(|(_, count)| count).sum::<usize>() >= MOST;
        let count = counts.entry(user).or_default();
        if *count == MOST_BY_USER || (is_full && !trusted.contains(&user)) {
            if *count == 0 {
                counts.remove(&user);
            }
            return None;
        }
        *count += 1;
        Some(Self { users: Arc::clone(users), user })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.users.lock();
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

fn caller(connection: &UnixStream) -> Option<Caller> {
    let peer = rustix::net::sockopt::socket_peercred(connection).ok()?;
    let pid = peer.pid.as_raw_nonzero().get().cast_unsigned();
    Some(Caller { uid: peer.uid.as_raw(), gid: peer.gid.as_raw(), pid })
}

fn serve(connection: &UnixStream, caller: Caller, desk: &impl Respond) -> std::io::Result<()> {
    connection.set_write_timeout(Some(LIMIT))?;
    let Some(Request { version, command }) =
        receive_line_before(connection, Instant::now() + LIMIT)?
    else {
        return Ok(());
    };
    let reply = if version == hsci_protocol::VERSION {
        desk.answer(caller, command)
    } else {
        let text = format!(
            "its supervisor speaks version {} of the control channel, not {version}; \
             mount it again with this hsci",
            hsci_protocol::VERSION
        );
        Failure::new(Exit::Impossible, text).into()
    };
    send(connection, &reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_users_leave_room_for_who_has_mounted() {
        let users = Users::default();
        let others = (1_000_000..).map_while(|user| Turn::take(&users, user));
        assert_eq!(others.collect::<Vec<_>>().len(), MOST, "each has one");
        assert!(users.lock().is_empty(), "and gives it back");
        let held: Vec<_> = (1_000_000..).map_while(|user| Turn::take(&users, user)).collect();
        assert!(Turn::take(&users, 2_000_000).is_none());
        let own: Vec<_> = (0..10).map_while(|_| Turn::take(&users, 0)).collect();
        assert_eq!((held.len(), own.len()), (MOST, MOST_BY_USER));
    }
}
