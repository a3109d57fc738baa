//! An extension that does what no extension should, now and then, with files whose names begin with
//! `bad`. How often it has is the length of a file elsewhere.

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::{Call, Environment, Errno, Error, Extension, Ino, Needs, Result, Stack};
use hsci_host::program::{extension, run};
use rustix::process::{Resource, Rlimit, setrlimit};

fn main() -> ExitCode {
    run(&[extension::<Faulty>()])
}

struct Faulty;

const FAULTS: [&str; 5] = ["panic", "abort", "loop", "memory", "nonsense"];

impl Extension for Faulty {
    const NAME: &'static str = "faulty";
    const ABOUT: &'static str = "fails at random, for tests";
    const FORMAT_VERSION: u32 = 0;

    fn options() -> Vec<OptionSpec> {
        let known = |text: &str| {
            FAULTS.contains(&text).then_some(()).ok_or_else(|| format!("none of {FAULTS:?}"))
        };
        let any = |_: &str| Ok(());
        let start = |text: &str| {
            ["", "hang", "panic"]
                .contains(&text)
                .then_some(())
                .ok_or_else(|| "hang or panic".to_owned())
        };
        let text = |name, help, check, default| {
            OptionSpec::new(name, help, OptionKind::Text { check, placeholder: "TEXT" }, default)
        };
        vec![
            text("fault", "what goes wrong", known, "panic"),
            text("cgroup", "a control group that limits memory", any, ""),
            text("start", "how the start fails", start, ""),
            text("count", "a file that gets a byte for each fault", any, "/dev/null"),
            OptionSpec::new(
                "every",
                "how many requests there are for each fault",
                OptionKind::Number { min: 1, max: 1 << 32 },
                "5",
            ),
        ]
    }

    fn needs() -> Needs {
        Needs { files: true, ..Needs::default() }
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let options = &environment.options;
        match options.text("start") {
            "hang" => loop {
                std::thread::park();
            },
            "panic" => panic!("no start on purpose"),
            _ => {}
        }
        Ok(Arc::new(Layer {
            below: Arc::clone(&environment.lower),
            fault: options.text("fault").to_owned(),
            cgroup: options.text("cgroup").to_owned(),
            count: options.text("count").to_owned(),
            every: options.number("every"),
            // Workers that die early are not to do so at the same request each.
            requests: AtomicU64::new(std::process::id().into()),
        }))
    }
}

struct Layer {
    below: Arc<Stack>,
    fault: String,
    cgroup: String,
    count: String,
    every: u64,
    requests: AtomicU64,
}

impl Layer {
    /// True if the request gets a made-up answer.
    fn fails(&self, ino: Ino) -> bool {
        let name = self.below.parent(ino).map(|(_, name)| name).unwrap_or_default();
        if !name.to_string_lossy().starts_with("bad")
            || !self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every)
        {
            return false;
        }
        let mut count = File::options().append(true).open(&self.count).expect("a file that counts");
        count.write_all(b".").expect("counted");
        match self.fault.as_str() {
            "panic" => panic!("on purpose"),
            "abort" => std::process::abort(),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "memory" => exhaust_memory(&self.cgroup),
            _ => true,
        }
    }
}

/// Allocations fail at some point, or, in a control group, the kernel kills.
fn exhaust_memory(group: &str) -> ! {
    if group.is_empty() {
        let limit = Some(1 << 30);
        setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).expect("a limit");
    } else {
        let own = std::process::id().to_string();
        std::fs::write(format!("{group}/cgroup.procs"), own).expect("into the group");
    }
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 16 << 20]);
    }
}

impl hsci_extension::Layer for Layer {
    fn lower(&self) -> &Stack {
        &*self.below
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = self.below.read(call, ino, offset, buffer)?;
        Ok(if self.fails(ino) { usize::MAX } else { read })
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        if self.fails(ino) {
            return Err(Error::Lower(Errno::from_raw_os_error(4000)));
        }
        self.below.write(call, ino, offset, data)
    }
}
