//! Everything that is gathered over a session, fed by the loops' clocks and meters.

use std::sync::Arc;

use asyncspy_model::{LoopActivity, LoopSample, Stall};

use super::between::Between;
use super::conditions::Conditions;
use super::definitions::Definitions;
use super::ledger::Ledger;
use super::meter::{Content, Slice};
use super::stall_clock::Step;
use super::story;
use super::tracked_loop::TrackedLoop;
use super::turn::Stretch;
use super::{Finding, Settings};

/// What is gathered.
#[derive(Debug)]
pub(super) struct Gathered {
    pub ledger: Ledger,
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
    pub fn ongoing(&self, tracked: &TrackedLoop) -> Option<Arc<Stall>> {
        let open = tracked.clock.open().filter(|open| open.number > 0)?;
        let stretch = open.stretch(open.seen(), self.conditions);
        Some(self.tell(&stretch, tracked, true))
    }
}

impl Gathered {
    pub fn new(settings: &Settings) -> Self {
        Self {
            ledger: Ledger::new(settings.keep_stalls),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ledger.clear();
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
        let slices = tracked.meter.advance(scene.at, content, scene.conditions);
        for slice in slices.into_iter().flatten() {
            self.add_slice(tracked, &slice);
        }
        let step = tracked.clock.observe(sample, read, scene.conditions);
        self.settle(tracked, step, scene, findings);
        tracked.last = Some(*sample);
        tracked.last_at = scene.at;
        if matches!(sample.activity, LoopActivity::Busy(_)) {
            self.judge_open(tracked, scene, findings);
        }
    }

    fn add_slice(&mut self, tracked: &mut TrackedLoop, slice: &Slice) {
        let is_busy = match slice.content {
            Content::Unknown => return,
            Content::Idle => false,
            Content::Busy(_) => true,
        };
        tracked
            .health
            .add_time(slice.until_ns, slice.weight_ns, is_busy);
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
            findings.extend(scene.ongoing(tracked).map(Finding::StallPassedError));
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
            let interval_ns = scene.conditions.rules.interval_ns;
            tracked.health.add_turn(scene.at, turn_ns, interval_ns);
        }
        for mut stretch in step.stalls {
            stretch.number = self.ledger.number(stretch.number);
            let stall = scene.tell(&stretch, tracked, false);
            self.ledger.enter(&stall, stretch.is_error);
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
        let Some(stall) = scene.ongoing(tracked) else {
            return;
        };
        let is_error = stall.duration_ns >= scene.conditions.rules.error_threshold_ns;
        self.ledger.enter(&stall, is_error);
        findings.push(Finding::StallEnded(stall));
    }
}
