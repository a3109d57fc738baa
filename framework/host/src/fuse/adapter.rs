//! What all event loops share, and how a request is answered.

use std::ffi::{OsStr, OsString};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{Errno, FileHandle, Generation, INodeNo, Notifier, ReplyAttr, ReplyEntry, Request};
use hsci_extension::{Attr, Call, Entry, FileSystem as _, Ino, Result as LayerResult};

use hsci_protocol::status::Quarantined;

use super::ahead::Ahead;
use super::answer::{Answers, path_of};
use super::convert::{call, file_attr, ino};
use super::debug::{Shown, ended};
use super::gate::Gate;
use super::negotiate::{MOST_WRITE, MOST_WRITE_OF_MANY};
use super::operations::Operation;
use super::passthrough::Passthrough;
use super::pool::{Pool, Turn};
use super::prune::Due;
use super::{Mounted, Profile};
use crate::lower::LowerTree;
use crate::policy::Judged;
use crate::takeover::TakeoverState;

/// Each event loop has one; all share what is in it.
#[derive(Clone)]
pub(super) struct Adapter {
    pub(super) top: Arc<Judged>,
    /// The lowest layer, which writes down what the kernel is told.
    pub(super) tree: Arc<LowerTree>,
    pub(super) takeover: Arc<TakeoverState>,
    pub(super) profile: Profile,
    pub(super) answers: Arc<Answers>,
    pub(super) passthrough: Option<Arc<Passthrough>>,
    pub(super) pool: Arc<Pool>,
    pub(super) gate: Arc<Gate>,
    /// It may be parked: the loop was started because others waited.
    is_extra: bool,
    /// Every request is logged.
    debug: bool,
    /// Tells the kernel something, once the connection has begun.
    pub(super) notifier: Arc<OnceLock<Notifier>>,
    due: Due,
    pub(super) ahead: Arc<Ahead>,
}

impl Adapter {
    pub(super) fn new(
        mounted: Mounted,
        passthrough: Option<Passthrough>,
        due: Due,
    ) -> std::io::Result<Self> {
        let Mounted { top, tree, profile, requests, takeover, death, debug } = mounted;
        let answers =
            Arc::new(Answers::new(Arc::clone(&top) as _, requests, Arc::clone(&takeover), death));
        let pool = Pool::new(profile.threads, Arc::clone(&takeover));
        let notifier = Arc::default();
        let ahead = Arc::new(Ahead::start(&tree, &pool.placement)?);
        let passthrough = passthrough.map(Arc::new);
        Ok(Self {
            top,
            tree,
            takeover,
            profile,
            answers,
            passthrough,
            pool,
            gate: Arc::new(Gate::new(MOST_WRITE)),
            is_extra: false,
            debug,
            notifier,
            due,
            ahead,
        })
    }

    /// Before the kernel is told of an inode once more.
    pub(super) fn tell(&self, request: &Request, ino: Ino) {
        let user = request.uid();
        if self.tree.tell(ino, user) {
            // Where many are due, this one's turn comes again.
            let _ = self.due.try_send(user);
        }
    }

    /// How long the kernel may rely on a name, of which a layer says `asked`.
    pub(super) fn name_ttl(&self, asked: Option<Duration>) -> Duration {
        match self.profile.names_differ {
            true => Duration::ZERO,
            false => asked.unwrap_or(self.profile.cache),
        }
    }

    pub(super) fn entry(&self, request: &Request, entry: Result<Entry, Errno>, reply: ReplyEntry) {
        match entry {
            Ok(entry) => {
                self.tell(request, entry.ino);
                let attr = file_attr(INodeNo(entry.ino.0), &entry.attr);
                let ttl = self.name_ttl(entry.ttl);
                reply.entry(&ttl, &attr, Generation(entry.generation));
            }
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn attributes(&self, attr: Result<Attr, Errno>, reply: ReplyAttr) {
        match attr {
            Ok(attr) => reply.attr(&self.profile.cache, &file_attr(INodeNo(attr.ino), &attr)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Runs the layers' code for a request.
    pub(super) fn answer<T>(
        &self,
        request: &Request,
        operation: Operation,
        number: INodeNo,
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        let (call, ino) = (call(request), ino(number));
        let shown = self.shown(request, operation, (ino, None));
        let outcome =
            self.answers.to(request.unique().0, operation, (ino, None), || run(call, ino));
        ended(shown, outcome.as_ref().err().map(|errno| errno.code()));
        outcome
    }

    /// What is to be logged of a request, if it is.
    pub(super) fn shown(
        &self,
        request: &Request,
        operation: Operation,
        subject: (Ino, Option<&OsStr>),
    ) -> Option<Shown> {
        self.debug.then(|| Shown::new(&*self.top, request, operation, subject))
    }

    /// Runs the layers' code for a request about a name in a directory.
    pub(super) fn answer_name<T>(
        &self,
        request: &Request,
        operation: Operation,
        (parent, name): (INodeNo, &OsStr),
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        let (call, ino) = (call(request), ino(parent));
        let shown = self.shown(request, operation, (ino, Some(name)));
        let outcome =
            self.answers.to(request.unique().0, operation, (ino, Some(name)), || run(call, ino));
        ended(shown, outcome.as_ref().err().map(|errno| errno.code()));
        outcome
    }

    /// Runs the layers' code for a request that may come through an open.
    pub(super) fn answer_handle<T>(
        &self,
        request: &Request,
        operation: Operation,
        (number, handle): (INodeNo, FileHandle),
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        // Without opens the kernel makes the number up.
        let handle = self.profile.opens.then_some(handle.0);
        self.answer(request, operation, number, |call, ino| run(call.with_handle(handle), ino))
    }

    /// The same for a group of loops that are started because others wait.
    pub(super) fn extra(&self) -> Self {
        let gate = Arc::new(Gate::new(MOST_WRITE_OF_MANY));
        Self { is_extra: true, gate, ..self.clone() }
    }

    /// This loop has read a request.
    pub(super) fn turn(&self, request: &Request) -> Turn<'_> {
        self.pool.turn(self.is_extra, request.pid())
    }

    /// Requests that are refused because workers died of them.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        let named = |(operation, ino, name): (&str, Ino, Option<OsString>)| {
            let mut path = path_of(&*self.top, ino);
            path.extend(name);
            Quarantined { operation: operation.to_owned(), path, inode: ino.0 }
        };
        self.answers.quarantined().into_iter().map(named).collect()
    }

    pub(super) fn control_get(
        &self,
        request: &Request,
        number: INodeNo,
        name: &str,
    ) -> Result<Vec<u8>, Errno> {
        self.answer(request, Operation::Control, number, |call, ino| {
            self.top.control_get(&call, ino, name)
        })
    }
}
