//! An extension that takes three seconds to read a file whose name begins with `slow`, and says by whose open a
//! file is read: what is read of `handle` is the number of the open. Beside it another one, whose tree exists nowhere.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsci_extension::synthetic::Tree;
use hsci_extension::{
    Call, Declaration, Environment, Extension, Ino, Layer, OpenFlags, Opened, Result, Stack,
};
use hsci_host::program::{extension, run};

fn main() -> ExitCode {
    run(&[extension::<Slow>(), extension::<Made>()])
}

/// A tree that exists nowhere.
struct Made;

impl Extension for Made {
    const NAME: &'static str = "made";
    const ABOUT: &'static str = "shows a tree that exists nowhere, for tests";
    const FORMAT_VERSION: u32 = 0;

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let Environment { lower, kernel, .. } = environment.clone();
        let tree = Tree::new(lower, kernel);
        for number in 0..1000 {
            tree.file(format!("made/deep/{number}"), 0o444, move || {
                format!("{number}\n").into_bytes()
            })?;
        }
        tree.file("made/secret", 0o400, || b"of root\n".to_vec())?;
        tree.file("stored", 0o444, || b"hidden\n".to_vec())?;
        Ok(Arc::new(tree))
    }
}

struct Slow {
    below: Arc<Stack>,
    opens: AtomicU64,
}

impl Slow {
    fn is(&self, ino: Ino, name: &str) -> bool {
        self.below.parent(ino).is_ok_and(|(_, own)| own.to_string_lossy().starts_with(name))
    }
}

impl Layer for Slow {
    fn lower(&self) -> &Stack {
        &*self.below
    }

    fn open(&self, _: &Call, _: Ino, _: OpenFlags) -> Result<Opened> {
        let mut opened = Opened::new(self.opens.fetch_add(1, Ordering::Relaxed) + 1);
        opened.direct_io = true;
        Ok(opened)
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if self.is(ino, "slow") {
            std::thread::sleep(Duration::from_secs(3));
        }
        if self.is(ino, "handle") && offset == 0 && !buffer.is_empty() {
            buffer[0] = call.handle.unwrap_or_default() as u8;
            return Ok(1);
        }
        self.below.read(call, ino, offset, buffer)
    }
}

impl Extension for Slow {
    const NAME: &'static str = "slow";
    const ABOUT: &'static str = "takes its time, for tests";
    const FORMAT_VERSION: u32 = 0;

    fn declaration() -> Declaration {
        Declaration::new().opens().waits()
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let below = Arc::clone(&environment.lower);
        Ok(Arc::new(Self { below, opens: AtomicU64::new(0) }))
    }
}
