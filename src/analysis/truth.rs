//! Property tests: made-up lives of loops, sampled as the sampler would, against what was true.

use std::sync::Arc;

use asyncspy_model::{
    Event, LoopActivity, LoopSample, Sample, SamplingQuality, Snapshot, Stall, Turn,
};
use proptest::prelude::*;

use super::testing::{
    Bench, MS, START, of_loop, opaque, snapshot, stock, task_id, task_info, waiting,
};
use super::{Mode, Settings};

/// One turn as it really was, in nanoseconds since [`START`].
#[derive(Clone, Copy, Debug)]
struct TrueTurn {
    began: u64,
    ended: u64,
}

/// A loop's life: turns with idle time between them.
fn lives(tick: u64) -> impl Strategy<Value = Vec<TrueTurn>> {
    let idle = prop_oneof![3 => 1..tick, 1 => tick..20 * tick];
    let busy = prop_oneof![4 => 1..tick, 2 => tick..4 * tick, 1 => 4 * tick..40 * tick];
    prop::collection::vec((idle, busy), 1..40).prop_map(move |lengths| {
        // Whatever ran at the attach has an unknown past; here nothing did.
        let mut at = 2 * tick;
        let turns = lengths.into_iter().map(|(idle, busy)| {
            let began = at + idle;
            at = began + busy;
            TrueTurn { began, ended: at }
        });
        turns.collect()
    })
}

/// How a stream is sampled.
#[derive(Clone, Debug)]
struct Sampling {
    tick: u64,
    /// When each read was done after it was due, and how long it took, in turn.
    delays: Vec<(u64, u64)>,
    /// Which of the samples are lost, in turn.
    lost: Vec<bool>,
}

fn samplings(tick: u64, can_lose: bool) -> impl Strategy<Value = Sampling> {
    let delay = (0..tick / 10, 0..tick / 20);
    let lost = prop::bool::weighted(if can_lose { 0.2 } else { 0.0 });
    (
        prop::collection::vec(delay, 7..30),
        prop::collection::vec(lost, 5..40),
    )
        .prop_map(move |(delays, lost)| Sampling { tick, delays, lost })
}

impl Sampling {
    /// (moment at which the sample is true, read took, done at) of every sample up to `until`.
    fn reads(&self, until: u64) -> Vec<(u64, u64, u64)> {
        let due = (0..).map(|number: u64| number * self.tick);
        let delays = self.delays.iter().cycle();
        let lost = self.lost.iter().cycle();
        let all = due.take_while(|due| *due <= until + 3 * self.tick);
        all.zip(delays)
            .zip(lost)
            .filter(|((due, _), lost)| *due == 0 || !**lost)
            .map(|((due, (delay, elapsed)), _)| {
                let done = due + self.tick + delay;
                // Anything the read shows was so somewhere within it: here, in the first half.
                (done - elapsed + elapsed / 3, *elapsed, done)
            })
            .collect()
    }
}

/// What a loop shows at a moment.
fn activity(life: &[TrueTurn], moment: u64, is_stock: bool) -> LoopActivity {
    let running = |turn: &TrueTurn| turn.began <= moment && moment < turn.ended;
    let Some(index) = life.iter().position(running) else {
        return LoopActivity::Idle;
    };
    let identity = index as u64 + 1;
    LoopActivity::Busy(if is_stock {
        Turn {
            callback: Some((2, 5)),
            ..stock(identity, START + life[index].began)
        }
    } else {
        opaque(identity)
    })
}

/// A stop of the whole target.
#[derive(Clone, Copy, Debug)]
struct Stop {
    from: u64,
    until: u64,
    /// True if an event tells it; else only the thread's state does.
    is_told: bool,
}

impl Stop {
    /// How long `turn` ran without it.
    fn running_time(self, turn: &TrueTurn) -> u64 {
        let overlap = turn
            .ended
            .min(self.until)
            .saturating_sub(turn.began.max(self.from));
        turn.ended - turn.began - overlap
    }
}

const NEVER: Stop = Stop {
    from: 0,
    until: 0,
    is_told: false,
};

/// The stalls that are found in these lives, the threshold being two ticks.
fn watch(lives: &[Vec<TrueTurn>], sampling: &Sampling, is_stock: bool, stop: Stop) -> Vec<Stall> {
    let settings = Settings {
        threshold_ns: 2 * sampling.tick,
        error_threshold_ns: 20 * sampling.tick,
        ..Settings::default()
    };
    let mut bench = Bench::with(settings, sampling.tick);
    let until = lives
        .iter()
        .flatten()
        .map(|turn| turn.ended)
        .max()
        .unwrap_or(0);
    let mut is_told = !stop.is_told;
    for (moment, elapsed_ns, done) in sampling.reads(until) {
        if !is_told && moment >= stop.until {
            bench.interrupt_ns(stop.from, stop.until);
            is_told = true;
        }
        let is_stopped = (stop.from..stop.until).contains(&moment);
        let loops = lives.iter().zip(1..).map(|(life, number)| LoopSample {
            os_state: if is_stopped { 'T' } else { 'R' },
            ..of_loop(number, activity(life, moment, is_stock))
        });
        bench.feed(&Event::Sample(Sample {
            at_monotonic_ns: START + done,
            elapsed_ns,
            loops: loops.collect(),
            quality: SamplingQuality::default(),
        }));
    }
    bench
        .ended()
        .iter()
        .map(|stall| (**stall).clone())
        .collect()
}

/// What has to be true of the stalls that are found.
struct Expectation {
    stop: Stop,
    /// Every turn of this length is found.
    must_find_ns: u64,
    /// No turn below this length is.
    must_ignore_ns: u64,
    /// How far off the beginning can be.
    slack_ns: u64,
}

/// Of a stock loop that is not stopped: the threshold is two ticks, and a bit more than one tick
/// of unseen time may count towards it.
fn exact(tick: u64) -> Expectation {
    Expectation {
        stop: NEVER,
        must_find_ns: 2 * tick,
        must_ignore_ns: tick / 2,
        slack_ns: 0,
    }
}

/// Checks the stalls of one loop against its life.
fn check(life: &[TrueTurn], stalls: &[Stall], expected: &Expectation) -> Result<(), TestCaseError> {
    let mut found = vec![0; life.len()];
    for stall in stalls {
        let began = stall.began_monotonic_ns - START;
        let can_be = |turn: &TrueTurn| turn.began.abs_diff(began) <= expected.slack_ns;
        let error_of =
            |turn: &TrueTurn| stall.duration_ns.abs_diff(expected.stop.running_time(turn));
        // Short turns can begin close together: the one that fits best is meant.
        let index = (0..life.len())
            .filter(|&index| can_be(&life[index]))
            .min_by_key(|&index| error_of(&life[index]));
        prop_assert!(index.is_some(), "no turn began at {began}");
        let index = index.unwrap();
        found[index] += 1;
        let truth = expected.stop.running_time(&life[index]);
        let error = stall.duration_ns.abs_diff(truth);
        prop_assert!(error <= stall.uncertainty_ns, "{stall:?} was {truth}");
        prop_assert!(truth >= expected.must_ignore_ns, "{stall:?} was {truth}");
    }
    for (turn, found) in life.iter().zip(found) {
        prop_assert!(found <= 1, "{turn:?} was found {found} times");
        let must_be_found = expected.stop.running_time(turn) >= expected.must_find_ns;
        prop_assert!(
            found == 1 || !must_be_found,
            "{turn:?} was not found in {stalls:?}"
        );
    }
    Ok(())
}

fn check_precision(stalls: &[Stall], tick: u64) -> Result<(), TestCaseError> {
    for stall in stalls {
        prop_assert!(stall.uncertainty_ns <= tick * 6 / 5, "{stall:?}");
    }
    Ok(())
}

/// The stalls of the loop with this number.
fn of(stalls: &[Stall], number: u64) -> Vec<Stall> {
    let id = super::testing::loop_id(number);
    stalls
        .iter()
        .filter(|stall| stall.loop_id == id)
        .cloned()
        .collect()
}

/// A census whose tasks wait for each other at random.
fn snapshot_of(one: u64, other: u64, at: u64, count: u32) -> Snapshot {
    let tasks = (0..count % 5).map(|number| {
        let mut task = waiting(task_info(one % 4 + u64::from(number), "task"), "sleep");
        task.awaited_by = vec![task_id(other % 5), task_id(one % 3)];
        task
    });
    let mut census = snapshot(0, tasks.collect());
    census.began_monotonic_ns = at;
    census
}

proptest! {
    #[test]
    fn every_stall_of_a_stock_loop_is_found_with_its_exact_beginning(
        (life, sampling) in prop_oneof![Just(10 * MS), Just(MS)]
            .prop_flat_map(|tick| (lives(tick), samplings(tick, false))),
    ) {
        let tick = sampling.tick;
        let stalls = watch(std::slice::from_ref(&life), &sampling, true, NEVER);
        check(&life, &stalls, &exact(tick))?;
        check_precision(&stalls, tick)?;
    }

    #[test]
    fn every_stall_of_a_loop_that_hides_its_turns_is_found(
        (life, sampling) in prop_oneof![Just(10 * MS), Just(MS)]
            .prop_flat_map(|tick| (lives(tick), samplings(tick, false))),
    ) {
        let tick = sampling.tick;
        let stalls = watch(std::slice::from_ref(&life), &sampling, false, NEVER);
        // Two samples must fall into it, at up to 1.15 ticks from each other.
        let expected = Expectation {
            must_find_ns: tick * 23 / 10,
            slack_ns: tick,
            ..exact(tick)
        };
        check(&life, &stalls, &expected)?;
        check_precision(&stalls, tick)?;
    }

    #[test]
    fn lost_samples_cost_certainty_but_not_truth(
        life in lives(10 * MS),
        sampling in samplings(10 * MS, true),
        is_stock: bool,
    ) {
        let stalls = watch(std::slice::from_ref(&life), &sampling, is_stock, NEVER);
        // A turn of forty ticks outlasts any run of lost samples here; shorter ones may be missed.
        let slack = if is_stock { 0 } else { 40 * sampling.tick };
        for stall in &stalls {
            let began = stall.began_monotonic_ns - START;
            let is_true = life.iter().any(|turn| {
                let truth = turn.ended - turn.began;
                turn.began.abs_diff(began) <= slack.min(stall.uncertainty_ns)
                    && truth.abs_diff(stall.duration_ns) <= stall.uncertainty_ns
            });
            prop_assert!(is_true, "{stall:?}");
        }
    }

    #[test]
    fn a_stop_of_the_target_is_taken_out_of_what_it_interrupts(
        life in lives(10 * MS),
        sampling in samplings(10 * MS, false),
        (from, length) in (20 * MS..2_000 * MS, 1..900 * MS),
        is_told: bool,
    ) {
        // The stop happens in the middle of whatever runs: that takes longer by it.
        // A stop between two samples that nobody tells of cannot be known.
        let length = if is_told { length } else { length + 15 * MS };
        let stop = Stop { from, until: from + length, is_told };
        let stretch = |at: u64| if at > from { at + length } else { at };
        let life: Vec<_> = life
            .into_iter()
            .map(|turn| TrueTurn { began: stretch(turn.began), ended: stretch(turn.ended) })
            .collect();
        let stalls = watch(std::slice::from_ref(&life), &sampling, true, stop);
        // If only samples show the stop, a turn that it interrupts is known to a tick less at
        // each side of it.
        let must_find_ns = sampling.tick * if is_told { 2 } else { 5 };
        let must_ignore_ns = if is_told { sampling.tick / 2 } else { 0 };
        let expected = Expectation { stop, must_find_ns, must_ignore_ns, slack_ns: 0 };
        check(&life, &stalls, &expected)?;
    }

    #[test]
    fn two_loops_do_not_disturb_each_other(
        one in lives(10 * MS),
        other in lives(10 * MS),
        sampling in samplings(10 * MS, false),
    ) {
        let lives = [one, other];
        let stalls = watch(&lives, &sampling, true, NEVER);
        for (life, number) in lives.iter().zip(1..) {
            let stalls = of(&stalls, number);
            check(life, &stalls, &exact(sampling.tick))?;
        }
    }

    #[test]
    fn hostile_samples_are_survived(
        samples in prop::collection::vec(any::<(u64, u64, u8, u64, u64, u32, u32)>(), 1..60),
    ) {
        let settings = Settings { counts_waits: true, keeps_timelines: true, ..Settings::default() };
        let mut bench = Bench::with(settings, 10 * MS);
        for (at, elapsed_ns, kind, identity, began, index, total) in samples {
            let turn = Turn {
                identity: identity % 3,
                began_monotonic_ns: Some(began).filter(|began| began % 2 == 0),
                begun_by_monotonic_ns: Some(began / 3).filter(|began| began % 2 == 1),
                callback_began_monotonic_ns: Some(began / 2).filter(|began| began % 3 == 0),
                callback: Some((index, total)),
                handle: asyncspy_model::RemoteAddr(identity),
            };
            let activity = match kind % 4 {
                0 => LoopActivity::Idle,
                1 => LoopActivity::Unknown,
                _ => LoopActivity::Busy(turn),
            };
            let mut sample = of_loop(u64::from(kind % 3), activity);
            sample.stack = Some(asyncspy_model::StackId(index));
            sample.task = Some(asyncspy_model::TaskIndex(total));
            sample.os_state = char::from(kind);
            bench.feed(&Event::Sample(Sample {
                at_monotonic_ns: at,
                elapsed_ns,
                loops: [sample].into(),
                quality: SamplingQuality::default(),
            }));
            if kind % 7 == 0 {
                bench.interrupt_ns(began, at);
            }
            let census = snapshot_of(identity, began, at, index);
            bench.feed(&Event::Snapshot(Arc::new(census)));
            if kind % 11 == 0 {
                bench.stack("f:1 g:2~ h:3!");
                bench.task("task", &["awaiter"]);
                bench.define_loop(u64::from(kind % 3));
            }
            for mode in [Mode::Busy, Mode::Stalls, Mode::Waits, Mode::Wall] {
                let profile = bench.analysis.profile(mode);
                prop_assert!(profile.stacks.iter().all(|(path, _)| !path.is_empty()));
            }
            prop_assert!(bench.analysis.report().is_some());
        }
    }
}
