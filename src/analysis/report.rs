//! Puts the report together.

use std::collections::BTreeMap;
use std::sync::Arc;

use asyncspy_model::report::{CallTree, LoopReport, Report, f64Bits};
use asyncspy_model::sample::Session;
use asyncspy_model::{LoopId, LoopInfo, Stall};

use super::Analysis;
use super::gathered::Scene;

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
            hot: Vec::new(),
            call_tree: Arc::new(CallTree::default()),
            snapshot: self.snapshot.clone(),
            task_history: Arc::new(BTreeMap::new()),
            interruptions: self.interruptions.clone(),
            ended: self.ended,
            totals: self.gathered.ledger.totals(),
        })
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
        let mut stalls: Vec<Arc<Stall>> =
            open.filter_map(|tracked| scene.ongoing(tracked)).collect();
        stalls.sort_by_key(|stall| std::cmp::Reverse(stall.began_monotonic_ns));
        stalls.extend(self.gathered.ledger.kept().cloned());
        stalls
    }
}
