//! How much a loop has to do, looked at now and then.

use asyncspy_model::{LoopActivity, LoopSample};

use super::shared::Shared;
use crate::aio::event_loop::{LoopFacts, LoopLoad};
use crate::aio::timers::{Heap, InOneCall, Timers};
use crate::target::gather::Gather;

/// The queues of a loop change slowly compared with ticks: how often they are looked at.
const EVERY_NS: u64 = 50_000_000;

/// The same while the loop idles.
const IDLE_EVERY_NS: u64 = 250_000_000;

/// Timers that are looked at in one tick of this length: a tenth of it, as far as the bounds allow.
const MOST_TIMERS: std::ops::RangeInclusive<u64> = 64..=256;

/// The same in the first tick: who comes in the middle of a stall tells of it at once.
const MOST_TIMERS_FIRST: usize = 16_384;

/// What it takes to look at one, in nanoseconds.
const TIMER_NS: u64 = 1_500;

/// What is known of the load of one loop.
#[derive(Debug, Default)]
pub struct LoadWatch {
    gather: Gather,
    timers: Timers,
    load: LoopLoad,
    /// When it was looked at, and in which turn of the loop.
    at_ns: u64,
    turn: Option<u64>,
}

impl LoadWatch {
    /// Adds the load to a sample; looks at it anew when it is time. Where very many timers are late
    /// it takes some ticks to count them.
    pub fn fill(&mut self, shared: &Shared<'_>, facts: &LoopFacts, sample: &mut LoopSample) {
        let (every, turn) = match sample.activity {
            LoopActivity::Busy(turn) => (EVERY_NS, Some(turn.identity).filter(|turn| *turn != 0)),
            LoopActivity::Unknown => (EVERY_NS, None),
            LoopActivity::Idle => (IDLE_EVERY_NS, None),
        };
        let most_timers = match self.at_ns {
            0 => MOST_TIMERS_FIRST,
            _ => most_timers_within(shared.interval_ns),
        };
        let is_due = shared.now_ns.saturating_sub(self.at_ns) >= every;
        if is_due {
            (self.at_ns, self.turn) = (shared.now_ns, turn);
            self.look(shared, facts);
        }
        if turn != self.turn {
            // A turn begins with all timers that are due: none of those that were late is any more.
            (self.load.late_timers, self.load.worst_late_ns) = (None, 0);
        } else if is_due || self.timers.is_unfinished() {
            self.look_at_timers(shared, most_timers);
        }
        let small = |count: Option<u64>| u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
        sample.ready = small(self.load.ready);
        sample.late_timers = small(self.load.late_timers);
        sample.worst_late_ns = self.load.worst_late_ns;
    }

    /// Looks at the lengths of the queues, in one call.
    fn look(&mut self, shared: &Shared<'_>, facts: &LoopFacts) {
        self.load = LoopLoad::default();
        let wanted = facts.plan_load(&mut self.gather);
        // What could not be read is unknown, as the load then says.
        if self.gather.run(&*shared.python.memory).is_ok() {
            let (load, items) = wanted.take(&self.gather);
            self.load = load;
            let count = load.timers.unwrap_or(0);
            let turn = self.turn;
            self.timers.expect(Heap { items, count, turn });
        }
    }

    fn look_at_timers(&mut self, shared: &Shared<'_>, most: usize) {
        let python = shared.python;
        let shift = python.facts.monotonic_shift_ns;
        let now_ns = shared.now_ns.saturating_add_signed(shift);
        let words = &mut InOneCall(&*python.memory, &mut self.gather);
        let when = python.layout.handle.when;
        let looked = self.timers.look(words, when, now_ns, most);
        if looked.is_ok() && self.load.late_timers.is_some() {
            self.load.note_late(&self.timers, now_ns);
        }
    }
}

/// How many timers to look at in a tick of this length.
fn most_timers_within(interval_ns: u64) -> usize {
    let most = interval_ns / 10 / TIMER_NS;
    most.clamp(*MOST_TIMERS.start(), *MOST_TIMERS.end()) as usize
}
