//! Everything that is followed about one loop.

use std::sync::Arc;

use asyncspy_model::report::{LoopNow, LoopReport};
use asyncspy_model::sample::LoopDefinition;
use asyncspy_model::{LoopActivity, LoopInfo, LoopKind, LoopSample};

use super::between::Between;
use super::conditions::Conditions;
use super::health::Health;
use super::meter::Meter;
use super::paths::LoopPath;
use super::stall_clock::{StallClock, Step};

/// One loop of the target.
#[derive(Debug)]
pub(super) struct TrackedLoop {
    pub definition: LoopDefinition,
    /// Where its time goes in trees.
    pub path: LoopPath,
    pub clock: StallClock,
    pub meter: Meter,
    pub health: Health,
    /// True if it does not record its turns.
    pub hides_turns: bool,
    /// The last sample of it.
    pub last: Option<LoopSample>,
    /// When that was; when it was defined, before the first.
    pub last_at: u64,
    /// Number of the last tick that had it.
    pub tick: u64,
}

impl TrackedLoop {
    /// A loop that no sample has shown yet.
    pub fn new(definition: LoopDefinition, path: LoopPath, at: u64) -> Self {
        Self {
            hides_turns: definition.kind != LoopKind::Asyncio,
            definition,
            path,
            clock: StallClock::default(),
            meter: Meter::default(),
            health: Health::default(),
            last: None,
            last_at: at,
            tick: 0,
        }
    }

    /// Notes a sample that lacks it.
    pub fn miss(&mut self, read: Between, conditions: &Conditions) -> Step {
        self.meter.interrupt();
        self.clock.miss(read, conditions)
    }

    /// What it does now.
    fn now(&self, conditions: &Conditions) -> LoopNow {
        if self.clock.is_gone() {
            return LoopNow::Gone;
        }
        match (self.last.map(|last| last.activity), self.clock.open()) {
            (Some(LoopActivity::Busy(_)), Some(open)) => {
                let for_ns = open.age_ns(&conditions.pauses);
                if for_ns >= conditions.rules.threshold_ns {
                    LoopNow::Stalled { for_ns }
                } else {
                    LoopNow::Busy { for_ns }
                }
            }
            (Some(LoopActivity::Idle), _) => LoopNow::Idle,
            _ => LoopNow::Unknown,
        }
    }

    /// Its line in the report. `info` is what the last census says of it.
    pub fn report(&self, at: u64, info: Option<&LoopInfo>, conditions: &Conditions) -> LoopReport {
        let interval = conditions.rules.interval_ns;
        // Where the beginning of a turn is not known either, its length is off by up to a tick.
        let ticks = if self.hides_turns { 2 } else { 1 };
        let reliable_from_ns = interval.saturating_mul(ticks);
        let minute = self.health.summarise(at, interval, reliable_from_ns);
        let last = self.last.as_ref();
        LoopReport {
            id: self.definition.id,
            kind: self.definition.kind,
            class: Arc::clone(&self.definition.class),
            tid: self.definition.tid,
            thread_name: Arc::clone(&self.definition.thread_name),
            now: self.now(conditions),
            busy_permille: minute.busy_permille,
            turns: minute.turns,
            worst_by_second_ns: minute.worst_by_second_ns,
            tasks: info.map_or(0, |info| info.tasks),
            ready: last.map_or(0, |last| last.ready.into()),
            timers: info.and_then(|info| info.timers).unwrap_or_default(),
            late_timers: last.map_or(0, |last| last.late_timers.into()),
            worst_late_ns: last.map_or(0, |last| last.worst_late_ns),
        }
    }
}
