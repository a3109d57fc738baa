//! A time at which a thread wakes, which others can put off.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub(super) fn new() -> rustix::io::Result<Self> {
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).map(Self)
    }

    /// Who waits does so for so long from now on.
    pub(super) fn set(&self, time: Duration) -> rustix::io::Result<()> {
        let never = Timespec::default();
        let once = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let times = Itimerspec { it_interval: never, it_value: once };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &times).map(drop)
    }

    /// Waits for so long, and longer if it is set meanwhile.
    pub(super) fn wait(&self, time: Duration) {
        let mut times_rung = [0; 8];
        if self.set(time).is_err() || read(&self.0, &mut times_rung).is_err() {
            std::thread::sleep(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_waits_does_so_until_it_is_put_off_no_more() {
        const EACH: Duration = Duration::from_millis(50);
        let (alarm, begun) = (Alarm::new().expect("a timer"), Instant::now());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                alarm.wait(4 * EACH);
                begun.elapsed()
            });
            let mut last = Duration::ZERO;
            for _ in 0..6 {
                std::thread::sleep(EACH);
                last = begun.elapsed();
                alarm.set(4 * EACH).expect("put off");
            }
            let waited = waits.join().expect("it has waited");
            assert!(waited >= last + 4 * EACH, "{waited:?}, put off at {last:?}");
        });
    }
}
