//! The conditions under which samples are judged.

use super::Settings;
use super::pauses::Pauses;

/// Interval that is assumed when a stream names none.
const DEFAULT_INTERVAL_NS: u64 = 10_000_000;

/// What every judgement about a turn depends on.
#[derive(Debug)]
pub(super) struct Conditions {
    pub rules: Rules,
    pub pauses: Pauses,
}

impl Conditions {
    /// Adds a time at which the target was kept from running.
    pub fn add_pause(&mut self, from: u64, until: u64) {
        self.pauses.add(from, until, self.rules.interval_ns);
    }

    /// Notes whether a sample found the target stopped; `None` if it did not look.
    pub fn observe_stop(&mut self, at: u64, is_stopped: Option<bool>) {
        self.pauses.observe(at, is_stopped, self.rules.interval_ns);
    }
}

/// Lengths that decide what counts as a stall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A turn of this length is a stall.
    pub threshold_ns: u64,
    /// A stall of this length is an error.
    pub error_threshold_ns: u64,
    /// Time between two ticks.
    pub interval_ns: u64,
}

impl Rules {
    /// The rules of a session with this interval.
    pub const fn new(settings: &Settings, interval_ns: u64) -> Self {
        Self {
            threshold_ns: settings.threshold_ns,
            error_threshold_ns: settings.error_threshold_ns,
            interval_ns: if interval_ns == 0 {
                DEFAULT_INTERVAL_NS
            } else {
                interval_ns
            },
        }
    }

    /// How much of the time in which a turn began or ended unseen counts towards the threshold.
    ///
    /// In the ordinary case all of it, so that no stall at the threshold is missed; the quarter
    /// tick covers jitter. After a late tick the limit keeps a short turn from looking long: when
    /// asyncspy was not scheduled for a second, the turn of 1 ms that the sample before had seen
    /// did not last a second.
    pub const fn unseen_allowance_ns(&self) -> u64 {
        let tick = self.interval_ns.saturating_add(self.interval_ns / 4);
        longer(tick, self.threshold_ns / 10)
    }

    /// How much of the time between two samples of the same activity counts as evidence that it
    /// went on in between, for a loop that does not record its turns. Such a loop may have gone
    /// idle and have run the same task again, so a long gap proves little.
    pub const fn gap_cap_ns(&self) -> u64 {
        longer(self.longest_tick_ns(), self.threshold_ns / 4)
    }

    /// Most time that one sample stands for when its neighbours are missing.
    pub const fn longest_tick_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(3)
    }
}

const fn longer(one: u64, other: u64) -> u64 {
    if one > other { one } else { other }
}
