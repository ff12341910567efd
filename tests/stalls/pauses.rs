//! When the machine gave this process no time: a virtual machine that stood still, or others that
//! had all processors. What happens then to the program under test is nobody's code's doing.

use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How often the time is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What is longer than this is a pause: more than the scheduler's slice on an idle processor.
const PAUSE_NS: u64 = 4_000_000;

/// (began, ended) of each on CLOCK_MONOTONIC, in order.
static PAUSES: OnceLock<Mutex<Vec<(u64, u64)>>> = OnceLock::new();

/// Begins to look; once is enough for all tests.
pub fn watch_out() {
    if PAUSES.set(Mutex::default()).is_err() {
        return;
    }
    thread::spawn(|| {
        let mut before = now_ns();
        loop {
            thread::sleep(LOOK_EVERY);
            let now = now_ns();
            if now - before > PAUSE_NS
                && let Some(Ok(mut pauses)) = PAUSES.get().map(Mutex::lock)
            {
                pauses.push((before, now));
            }
            before = now;
        }
    });
}

/// True if there was one between these moments, or shortly before or after.
pub fn any_between(one: u64, other: u64) -> bool {
    let (from, until) = (one.min(other), one.max(other));
    let (from, until) = (from.saturating_sub(PAUSE_NS), until + PAUSE_NS);
    let Some(Ok(pauses)) = PAUSES.get().map(Mutex::lock) else {
        return false;
    };
    let mut latest = pauses.iter().rev();
    latest.any(|(began, ended)| *began < until && *ended > from)
}

fn now_ns() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
