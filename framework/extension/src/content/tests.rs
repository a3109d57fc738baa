//! The adapter over a tree in memory, with an extension whose answers the tests choose.

mod files;
mod settling;

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::content::Context;
use crate::testkit::{self, MemoryKernel, MemoryTree};
use crate::{
    Call, Content, ContentFs, Environment, Error, FileSystem, Ino, LowerFile, OpenFile, Result,
    Scan, Settled, Times,
};

type Settle = dyn Fn(&[Arc<OpenFile<Fake>>]) -> Vec<Settled> + Send + Sync;

/// A file, and its bytes when it came into use and since: two states of one file would show.
struct File {
    lower: Arc<dyn LowerFile>,
    bytes: Vec<u8>,
}

/// Stores bytes as they are.
struct Fake {
    quiet: Option<Duration>,
    settle: Box<Settle>,
    /// What the extension was told, in order.
    told: Mutex<Vec<String>>,
    /// Answers of the extension.
    busy: AtomicBool,
    damaged: AtomicBool,
    times: Mutex<Option<Times>>,
    opened: AtomicUsize,
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
            opened: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
        }
    }

    fn settling(
        quiet: Duration,
        settle: impl Fn(&[Arc<OpenFile<Self>>]) -> Vec<Settled> + Send + Sync + 'static,
    ) -> Self {
        Self { quiet: Some(quiet), settle: Box::new(settle), ..Self::new() }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().clone()
    }
}

impl Content for Fake {
    type File = File;

    fn open(&self, context: &Context) -> Result<File> {
        if self.damaged.load(Ordering::Relaxed) {
            return Err(Error::Damaged("on purpose".to_owned()));
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let lower = Arc::clone(context.lower());
        let mut bytes = vec![0; lower.len()? as usize];
        lower.read_exact_at(0, &mut bytes)?;
        Ok(File { lower, bytes })
    }

    fn len(&self, file: &File) -> Result<u64> {
        Ok(file.bytes.len() as u64)
    }

    fn read(&self, file: &File, _: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let bytes = file.bytes.get(offset as usize..).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write(&self, file: &mut File, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset as usize + data.len();
        self.set_len(file, call, file.bytes.len().max(end) as u64)?;
        file.bytes[offset as usize..end].copy_from_slice(data);
        file.lower.write_at(call.credentials(), offset, data)
    }

    fn set_len(&self, file: &mut File, _: &Call, len: u64) -> Result<()> {
        if file.bytes.len() as u64 == len {
            return Ok(());
        }
        file.bytes.resize(len as usize, 0);
        file.lower.set_len(len)
    }

    fn sync(&self, file: &OpenFile<Self>, data_only: bool) -> Result<()> {
        file.read().lower.sync(data_only)
    }

    fn times(&self, _: &File) -> Option<Times> {
        *self.times.lock()
    }

    fn close(&self, _: &mut File) -> Result<()> {
        self.closed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_idle(&self, _: &File) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }

    fn quiet_time(&self) -> Option<Duration> {
        self.quiet
    }

    fn settle(&self, files: &[Arc<OpenFile<Self>>]) -> Vec<Settled> {
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
