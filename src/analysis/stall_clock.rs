//! The clock on one loop: follows its turns from sample to sample.
//!
//! A stock loop records when each turn began, so the beginning is exact from one sample. The end
//! lies between the last sample that saw the turn and the first that does not, and not after the
//! beginning of the next turn.
//!
//! Any other loop shows only what runs. There the beginning, too, lies between two samples. If
//! such a loop goes idle and runs the same activity again between two samples, nothing shows it:
//! the two count as one. A long gap between samples therefore counts as little evidence.

use asyncspy_model::{LoopActivity, LoopSample, Turn};

use super::between::Between;
use super::conditions::Conditions;
use super::turn::{OpenTurn, Stretch};

/// Samples in a row that lack a loop before it is taken to have ended: one read may fail.
const MISSING_MEANS_GONE: u32 = 3;

/// Follows the turns of one loop.
#[derive(Debug, Default)]
pub(super) struct StallClock {
    open: Option<OpenTurn>,
    /// The last sample that showed what the loop did.
    last: Option<Between>,
    /// Samples in a row that lacked the loop, and the first of them.
    missing: Option<(u32, Between)>,
}

/// What one sample made known.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Length of the turn that is over.
    pub turn_ns: Option<u64>,
    /// Stalls that are over.
    pub stalls: Vec<Stretch>,
}

impl StallClock {
    /// The turn that was going on at the last sample.
    pub const fn open(&self) -> Option<&OpenTurn> {
        self.open.as_ref()
    }

    /// The turn that was going on at the last sample.
    pub const fn open_mut(&mut self) -> Option<&mut OpenTurn> {
        self.open.as_mut()
    }

    /// True if the loop does not run any more.
    pub fn is_gone(&self) -> bool {
        self.missing
            .is_some_and(|(count, _)| count >= MISSING_MEANS_GONE)
    }

    /// Adds a sample of the loop that was read within `read`.
    pub fn observe(&mut self, sample: &LoopSample, read: Between, conditions: &Conditions) -> Step {
        self.missing = None;
        let step = match &sample.activity {
            LoopActivity::Unknown => return Step::default(),
            LoopActivity::Idle => self.end(read.latest, conditions),
            LoopActivity::Busy(turn) => self.observe_turn(sample, turn, read, conditions),
        };
        self.last = Some(read);
        step
    }

    fn observe_turn(
        &mut self,
        sample: &LoopSample,
        turn: &Turn,
        read: Between,
        conditions: &Conditions,
    ) -> Step {
        if let Some(open) = self.open.as_mut().filter(|open| open.is(turn)) {
            open.see(sample, turn, read, conditions);
            let split = open.split_off(open.seen(), conditions);
            return Step {
                turn_ns: None,
                stalls: split.into_iter().collect(),
            };
        }
        let next_began = turn.began_monotonic_ns.or(turn.begun_by_monotonic_ns);
        let next_began = next_began.unwrap_or(read.latest);
        let step = self.end(next_began.min(read.latest), conditions);
        self.open = Some(OpenTurn::begin(sample, turn, read, self.last, conditions));
        step
    }

    /// Notes a sample that lacks the loop.
    pub fn miss(&mut self, read: Between, conditions: &Conditions) -> Step {
        let (count, first) = self.missing.unwrap_or((0, read));
        self.missing = Some((count.saturating_add(1), first));
        if self.is_gone() {
            self.end(first.latest, conditions)
        } else {
            Step::default()
        }
    }

    /// Ends the turn that is open: it was over at `latest`.
    pub fn end(&mut self, latest: u64, conditions: &Conditions) -> Step {
        let Some(mut open) = self.open.take() else {
            return Step::default();
        };
        let earliest = open.seen().earliest;
        let ended = Between::new(earliest, latest.max(earliest));
        let mut stalls: Vec<Stretch> = open.split_off(ended, conditions).into_iter().collect();
        if open.reaches(conditions.rules.threshold_ns, ended, conditions) {
            stalls.push(open.stretch(ended, conditions));
        }
        Step {
            turn_ns: Some(open.turn_ns(ended, &conditions.pauses)),
            stalls,
        }
    }
}

#[cfg(test)]
mod tests {
    use asyncspy_model::sample::EndReason;
    use asyncspy_model::{BeganIs, Cause, LoopActivity, RemoteAddr, Turn};

    use crate::analysis::Finding;
    use crate::analysis::testing::{Bench, MS, START, busy, idle, of_loop, opaque, stock};

    /// A stock turn that began at this millisecond, with a callback of so many.
    fn turn(began_ms: u64, callback: (u32, u32)) -> Turn {
        Turn {
            callback: Some(callback),
            handle: RemoteAddr(0x100 + u64::from(callback.0)),
            ..stock(began_ms + 1, START + began_ms * MS)
        }
    }

    /// (began in ms, duration in ms, uncertainty in ms) of every stall that is over.
    fn ended(bench: &Bench) -> Vec<(u64, u64, u64)> {
        let ms = |ns: u64| ns / MS;
        let stalls = bench.ended();
        let summary = stalls.iter().map(|stall| {
            let began = stall.began_monotonic_ns - START;
            (ms(began), ms(stall.duration_ns), ms(stall.uncertainty_ns))
        });
        summary.collect()
    }

    #[test]
    fn a_stall_has_an_exact_beginning_and_a_bounded_end() {
        let mut bench = Bench::new();
        bench.samples(0, 90, idle());
        bench.samples(100, 290, busy(turn(93, (0, 1))));
        assert!(bench.findings.is_empty());
        bench.samples(300, 300, idle());
        // Over between 290 and 300.
        assert_eq!(ended(&bench), [(93, 202, 5)]);
        let stall = &bench.ended()[0];
        assert_eq!(stall.number, 1);
        assert_eq!(stall.samples, 20);
        assert_eq!(stall.began_is, BeganIs::Callback);
        assert_eq!(stall.cause, Cause::Blocked);
        assert!(!stall.ongoing);
    }

    #[test]
    fn the_next_turn_bounds_the_end() {
        let mut bench = Bench::new();
        bench.samples(0, 200, busy(turn(0, (0, 1))));
        bench.samples(210, 210, busy(turn(204, (0, 1))));
        assert_eq!(ended(&bench), [(0, 202, 2)]);
    }

    #[test]
    fn a_stall_that_goes_on_is_shown_and_grows_and_is_told_once_past_the_error_threshold() {
        let mut bench = Bench::new();
        bench.samples(10, 90, busy(turn(0, (0, 1))));
        assert!(bench.report().stalls.is_empty());
        for (until, expected) in [(100, 100), (400, 400)] {
            bench.samples(until, until, busy(turn(0, (0, 1))));
            let stalls = bench.report().stalls;
            assert_eq!(stalls.len(), 1);
            assert!(stalls[0].ongoing);
            assert_eq!(stalls[0].duration_ns / MS, expected);
        }
        assert!(bench.findings.is_empty());
        bench.samples(500, 900, busy(turn(0, (0, 1))));
        let Finding::StallPassedError(stall) = &bench.findings[0] else {
            panic!("{:?}", bench.findings);
        };
        assert_eq!(
            (stall.number, stall.duration_ns / MS, stall.ongoing),
            (1, 500, true)
        );
        bench.samples(910, 950, idle());
        assert_eq!(bench.findings.len(), 2);
        assert_eq!(ended(&bench), [(0, 905, 5)]);
        let report = bench.report();
        assert_eq!(report.stalls.len(), 1);
        assert_eq!((report.totals.stalls, report.totals.errors), (1, 1));
    }

    #[test]
    fn one_sample_of_a_long_turn_is_enough() {
        let mut bench = Bench::new();
        bench.sample(5_000 * MS, &[busy(turn(0, (3, 9)))]);
        let stalls = bench.report().stalls;
        assert_eq!(stalls[0].duration_ns, 5_000 * MS);
        assert_eq!(stalls[0].began_is, BeganIs::Turn);
        assert_eq!(stalls[0].callbacks, Some((3, 9)));
    }

    #[test]
    fn failed_samples_widen_the_uncertainty() {
        let mut bench = Bench::new();
        bench.samples(10, 200, busy(turn(0, (0, 1))));
        bench.samples(210, 240, of_loop(1, LoopActivity::Unknown));
        bench.sample(260 * MS, &[idle()]);
        assert_eq!(ended(&bench), [(0, 230, 30)]);
    }

    #[test]
    fn a_turn_that_ends_while_it_is_read_is_within_the_uncertainty() {
        let mut bench = Bench::new();
        bench.elapsed_ns = 4 * MS;
        bench.samples(0, 200, busy(turn(0, (0, 1))));
        bench.sample(210 * MS, &[idle()]);
        // Read between 196 and 200.
        assert_eq!(ended(&bench), [(0, 203, 7)]);
    }

    #[test]
    fn a_late_tick_makes_no_stall_of_a_short_turn() {
        for next in [idle(), busy(turn(1_000, (0, 1)))] {
            let mut bench = Bench::new();
            bench.samples(0, 20, busy(turn(0, (0, 1))));
            bench.sample(1_010 * MS, &[next]);
            assert_eq!(ended(&bench), []);
        }
        let mut bench = Bench::new();
        bench.samples(0, 20, busy(opaque(7)));
        bench.sample(1_010 * MS, &[busy(opaque(7))]);
        bench.sample(1_020 * MS, &[idle()]);
        assert_eq!(ended(&bench), []);
        assert!(bench.report().stalls.is_empty());
    }

    #[test]
    fn a_late_tick_inside_of_a_stall_splits_nothing() {
        let mut bench = Bench::new();
        bench.sample(0, &[idle()]);
        bench.samples(10, 100, busy(opaque(7)));
        bench.samples(180, 220, busy(opaque(7)));
        bench.sample(230 * MS, &[idle()]);
        assert_eq!(ended(&bench), [(5, 220, 10)]);
        assert_eq!(bench.ended()[0].began_is, BeganIs::Sample);
    }

    #[test]
    fn a_loop_that_hides_its_turns_is_timed_by_what_runs() {
        let mut bench = Bench::new();
        bench.samples(0, 100, idle());
        bench.samples(110, 150, busy(opaque(1)));
        bench.samples(160, 400, busy(opaque(2)));
        bench.samples(410, 420, busy(opaque(3)));
        bench.samples(430, 500, idle());
        assert_eq!(ended(&bench), [(155, 250, 10)]);
    }

    #[test]
    fn a_turn_that_is_known_to_have_begun_before_its_first_sample_is_timed_by_that() {
        let begun_by = |at_ms: u64| Turn {
            begun_by_monotonic_ns: Some(START + at_ms * MS),
            ..opaque(at_ms)
        };
        let mut bench = Bench::new();
        bench.samples(0, 100, idle());
        bench.samples(110, 290, busy(begun_by(104)));
        // It asks for the time as it goes on, which tells nothing of its beginning.
        bench.samples(300, 300, idle());
        bench.samples(310, 310, busy(begun_by(304)));
        bench.samples(
            320,
            490,
            busy(Turn {
                identity: 304,
                ..begun_by(400)
            }),
        );
        bench.samples(500, 500, idle());
        // Begun between 100 and 104, over between 290 and 300.
        assert_eq!(ended(&bench), [(102, 193, 7), (302, 193, 7)]);
    }

    #[test]
    fn a_moment_that_makes_no_sense_says_nothing_of_the_beginning() {
        for begun_by in [0, START + 20 * MS, START + 900 * MS, u64::MAX] {
            let mut bench = Bench::new();
            let turn = Turn {
                begun_by_monotonic_ns: Some(begun_by),
                ..opaque(1)
            };
            bench.samples(0, 100, idle());
            bench.samples(110, 290, busy(turn));
            bench.samples(300, 300, idle());
            let [(began, duration, _)] = *ended(&bench) else {
                panic!("{begun_by}");
            };
            assert!((100..=110).contains(&began), "{begun_by}: {began}");
            assert!((180..=200).contains(&duration), "{begun_by}: {duration}");
        }
    }

    #[test]
    fn a_single_sample_of_a_loop_that_hides_its_turns_is_no_stall() {
        let mut bench = Bench::new();
        bench.sample(0, &[idle()]);
        bench.sample(500 * MS, &[busy(opaque(1))]);
        bench.sample(1_000 * MS, &[idle()]);
        assert_eq!(ended(&bench), []);
    }

    #[test]
    fn many_small_callbacks_in_one_turn_are_a_stall_of_their_own_kind() {
        let mut bench = Bench::new();
        for index in 0..20 {
            let at = u64::from(index) * 10 + 5;
            bench.sample(at * MS, &[busy(turn(0, (index, 20)))]);
        }
        bench.sample(205 * MS, &[idle()]);
        assert_eq!(ended(&bench), [(0, 200, 5)]);
        let stall = &bench.ended()[0];
        assert_eq!(stall.cause, Cause::ManyCallbacks);
        assert_eq!(stall.began_is, BeganIs::Turn);
        assert_eq!(stall.callbacks, Some((19, 20)));
    }

    #[test]
    fn a_long_callback_after_short_ones_is_named_and_the_turn_is_timed() {
        let mut bench = Bench::new();
        bench.samples(10, 40, busy(turn(0, (0, 3))));
        bench.samples(50, 250, busy(turn(0, (1, 3))));
        bench.samples(260, 260, busy(turn(0, (2, 3))));
        bench.samples(270, 270, idle());
        assert_eq!(ended(&bench), [(0, 265, 5)]);
        assert_eq!(bench.ended()[0].began_is, BeganIs::Turn);
    }

    #[test]
    fn debug_mode_gives_the_exact_beginning_of_the_callback() {
        let mut bench = Bench::new();
        let debug = Turn {
            callback_began_monotonic_ns: Some(START + 47 * MS),
            ..turn(0, (1, 3))
        };
        bench.samples(10, 40, busy(turn(0, (0, 3))));
        bench.samples(50, 250, busy(debug));
        bench.samples(260, 260, idle());
        assert_eq!(ended(&bench), [(47, 208, 5)]);
        assert_eq!(bench.ended()[0].began_is, BeganIs::Callback);
    }

    #[test]
    fn a_sample_just_before_or_after_the_callback_takes_no_blame() {
        for (before, after) in [
            (RemoteAddr::NULL, RemoteAddr(0x9)),
            (RemoteAddr(0x100), RemoteAddr::NULL),
        ] {
            let mut bench = Bench::new();
            let mut blocker = busy(turn(0, (0, 1)));
            blocker.task = bench.task("blocker", &[]);
            let between = |handle| {
                busy(Turn {
                    handle,
                    ..turn(0, (0, 1))
                })
            };
            bench.sample(MS, &[between(before)]);
            bench.samples(10, 200, blocker);
            bench.sample(209 * MS, &[between(after)]);
            bench.samples(210, 220, idle());
            assert_eq!(ended(&bench), [(0, 209, 0)]);
            let stall = &bench.ended()[0];
            assert_eq!(&*stall.name, "blocker");
            assert_eq!(stall.began_is, BeganIs::Callback);
        }
    }

    #[test]
    fn two_long_callbacks_of_one_turn_are_two_stalls() {
        let mut bench = Bench::new();
        let mut first = busy(turn(0, (0, 2)));
        first.task = bench.task("first", &[]);
        let mut second = busy(turn(0, (1, 2)));
        second.task = bench.task("second", &[]);
        bench.samples(0, 150, first);
        bench.samples(160, 500, second);
        bench.samples(510, 510, idle());
        assert_eq!(ended(&bench), [(0, 155, 5), (155, 350, 10)]);
        let names: Vec<_> = bench
            .ended()
            .iter()
            .map(|stall| stall.name.clone())
            .collect();
        assert_eq!(names, ["first".into(), "second".into()]);
        assert_eq!(bench.ended()[1].began_is, BeganIs::Sample);
        assert_eq!(bench.ended()[1].samples, 35);
        let report = bench.report();
        assert_eq!(report.totals.stalls, 2);
        assert_eq!(
            report.loops[0].turns.worst_ns / MS,
            505,
            "it is one turn all the same"
        );
    }

    #[test]
    fn a_stopped_target_is_no_stall() {
        // Named by an event, seen by the thread's state, or both.
        for (is_named, os_state) in [(true, 'S'), (false, 'T'), (true, 'T')] {
            let mut bench = Bench::new();
            let mut held = busy(turn(0, (0, 1)));
            bench.sample(5 * MS, &[held]);
            held.os_state = os_state;
            if is_named {
                for until in (10..=1_000).step_by(10) {
                    bench.interrupt(8, until);
                    bench.sample(until * MS, &[held]);
                }
                bench.interrupt(8, 1_003);
            } else {
                bench.samples(10, 1_000, held);
            }
            bench.sample(1_010 * MS, &[idle()]);
            assert!(bench.findings.is_empty(), "{is_named} {os_state}");
        }
    }

    #[test]
    fn a_stall_is_shortened_by_the_time_at_which_the_target_was_stopped() {
        let mut bench = Bench::new();
        bench.samples(0, 200, busy(turn(0, (0, 1))));
        bench.interrupt(205, 705);
        bench.samples(710, 900, busy(turn(0, (0, 1))));
        bench.samples(910, 910, idle());
        assert_eq!(ended(&bench), [(0, 405, 5)]);
        assert_eq!(bench.report().interruptions.len(), 1);
    }

    #[test]
    fn loops_are_timed_apart() {
        let mut bench = Bench::new();
        for at in (0..=300).step_by(10) {
            let first = LoopActivity::Busy(turn(0, (0, 1)));
            let second = LoopActivity::Busy(turn(at, (0, 1)));
            bench.sample(at * MS, &[of_loop(1, first), of_loop(2, second)]);
        }
        bench.sample(
            310 * MS,
            &[
                of_loop(1, LoopActivity::Idle),
                of_loop(2, LoopActivity::Idle),
            ],
        );
        assert_eq!(ended(&bench), [(0, 305, 5)]);
    }

    #[test]
    fn a_loop_inside_of_a_callback_gives_the_turn_back_without_a_false_stall() {
        // nest_asyncio: the outer turn is seen again after the inner loop was idle.
        let mut bench = Bench::new();
        bench.samples(0, 20, busy(turn(0, (0, 1))));
        bench.samples(30, 1_000, idle());
        bench.samples(1_010, 1_030, busy(turn(0, (0, 1))));
        bench.samples(1_040, 1_050, idle());
        assert_eq!(ended(&bench), []);
    }

    #[test]
    fn a_loop_that_ends_within_a_stall_ends_the_stall() {
        let mut bench = Bench::new();
        bench.samples(0, 200, busy(turn(0, (0, 1))));
        for at in [210, 220] {
            bench.sample(at * MS, &[]);
        }
        assert_eq!(ended(&bench), []);
        bench.sample(230 * MS, &[]);
        assert_eq!(ended(&bench), [(0, 205, 5)]);
    }

    #[test]
    fn one_sample_without_the_loop_ends_nothing() {
        let mut bench = Bench::new();
        bench.samples(0, 200, busy(turn(0, (0, 1))));
        bench.sample(210 * MS, &[]);
        bench.samples(220, 300, busy(turn(0, (0, 1))));
        bench.samples(310, 310, idle());
        assert_eq!(ended(&bench), [(0, 305, 5)]);
    }

    #[test]
    fn a_stall_at_the_end_of_sampling_is_kept() {
        for (reason, expected, ongoing) in [
            (EndReason::Duration, (0, 200, 0), true),
            (EndReason::TargetExited, (0, 203, 3), false),
        ] {
            let mut bench = Bench::new();
            bench.samples(0, 200, busy(turn(0, (0, 1))));
            bench.end(reason, 206 * MS);
            assert_eq!(ended(&bench), [expected]);
            let report = bench.report();
            assert_eq!(report.stalls.len(), 1);
            assert_eq!(report.stalls[0].ongoing, ongoing);
            assert_eq!((report.totals.stalls, report.ended), (1, Some(reason)));
        }
    }
}
