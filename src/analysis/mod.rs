//! Folds the stream of events into a report: stalls and their culprits, the loops' health.
//!
//! Pure: no clock, no I/O, no threads. Whatever it knows came in by an [`Event`], so a recording
//! gives the same report as the live process did. Its memory is bounded, however long the stream:
//! each table names its bound.
//!
//! The producer keeps to this order: a definition comes before its first use, and an interruption
//! before the first sample that was taken after it. Then a stop of the target is never told as a
//! stall of its code.
//!
//! Map: `stall_clock` follows the turns of one loop (`turn`, `segment`) under its `conditions`
//! (the rules of what counts, and `pauses`: times that are not the code's doing); `story` tells a
//! stall from them by the stack that stands for its samples (`votes`); `ledger` and `culprits`
//! sum stalls up. `meter` says how much time a sample stands for, `health` keeps a loop's last
//! minute. `definitions` are what samples refer to.

mod between;
mod call_tree;
mod conditions;
mod culprits;
mod definitions;
#[cfg(test)]
mod figures;
mod gathered;
mod health;
mod histogram;
mod history;
mod holds;
mod ledger;
mod loop_time;
mod loops;
mod meter;
mod paths;
mod pauses;
mod place_time;
mod rate;
mod report;
mod segment;
mod stall_clock;
mod story;
#[cfg(test)]
mod testing;
mod timelines;
mod tracked_loop;
mod tree;
#[cfg(test)]
mod truth;
mod turn;
mod votes;
mod waits;

use std::sync::Arc;

use asyncspy_model::sample::{EndReason, Interruption, LoopDefinition, Session};
use asyncspy_model::{Event, Sample, SamplingQuality, Snapshot, Stall};

pub use loop_time::{Mode, Profile};

use between::Between;
use conditions::{Conditions, Rules};
use definitions::Definitions;
use gathered::{Gathered, Scene};
use loops::Loops;
use pauses::Pauses;
use rate::AchievedRate;
use tracked_loop::TrackedLoop;

/// How many interruptions are reported.
const MAX_INTERRUPTIONS: usize = 1_000;

/// What to look for, and how much to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A turn of a loop that lasts for so long is a stall.
    pub threshold_ns: u64,
    /// A stall that lasts for so long is an error.
    pub error_threshold_ns: u64,
    /// How many stalls are kept in full, the newest. Sums go over all of them.
    pub keep_stalls: usize,
    /// Whether to count the time that tasks wait, for [`Mode::Waits`].
    pub counts_waits: bool,
    /// Whether to keep what each loop ran when, for [`Profile::timelines`]. That grows with time.
    pub keeps_timelines: bool,
    /// Whether to gather stalls and the loops' health alone, for `watch`: neither profiles nor hot
    /// places nor the tasks' history, which all grow with what the program does.
    pub stalls_only: bool,
}

impl Default for Settings {
    /// 100 ms and 500 ms, the last 1000 stalls, all but waits and timelines.
    fn default() -> Self {
        Self {
            threshold_ns: 100_000_000,
            error_threshold_ns: 500_000_000,
            keep_stalls: 1_000,
            counts_waits: false,
            keeps_timelines: false,
            stalls_only: false,
        }
    }
}

/// Something that became known by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A stall is over. It is marked as ongoing only if sampling ended before it did.
    StallEnded(Arc<Stall>),
    /// A stall has passed the error threshold and still goes on. It will be told again as ended.
    StallPassedError(Arc<Stall>),
}

/// The fold.
#[derive(Debug)]
pub struct Analysis {
    settings: Settings,
    conditions: Conditions,
    definitions: Definitions,
    loops: Loops,
    gathered: Gathered,
    interruptions: Vec<(Interruption, u64, u64)>,
    snapshot: Option<Arc<Snapshot>>,
    rate: AchievedRate,
    quality: SamplingQuality,
    /// Samples so far; marks the loops that a sample has.
    ticks: u64,
    /// When the first session began.
    origin: Option<u64>,
    /// The moment of the last event that has one.
    now: u64,
    ended: Option<EndReason>,
}

impl Analysis {
    /// An analysis that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            conditions: Conditions {
                rules: Rules::new(&settings, 0),
                pauses: Pauses::default(),
            },
            definitions: Definitions::default(),
            loops: Loops::default(),
            gathered: Gathered::new(&settings),
            interruptions: Vec::new(),
            snapshot: None,
            rate: AchievedRate::default(),
            quality: SamplingQuality::default(),
            ticks: 0,
            origin: None,
            now: 0,
            ended: None,
        }
    }

    /// Feeds one event; returns what became known by it, in the order in which it happened.
    pub fn feed(&mut self, event: &Event) -> Vec<Finding> {
        let mut findings = Vec::new();
        match event {
            Event::Session(session) => self.begin_session(session, &mut findings),
            Event::Loop(definition) => self.add_loop(definition, &mut findings),
            Event::Stack { id, frames } => self.definitions.add_stack(*id, frames),
            Event::Task(task) => self.definitions.add_task(task),
            Event::Sample(sample) => self.add_sample(sample, &mut findings),
            Event::Snapshot(snapshot) => self.add_snapshot(snapshot),
            Event::Interruption {
                reason,
                from_monotonic_ns,
                until_monotonic_ns,
            } => self.add_interruption(*reason, *from_monotonic_ns, *until_monotonic_ns),
            Event::End {
                reason,
                at_monotonic_ns,
                quality,
            } => {
                self.quality = *quality;
                self.end(*reason, *at_monotonic_ns, &mut findings);
            }
        }
        findings
    }

    /// Forgets what was gathered: stalls, sums, the last minute. What goes on now goes on.
    pub fn reset(&mut self) {
        self.gathered.clear();
        self.interruptions.clear();
        for tracked in self.loops.iter_mut() {
            tracked.health = health::Health::default();
        }
    }

    fn begin_session(&mut self, session: &Session, findings: &mut Vec<Finding>) {
        for tracked in self.loops.take_all() {
            self.give_up(tracked, session.began_monotonic_ns, findings);
        }
        self.conditions.rules = Rules::new(&self.settings, session.interval_ns);
        self.definitions.begin_session(session);
        self.gathered.forget_indices();
        self.origin.get_or_insert(session.began_monotonic_ns);
        self.now = self.now.max(session.began_monotonic_ns);
        self.ended = None;
    }

    fn add_loop(&mut self, definition: &LoopDefinition, findings: &mut Vec<Finding>) {
        let session = self.definitions.session();
        if let Some(old) = self.loops.add(definition, session, self.now) {
            self.give_up(old, self.now, findings);
        }
    }

    /// Ends what a loop still did; it was over at `at`.
    fn give_up(&mut self, mut tracked: TrackedLoop, at: u64, findings: &mut Vec<Finding>) {
        self.gathered.holds.end(tracked.path.serial);
        let step = tracked.clock.end(at, &self.conditions);
        let scene = Scene {
            definitions: &self.definitions,
            conditions: &self.conditions,
            at,
        };
        self.gathered.settle(&mut tracked, step, &scene, findings);
    }

    fn add_sample(&mut self, sample: &Sample, findings: &mut Vec<Finding>) {
        let at = sample.at_monotonic_ns;
        let read = Between::new(at.saturating_sub(sample.elapsed_ns), at);
        let is_failed = sample.loops.is_empty() && sample.quality.failed > self.quality.failed;
        self.ticks += 1;
        self.now = self.now.max(at);
        self.quality = sample.quality;
        self.rate.note(at, sample.quality.samples);
        self.gathered.grow_older(at);
        if is_failed {
            return;
        }
        let is_stopped = loops::find_stopped(&sample.loops);
        self.conditions.observe_stop(at, is_stopped);
        for loop_sample in &sample.loops {
            let (task, stack) = (loop_sample.task, loop_sample.stack);
            self.definitions.touch(task, stack);
            if let Some(tracked) = self.loops.get_mut(loop_sample.loop_id) {
                tracked.tick = self.ticks;
                let scene = Scene {
                    definitions: &self.definitions,
                    conditions: &self.conditions,
                    at,
                };
                self.gathered
                    .add(tracked, loop_sample, read, &scene, findings);
            }
        }
        for tracked in self.loops.iter_mut() {
            if tracked.tick != self.ticks {
                self.gathered.holds.end(tracked.path.serial);
                let step = tracked.miss(read, &self.conditions);
                let scene = Scene {
                    definitions: &self.definitions,
                    conditions: &self.conditions,
                    at,
                };
                self.gathered.settle(tracked, step, &scene, findings);
            }
        }
    }

    fn add_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        self.now = self.now.max(snapshot.began_monotonic_ns);
        self.gathered.add_census(snapshot);
        self.snapshot = Some(Arc::clone(snapshot));
    }

    fn add_interruption(&mut self, reason: Interruption, from: u64, until: u64) {
        self.conditions.add_pause(from, until);
        self.now = self.now.max(until);
        // One that is told again as it grows replaces itself.
        self.interruptions
            .pop_if(|last| last.0 == reason && last.1 == from);
        if self.interruptions.len() >= MAX_INTERRUPTIONS {
            self.interruptions.remove(0);
        }
        self.interruptions.push((reason, from, until));
    }

    fn end(&mut self, reason: EndReason, at: u64, findings: &mut Vec<Finding>) {
        self.now = self.now.max(at);
        self.ended = Some(reason);
        for tracked in self.loops.iter_mut() {
            let scene = Scene {
                definitions: &self.definitions,
                conditions: &self.conditions,
                at,
            };
            if reason == EndReason::TargetExited {
                let step = tracked.clock.end(at, &self.conditions);
                self.gathered.settle(tracked, step, &scene, findings);
            } else {
                self.gathered.leave_ongoing(tracked, &scene, findings);
            }
        }
    }
}
