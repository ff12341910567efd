//! Everything that is gathered over a session, fed by the loops' clocks and meters.

use std::sync::Arc;

use asyncspy_model::{LoopActivity, LoopSample, Snapshot, Stall};

use super::between::Between;
use super::call_tree::CachedCallTree;
use super::conditions::Conditions;
use super::definitions::Definitions;
use super::history::History;
use super::holds::Holds;
use super::ledger::Ledger;
use super::loop_time::LoopTime;
use super::meter::{Content, Slice};
use super::stall_clock::Step;
use super::story;
use super::tracked_loop::TrackedLoop;
use super::turn::Stretch;
use super::waits::Waits;
use super::{Finding, Settings};

/// What is gathered.
#[derive(Debug)]
pub(super) struct Gathered {
    pub ledger: Ledger,
    pub time: LoopTime,
    pub holds: Holds,
    pub history: History,
    pub waits: Option<Waits>,
    pub call_tree: CachedCallTree,
    stalls_only: bool,
}

/// What an event is judged by.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub definitions: &'a Definitions,
    pub conditions: &'a Conditions,
    /// The moment of the event.
    pub at: u64,
}

impl Scene<'_> {
    fn tell(&self, stretch: &Stretch, tracked: &TrackedLoop, is_ongoing: bool) -> Arc<Stall> {
        let loop_id = tracked.definition.id;
        let mut stall = story::tell(stretch, loop_id, self.definitions, self.conditions);
        stall.ongoing = is_ongoing;
        Arc::new(stall)
    }

    /// The stall that goes on in this loop.
    pub fn ongoing(&self, tracked: &TrackedLoop) -> Option<(Arc<Stall>, Stretch)> {
        let open = tracked.clock.open().filter(|open| open.number > 0)?;
        let stretch = open.stretch(open.seen(), self.conditions);
        Some((self.tell(&stretch, tracked, true), stretch))
    }
}

impl Gathered {
    pub fn new(settings: &Settings) -> Self {
        Self {
            ledger: Ledger::new(settings.keep_stalls),
            time: LoopTime::new(settings.keeps_timelines),
            holds: Holds::default(),
            history: History::default(),
            waits: settings.counts_waits.then(Waits::default),
            call_tree: CachedCallTree::default(),
            stalls_only: settings.stalls_only,
        }
    }

    /// Forgets everything but the tasks' history, which is about what there is now.
    pub fn clear(&mut self) {
        self.ledger.clear();
        self.time.clear();
        self.holds = Holds::default();
        if let Some(waits) = &mut self.waits {
            waits.clear();
        }
        self.call_tree = CachedCallTree::default();
    }

    /// Forgets what indices of stacks and tasks mean: a new session may give them anew.
    pub fn forget_indices(&mut self) {
        self.holds.forget_stacks();
        self.time.forget_indices();
    }

    /// Notes that it is now `now`.
    pub fn grow_older(&mut self, now: u64) {
        self.call_tree.grow_older(now, self.time.busy());
    }

    /// Takes over a census of all tasks.
    pub fn add_census(&mut self, snapshot: &Snapshot) {
        self.history.add_census(snapshot);
        if let Some(waits) = &mut self.waits {
            waits.add_census(snapshot);
        }
    }

    /// Adds a sample of a loop.
    pub fn add(
        &mut self,
        tracked: &mut TrackedLoop,
        sample: &LoopSample,
        read: Between,
        scene: &Scene,
        findings: &mut Vec<Finding>,
    ) {
        let content = Content::of(sample);
        let slices = match sample.weight_ns {
            Some(weight) => {
                let measured = (scene.at, weight.into());
                tracked.meter.take(measured, content, scene.conditions)
            }
            None => tracked.meter.advance(scene.at, content, scene.conditions),
        };
        for slice in slices.into_iter().flatten() {
            self.add_slice(tracked, &slice, scene.definitions);
        }
        let step = tracked.clock.observe(sample, read, scene.conditions);
        self.settle(tracked, step, scene, findings);
        tracked.last = Some(*sample);
        tracked.last_at = scene.at;
        if let LoopActivity::Busy(turn) = &sample.activity {
            tracked.hides_turns = turn.began_monotonic_ns.is_none();
            self.judge_open(tracked, scene, findings);
        }
    }

    fn add_slice(&mut self, tracked: &mut TrackedLoop, slice: &Slice, definitions: &Definitions) {
        let (at, weight_ns) = (slice.until_ns, slice.weight_ns);
        match slice.content {
            Content::Unknown => {}
            Content::Idle => tracked.health.add_time(at, weight_ns, false),
            Content::Busy(_) => tracked.health.add_time(at, weight_ns, true),
        }
        if self.stalls_only {
            return;
        }
        self.time.add(&tracked.path, slice, definitions);
        self.holds.add(tracked.path.serial, slice, definitions);
        if let Content::Busy(held) = slice.content
            && let Some(task) = definitions.task(held.task)
        {
            self.history.add_held(task, weight_ns, at);
        }
    }

    fn add_stall(
        &mut self,
        tracked: &TrackedLoop,
        stall: &Stall,
        stretch: &Stretch,
        scene: &Scene,
    ) {
        if !self.stalls_only {
            self.time
                .add_stall(&tracked.path, stall, stretch, scene.definitions);
        }
    }

    /// Numbers the turn that goes on if it has become a stall, and tells once when it is an error.
    fn judge_open(
        &mut self,
        tracked: &mut TrackedLoop,
        scene: &Scene,
        findings: &mut Vec<Finding>,
    ) {
        let rules = &scene.conditions.rules;
        let Some(open) = tracked.clock.open_mut() else {
            return;
        };
        tracked
            .health
            .note_age(scene.at, open.age_ns(&scene.conditions.pauses));
        let certain_ns = open.certain_ns(&scene.conditions.pauses);
        if certain_ns >= rules.threshold_ns {
            open.number = self.ledger.number(open.number);
        }
        if certain_ns >= rules.error_threshold_ns && !open.is_error_told {
            open.is_error_told = true;
            open.number = self.ledger.number(open.number);
            let ongoing = scene.ongoing(tracked);
            findings.extend(ongoing.map(|(stall, _)| Finding::StallPassedError(stall)));
        }
    }

    /// Enters what a step of the clock made known.
    pub fn settle(
        &mut self,
        tracked: &mut TrackedLoop,
        step: Step,
        scene: &Scene,
        findings: &mut Vec<Finding>,
    ) {
        if let Some(turn_ns) = step.turn_ns {
            tracked.health.add_turn(scene.at, turn_ns);
        }
        for mut stretch in step.stalls {
            stretch.number = self.ledger.number(stretch.number);
            let stall = scene.tell(&stretch, tracked, false);
            self.ledger.enter(&stall, stretch.is_error);
            self.add_stall(tracked, &stall, &stretch, scene);
            findings.push(Finding::StallEnded(stall));
        }
    }

    /// Enters a stall that goes on when sampling ends.
    pub fn leave_ongoing(
        &mut self,
        tracked: &TrackedLoop,
        scene: &Scene,
        findings: &mut Vec<Finding>,
    ) {
        let Some((stall, stretch)) = scene.ongoing(tracked) else {
            return;
        };
        let is_error = stall.duration_ns >= scene.conditions.rules.error_threshold_ns;
        self.ledger.enter(&stall, is_error);
        self.add_stall(tracked, &stall, &stretch, scene);
        findings.push(Finding::StallEnded(stall));
    }
}
