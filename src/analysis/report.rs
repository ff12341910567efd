//! Puts the report together.

use std::sync::Arc;

use asyncspy_model::report::{LoopReport, Report, f64Bits};
use asyncspy_model::sample::Session;
use asyncspy_model::{LoopId, LoopInfo, Stall};

use super::gathered::Scene;
use super::waits::Waits;
use super::{Analysis, Mode, Profile};

impl Analysis {
    /// Everything that is known now; `None` before a session has begun.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let session: &Session = self.definitions.session()?;
        Some(Report {
            session: session.clone(),
            at_monotonic_ns: self.now,
            quality: self.quality,
            achieved_hz: f64Bits(self.rate.hz()),
            loops: self.loop_reports(),
            stalls: self.stalls(),
            culprits: self.gathered.ledger.culprits(),
            hot: self.gathered.holds.report(),
            call_tree: self
                .gathered
                .call_tree
                .get(self.now, self.gathered.time.busy()),
            snapshot: self.snapshot.clone(),
            task_history: self.gathered.history.report(),
            interruptions: self.interruptions.clone(),
            ended: self.ended,
            totals: self.gathered.ledger.totals(),
        })
    }

    /// Where the time went so far, for flame graphs. Moments are counted from the beginning of the
    /// first session.
    #[must_use]
    pub fn profile(&self, mode: Mode) -> Profile {
        if mode == Mode::Waits {
            let waits = self.gathered.waits.as_ref();
            return waits.map(Waits::profile).unwrap_or_default();
        }
        self.gathered
            .time
            .profile(mode, self.origin.unwrap_or_default())
    }

    /// The loops, busiest first.
    fn loop_reports(&self) -> Vec<LoopReport> {
        let report = |tracked: &super::TrackedLoop| {
            tracked.report(
                self.now,
                self.loop_info(tracked.definition.id),
                &self.conditions,
            )
        };
        let mut loops: Vec<LoopReport> = self.loops.iter().map(report).collect();
        loops.sort_by_key(|one| (std::cmp::Reverse(one.busy_permille), one.id));
        loops
    }

    /// What the last census says of a loop.
    fn loop_info(&self, id: LoopId) -> Option<&LoopInfo> {
        let snapshot = self.snapshot.as_ref()?;
        snapshot.loops.iter().find(|info| info.id == id)
    }

    /// Stalls that go on, then those that are over, newest first.
    fn stalls(&self) -> Vec<Arc<Stall>> {
        let scene = Scene {
            definitions: &self.definitions,
            conditions: &self.conditions,
            at: self.now,
        };
        // At the end of sampling those that went on were entered as such.
        let open = self.loops.iter().filter(|_| self.ended.is_none());
        let mut stalls: Vec<Arc<Stall>> = open
            .filter_map(|tracked| scene.ongoing(tracked))
            .map(|(stall, _)| stall)
            .collect();
        stalls.sort_by_key(|stall| std::cmp::Reverse(stall.began_monotonic_ns));
        stalls.extend(self.gathered.ledger.kept().cloned());
        stalls
    }
}
