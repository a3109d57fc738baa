//! Settling a file changes nothing that its users see, so its `ctime` is to stay, too. No system call sets that, so the one to
//! show is written down: in the summary, beside the second in which the lower file has got its own one by that. Attributes that
//! somebody changes within this second have to be written down there as well; later, the lower `ctime` tells by itself that they were changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use crate::summary::nanoseconds;

/// For so long after it was written a summary may be that of a file whose attributes were changed since.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Time stamps of the kernel are those of its last tick: so much earlier than other clocks, at most.
const TICK: Duration = Duration::from_millis(20);

/// What a summary says of a `ctime`. Nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptCtime {
    /// The one to show.
    pub(crate) shown: i64,
    /// When the window begins.
    pub(crate) from: i64,
}

impl KeptCtime {
    /// One that is about to be written down.
    pub(crate) fn now(shown: SystemTime) -> Option<Self> {
        let from = SystemTime::now().checked_sub(TICK).and_then(nanoseconds)?;
        Some(Self { shown: nanoseconds(shown)?, from })
    }

    /// True if a lower `ctime` may be that of the writing down.
    pub(crate) fn covers(&self, time: SystemTime) -> bool {
        let window = self.from..=self.from.saturating_add(WINDOW.as_nanos() as i64);
        nanoseconds(time).is_some_and(|time| window.contains(&time))
    }
}

/// Whether changes of attributes matter to what is kept of any file.
pub(crate) struct Keeping {
    /// Files whose installation has begun and not ended.
    under_way: Arc<AtomicUsize>,
    /// When the last window is over.
    until: AtomicI64,
}

impl Keeping {
    /// The worker before may have written down one just now.
    pub(crate) fn new() -> Self {
        let keeping = Self { under_way: Arc::default(), until: AtomicI64::new(i64::MIN) };
        keeping.extend();
        keeping
    }

    /// A summary is about to be written.
    pub(crate) fn extend(&self) {
        let until = SystemTime::now().checked_add(WINDOW).and_then(nanoseconds);
        self.until.fetch_max(until.unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// An installation begins for a file that shows a `ctime`, until the return value goes.
    pub(crate) fn begin(&self, ctime: SystemTime) -> Installing {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Installing { ctime, under_way: Arc::clone(&self.under_way) }
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
            || nanoseconds(SystemTime::now())
                .is_none_or(|now| now <= self.until.load(Ordering::SeqCst))
    }
}

/// The `ctime` of a file while its lower one is disturbed.
pub(crate) struct Installing {
    pub(crate) ctime: SystemTime,
    under_way: Arc<AtomicUsize>,
}

impl Drop for Installing {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
