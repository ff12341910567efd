//! When to sample: absolute deadlines with a little jitter.

use nix::sys::prctl::set_timerslack;

use super::alarms::{AHEAD, Alarms};
use super::promptness;
use crate::target::process::monotonic_now_ns;

/// A tick is moved by up to this share of the interval, 1/16, either way, so that work of the
/// same period as the sampling is not always caught at the same place.
const JITTER_SHARE: u64 = 16;

/// What is left until a tick is waited for without sleeping up to this long: to sleep takes about
/// as much of the processor (23 us measured on a virtual machine, 5 on a machine of its own).
const SPIN_NS: u64 = 20_000;

/// Ticks of a fixed rate. Deadlines are absolute, so lateness does not add up; after a tick for
/// which others were left out they are counted anew.
#[derive(Debug)]
pub struct Ticker {
    interval_ns: u64,
    /// The next deadline, without its jitter.
    due_ns: u64,
    /// Ticks so far.
    turn: usize,
    /// By how much the ticks are moved, in turn; so that their alarms can ring at fixed intervals.
    jitter_ns: [u64; AHEAD],
    alarms: Alarms,
}

/// One tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// True if it came more than half an interval after it was due.
    pub late: bool,
    /// Ticks before it that were left out because there was no time for them.
    pub skipped: u64,
}

impl Ticker {
    /// Ticks from now on, in this thread.
    #[must_use]
    pub fn new(interval_ns: u64) -> Self {
        // The kernel wakes sleepers up to 50 us late to save power, unless told otherwise
        // (PR_SET_TIMERSLACK(2const)); where it will not be told, ticks come a little later.
        let _ = set_timerslack(1);
        promptness::shorten_slice();
        let now = monotonic_now_ns();
        let interval_ns = interval_ns.max(1);
        Self {
            interval_ns,
            due_ns: now,
            turn: 0,
            jitter_ns: jitter(interval_ns, now),
            alarms: Alarms::new(interval_ns),
        }
    }

    /// Sleeps until the next tick, through signals too; returns its time as well.
    pub fn wait(&mut self) -> (Tick, u64) {
        let deadline = self.deadline();
        let mut now = monotonic_now_ns();
        // A tick that is due already is not made later still.
        while now.saturating_add(SPIN_NS) < deadline {
            self.alarms.sleep(self.turn, deadline);
            now = monotonic_now_ns();
        }
        while now < deadline {
            std::hint::spin_loop();
            now = monotonic_now_ns();
        }
        (self.arrive(now, deadline), now)
    }

    /// True if there is a sleep before each tick; at very high rates there is none.
    #[must_use]
    pub const fn sleeps(&self) -> bool {
        self.interval_ns > 2 * SPIN_NS
    }

    /// When the last of the ticks that are due at most so long after now is due.
    #[must_use]
    pub fn last_within(&self, span_ns: u64) -> u64 {
        let ahead = monotonic_now_ns()
            .saturating_add(span_ns)
            .saturating_sub(self.due_ns)
            / self.interval_ns;
        let at = self.turn.wrapping_add(ahead as usize) % AHEAD;
        self.due_ns
            .saturating_add(ahead.saturating_mul(self.interval_ns))
            .saturating_add(self.jitter_ns[at])
    }

    /// Lets the next tick pass without a wait if it is due before this moment; returns when.
    pub fn pass(&mut self, before_ns: u64) -> Option<u64> {
        let deadline = self.deadline();
        let passes = deadline < before_ns;
        if passes {
            self.arrive(deadline, deadline);
        }
        passes.then_some(deadline)
    }

    /// Keeps the alarms of the next ticks from ringing. The next wait sets its own again.
    pub fn silence(&mut self) {
        self.alarms.silence();
    }

    fn deadline(&self) -> u64 {
        self.due_ns
            .saturating_add(self.jitter_ns[self.turn % AHEAD])
    }

    /// Accounts for a tick that happens at `now` and was due at `deadline`.
    fn arrive(&mut self, now: u64, deadline: u64) -> Tick {
        let behind = now.saturating_sub(self.due_ns);
        let skipped = behind / self.interval_ns;
        // Where ticks were left out, the next is not waited for longer than it would be after any.
        let last_ns = if skipped == 0 { self.due_ns } else { now };
        self.turn = self.turn.wrapping_add(1);
        self.due_ns = last_ns.saturating_add(self.interval_ns);
        Tick {
            late: now.saturating_sub(deadline) > self.interval_ns / 2,
            skipped,
        }
    }
}

/// From 0 to an eighth of an interval each: half of it before and half after the middle.
fn jitter(interval_ns: u64, seed: u64) -> [u64; AHEAD] {
    // Any value but 0 serves xorshift64 (Marsaglia, 2003).
    let mut random = seed | 1;
    let width = (2 * interval_ns / JITTER_SHARE).max(1);
    std::array::from_fn(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % width
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_and_does_not_add_up() {
        let mut ticker = Ticker::new(10);
        ticker.due_ns = 100;
        assert_eq!(ticker.arrive(101, 101), Tick::default());
        assert_eq!(ticker.due_ns, 110);
        let late = ticker.arrive(118, 110);
        assert_eq!((late.late, late.skipped), (true, 0));
        let missed = ticker.arrive(155, 120);
        assert_eq!((missed.late, missed.skipped), (true, 3));
        assert_eq!(ticker.due_ns, 165);
    }

    #[test]
    fn ticks_that_pass_are_those_that_were_due() {
        let mut ticker = Ticker::new(1_000);
        let all: Vec<_> = std::iter::from_fn(|| ticker.pass(u64::MAX))
            .take(40)
            .collect();
        assert!(all.windows(2).all(|two| two[0] < two[1]));
        assert!(all[39] - all[0] > 38_000 && all[39] - all[0] < 40_000);
        let (next, turn) = (ticker.deadline(), ticker.turn);
        assert_eq!(ticker.pass(next), None);
        assert_eq!(ticker.turn, turn);
    }

    #[test]
    fn the_last_tick_within_a_span_is_one_to_come() {
        let mut ticker = Ticker::new(10_000_000);
        let last = ticker.last_within(100_000_000);
        while ticker.pass(last).is_some() {}
        assert_eq!(ticker.deadline(), last);
        assert!(last <= monotonic_now_ns() + 110_000_000);
    }

    #[test]
    fn jitter_stays_within_an_eighth_of_the_interval() {
        let moves: Vec<u64> = (0..100).flat_map(|seed| jitter(1600, seed)).collect();
        assert!(moves.iter().all(|by| *by < 200));
        assert!(moves.iter().any(|by| *by > 150) && moves.iter().any(|by| *by < 50));
        assert_eq!(jitter(1, 1), [0; AHEAD]);
    }
}
