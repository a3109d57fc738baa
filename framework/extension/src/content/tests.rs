//! The adapter over a tree in memory, with a plug-in whose answers the tests choose.

mod files;
mod settling;

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::testkit::{self, MemoryKernel, MemoryTree};
use crate::{
    Call, Cell, Content, ContentFs, Environment, Error, FileSystem, Ino, LowerFile, Result, Scan,
    Settled, Times,
};

type Settle = dyn Fn(&[Arc<Cell<Fake>>]) -> Vec<Settled> + Send + Sync;

/// Stores bytes as they are.
struct Fake {
    quiet: Option<Duration>,
    settle: Box<Settle>,
    /// What the plug-in was told, in order.
    told: Mutex<Vec<String>>,
    /// Answers of the plug-in.
    busy: AtomicBool,
    damaged: AtomicBool,
    times: Mutex<Option<Times>>,
    closed: AtomicUsize,
}

impl Fake {
    fn new() -> Self {
        Self {
            quiet: None,
            settle: Box::new(|files| vec![Settled::Unchanged; files.len()]),
            told: Mutex::default(),
            busy: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            times: Mutex::default(),
            closed: AtomicUsize::new(0),
        }
    }

    fn settling(
        quiet: Duration,
        settle: impl Fn(&[Arc<Cell<Self>>]) -> Vec<Settled> + Send + Sync + 'static,
    ) -> Self {
        Self { quiet: Some(quiet), settle: Box::new(settle), ..Self::new() }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().clone()
    }
}

impl Content for Fake {
    type File = Arc<dyn LowerFile>;

    fn open(&self, lower: Arc<dyn LowerFile>) -> Result<Self::File> {
        match self.damaged.load(Ordering::Relaxed) {
            true => Err(Error::Damaged("on purpose".to_owned())),
            false => Ok(lower),
        }
    }

    fn len(&self, file: &Self::File) -> Result<u64> {
        file.len()
    }

    fn read(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        file.read_at(offset, buffer)
    }

    fn write(&self, file: &mut Self::File, _: &Call, offset: u64, data: &[u8]) -> Result<()> {
        file.write_at(offset, data)
    }

    fn set_len(&self, file: &mut Self::File, _: &Call, len: u64) -> Result<()> {
        if file.len()? == len { Ok(()) } else { file.set_len(len) }
    }

    fn sync(&self, file: &Cell<Self>, data_only: bool) -> Result<()> {
        file.read().sync(data_only)
    }

    fn times(&self, _: &Self::File) -> Option<Times> {
        *self.times.lock()
    }

    fn close(&self, _: &mut Self::File) -> Result<()> {
        self.closed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_idle(&self, _: &Self::File) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }

    fn quiet_time(&self) -> Option<Duration> {
        self.quiet
    }

    fn settle(&self, files: &[Arc<Cell<Self>>]) -> Vec<Settled> {
        let mut names: Vec<_> = files.iter().map(|file| file.path()).collect();
        names.sort();
        self.told.lock().extend(names.iter().map(|name| name.display().to_string()));
        (self.settle)(files)
    }

    fn shutdown(&self) {
        self.told.lock().push(format!("shutdown, {} closed", self.closed.load(Ordering::Relaxed)));
    }
}

/// A layer over a tree.
struct Rig {
    tree: Arc<MemoryTree>,
    kernel: Arc<MemoryKernel>,
    layer: Arc<ContentFs<Fake>>,
}

impl Rig {
    fn new(fake: Fake) -> Self {
        Self::over(MemoryTree::new(), fake, Scan::OnRequest, false)
    }

    fn over(tree: Arc<MemoryTree>, fake: Fake, scan: Scan, read_only: bool) -> Self {
        let kernel = Arc::new(MemoryKernel::default());
        let environment = Environment {
            kernel: Arc::clone(&kernel) as Arc<dyn crate::Kernel>,
            read_only,
            ..testkit::environment(&tree)
        };
        let layer = ContentFs::with_scan(Arc::new(fake), &environment, scan);
        Self { tree, kernel, layer }
    }

    /// A new file; its lookup is the caller's.
    fn create(&self, name: &str) -> Ino {
        make(&*self.layer, Ino::ROOT, name)
    }

    fn write(&self, ino: Ino, data: &[u8]) {
        self.layer.write(&Call::internal(), ino, 0, data).expect("write");
    }

    fn told(&self) -> Vec<String> {
        self.layer.content().told()
    }

    fn progress(&self) -> String {
        let answer = self.layer.control_get(&Call::internal(), Ino::ROOT, "settle");
        String::from_utf8(answer.expect("an answer")).expect("JSON is text")
    }

    fn settle_all(&self) {
        self.layer.control_set(&Call::internal(), Ino::ROOT, "settle", b"").expect("an order");
        wait_until("the order is carried out", || self.progress().contains("\"running\":false"));
    }
}

fn make(layer: &dyn FileSystem, parent: Ino, name: &str) -> Ino {
    let mode = 0o100_644;
    let entry = layer.mknod(&Call::internal(), parent, OsStr::new(name), mode, 0);
    entry.expect("a new file").ino
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
