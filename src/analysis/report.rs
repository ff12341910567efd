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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use asyncspy_model::report::LoopNow;
    use asyncspy_model::sample::EndReason;
    use asyncspy_model::{Event, LoopActivity};

    use crate::analysis::testing::{
        Bench, MS, START, busy, idle, of_loop, session, snapshot, stock, task_id, task_info,
    };
    use crate::analysis::{Analysis, Settings};

    #[test]
    fn there_is_no_report_before_a_session() {
        assert!(Analysis::new(Settings::default()).report().is_none());
    }

    #[test]
    fn it_can_be_shared_between_threads() {
        const fn shared<T: Send + Sync>() {}
        shared::<Analysis>();
    }

    #[test]
    fn the_busiest_loop_comes_first_and_says_what_it_does() {
        let mut bench = Bench::new();
        let turn = stock(1, START);
        for at in (10..=250).step_by(10) {
            let loops = [
                of_loop(1, LoopActivity::Idle),
                of_loop(2, LoopActivity::Busy(turn)),
            ];
            bench.sample(at * MS, &loops);
        }
        let report = bench.report();
        let summary: Vec<_> = report
            .loops
            .iter()
            .map(|one| (&*one.thread_name, one.now))
            .collect();
        let stalled = LoopNow::Stalled { for_ns: 250 * MS };
        assert_eq!(
            summary,
            [("thread-2", stalled), ("thread-1", LoopNow::Idle)]
        );
        assert_eq!(report.loops[0].turns.worst_ns, 250 * MS, "while it goes on");
    }

    #[test]
    fn a_loop_is_busy_unknown_or_gone() {
        let mut bench = Bench::new();
        let now = |bench: &Bench| bench.report().loops[0].now;
        assert_eq!(now(&bench), LoopNow::Unknown);
        bench.sample(10 * MS, &[busy(stock(1, START + 4 * MS))]);
        assert_eq!(now(&bench), LoopNow::Busy { for_ns: 6 * MS });
        bench.sample(20 * MS, &[of_loop(1, LoopActivity::Unknown)]);
        assert_eq!(now(&bench), LoopNow::Unknown);
        bench.samples(30, 30, idle());
        for at in [40, 50, 60] {
            assert_eq!(now(&bench), LoopNow::Idle);
            bench.sample(at * MS, &[]);
        }
        assert_eq!(now(&bench), LoopNow::Gone);
    }

    #[test]
    fn the_last_census_is_in_it_with_what_is_known_of_its_tasks() {
        let mut bench = Bench::new();
        let tasks = vec![task_info(1, "a"), task_info(2, "b")];
        let census = Arc::new(snapshot(1_000_500, tasks));
        bench.feed(&Event::Snapshot(Arc::clone(&census)));
        let report = bench.report();
        assert_eq!(report.snapshot, Some(census));
        assert_eq!((report.loops[0].tasks, report.loops[0].timers), (2, 3));
        assert_eq!(report.at_monotonic_ns, 1_000_500 * MS);
        let history = report.task_history.get(&task_id(2)).unwrap();
        assert_eq!(history.first_seen_monotonic_ns, 1_000_500 * MS);
    }

    #[test]
    fn a_target_that_replaces_itself_begins_anew_and_keeps_its_stalls() {
        let mut bench = Bench::new();
        bench.samples(10, 300, busy(stock(1, START)));
        let mut second = session(10 * MS);
        second.began_monotonic_ns = START + 305 * MS;
        second.python = "3.13.0".into();
        bench.feed(&Event::Session(second));
        let report = bench.report();
        assert_eq!(&*report.session.python, "3.13.0");
        assert!(report.loops.is_empty());
        assert_eq!((report.totals.stalls, report.stalls[0].ongoing), (1, false));
        bench.end(EndReason::TargetExited, 400 * MS);
        assert_eq!(bench.report().ended, Some(EndReason::TargetExited));
        assert_eq!(bench.report().totals.stalls, 1);
    }

    #[test]
    fn only_the_newest_stalls_are_kept_but_all_are_counted() {
        let settings = Settings {
            keep_stalls: 3,
            ..Settings::default()
        };
        let mut bench = Bench::with(settings, 10 * MS);
        for number in 0..10_u64 {
            let began = number * 400;
            let turn = stock(number, START + began * MS);
            bench.samples(began + 10, began + 200, busy(turn));
            bench.samples(began + 210, began + 390, idle());
        }
        let report = bench.report();
        let numbers: Vec<u64> = report.stalls.iter().map(|stall| stall.number).collect();
        assert_eq!(numbers, [10, 9, 8]);
        assert_eq!(report.totals.stalls, 10);
        assert_eq!(report.culprits.iter().map(|row| row.count).sum::<u64>(), 10);
    }
}
