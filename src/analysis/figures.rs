//! Tests of the figures: simulated loops, sampled for minutes, against what is true of them.

use asyncspy_model::{LoopActivity, LoopSample, Turn};

use super::testing::{Bench, MS, START, busy, idle, of_loop, opaque, path_text, stock};
use super::{Mode, Settings};

/// A small generator of pseudo-random numbers (xorshift64, Marsaglia 2003): the same at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A loop that alternates between idle and busy times of random lengths.
struct Life {
    random: Random,
    mean_idle_ns: u64,
    mean_busy_ns: u64,
    turn: (u64, u64),
    number: u64,
    busy_ns: u64,
    turns: u64,
}

impl Life {
    fn new(mean_idle_ns: u64, mean_busy_ns: u64) -> Self {
        Self {
            random: Random(0x9E37_79B9_7F4A_7C15),
            mean_idle_ns,
            mean_busy_ns,
            turn: (0, 0),
            number: 0,
            busy_ns: 0,
            turns: 0,
        }
    }

    /// The turn that runs at this moment.
    fn at(&mut self, moment: u64) -> Option<Turn> {
        while self.turn.1 <= moment {
            // Uniform around the mean.
            let began = self.turn.1 + self.mean_idle_ns / 2 + self.random.below(self.mean_idle_ns);
            let busy = self.mean_busy_ns / 2 + self.random.below(self.mean_busy_ns);
            self.turn = (began, began + busy);
            self.number += 1;
            self.turns += 1;
            self.busy_ns += busy;
        }
        (self.turn.0 <= moment).then(|| stock(self.number, START + self.turn.0))
    }
}

/// Samples a life at 100 Hz for so many seconds, with jitter.
fn watch(bench: &mut Bench, life: &mut Life, seconds: u64, sample_of: impl Fn(Turn) -> LoopSample) {
    let mut random = Random(88_172_645_463_325_252);
    for tick in 1..=seconds * 100 {
        let at = tick * 10 * MS + random.below(MS / 2);
        let sample = life.at(at).map_or_else(idle, &sample_of);
        bench.sample(at, &[sample]);
    }
}

#[test]
fn a_healthy_loop_has_no_stall_and_the_right_figures() {
    // 5000 turns a second of 0.1 ms, for ten minutes.
    let mut bench = Bench::new();
    let mut life = Life::new(MS / 10, MS / 10);
    watch(&mut bench, &mut life, 600, busy);
    assert!(bench.findings.is_empty());
    let report = bench.report();
    let health = &report.loops[0];
    assert!(
        health.busy_permille.abs_diff(500) <= 20,
        "{}",
        health.busy_permille
    );
    let turns = &health.turns;
    assert_eq!(turns.reliable_from_ns, 10 * MS);
    assert!(turns.p50_ns.abs_diff(MS / 10) < MS / 20, "{turns:?}");
    assert!(turns.worst_ns < MS, "{turns:?}");
    assert!((report.achieved_hz.0 - 100.0).abs() < 1.0);
}

#[test]
fn an_idle_loop_has_no_stall() {
    let mut bench = Bench::new();
    bench.samples(0, 300_000, idle());
    assert!(bench.findings.is_empty());
    let report = bench.report();
    assert_eq!(
        (report.loops[0].busy_permille, report.loops[0].turns.seen),
        (0, 0)
    );
    assert!(report.hot.is_empty());
}

#[test]
fn busy_time_is_within_two_percent_of_the_truth_for_turns_of_any_length() {
    // Mean idle and busy time; seconds to watch, so that chance evens out.
    for (idle_ns, busy_ns, seconds) in [
        (MS, MS, 600),
        (20 * MS, 5 * MS, 2_000),
        (15 * MS, 12 * MS, 1_000),
        (40 * MS, 25 * MS, 600),
        (1_000 * MS, 300 * MS, 600),
    ] {
        let mut bench = Bench::new();
        let stack = bench.stack("sleep:5 job:7~ run!");
        let mut life = Life::new(idle_ns, busy_ns);
        watch(&mut bench, &mut life, seconds, |turn| LoopSample {
            stack,
            ..busy(turn)
        });
        let found: u64 = bench
            .analysis
            .profile(Mode::Busy)
            .stacks
            .iter()
            .map(|(_, ns)| ns)
            .sum();
        let error_permille = found.abs_diff(life.busy_ns) * 1_000 / life.busy_ns;
        assert!(
            error_permille <= 20,
            "{busy_ns} ns: off by {error_permille} ‰"
        );
        assert_eq!(bench.report().hot[0].self_ns, found);
    }
}

#[test]
fn blocked_time_goes_to_its_line_and_no_idle_time_with_it() {
    // A coroutine that sleeps for 300 ms each 1.3 s.
    let mut bench = Bench::new();
    let stack = bench.stack("block:12~ run!");
    let mut life = Life::new(1_000 * MS, 300 * MS);
    watch(&mut bench, &mut life, 130, |turn| LoopSample {
        stack,
        ..busy(turn)
    });
    let stalls = bench.ended();
    assert!(life.turns.abs_diff(stalls.len() as u64) <= 1);
    let profile = bench.analysis.profile(Mode::Stalls);
    assert_eq!(profile.stacks.len(), 1);
    let (path, found) = &profile.stacks[0];
    assert!(path_text(path).ends_with("block:12"));
    // The turn at the end of the watch is cut off.
    let (began, ended) = life.turn;
    let cut_off = if ended > 130_000 * MS {
        ended - began
    } else {
        0
    };
    let truth = life.busy_ns - cut_off;
    assert!(found.abs_diff(truth) * 100 <= truth, "{found} of {truth}");
}

#[test]
fn short_turns_of_a_loop_that_hides_them_are_not_taken_for_long_ones() {
    let mut bench = Bench::new();
    let mut life = Life::new(MS, MS);
    watch(&mut bench, &mut life, 600, |turn| {
        busy(opaque(turn.identity))
    });
    assert!(bench.findings.is_empty());
    let turns = bench.report().loops[0].turns;
    assert_eq!(turns.reliable_from_ns, 20 * MS);
    assert!(turns.worst_ns <= 12 * MS, "{turns:?}");
}

#[test]
fn ever_new_loops_take_bounded_room() {
    let mut bench = Bench::with(Settings::default(), 10 * MS);
    for number in 1..2_000 {
        bench.define_loop(number);
        let turn = stock(number, START + number * 10 * MS);
        bench.sample(
            number * 10 * MS,
            &[of_loop(number, LoopActivity::Busy(turn))],
        );
    }
    assert!(bench.report().loops.len() <= 256);
    assert!(bench.findings.is_empty());
}
