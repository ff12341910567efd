//! What a program logged of its own stalls, against what was seen of them from outside.

use std::fmt;

use serde::Deserialize;

use crate::watching::{Place, Stall, Told};
use crate::{pauses, watching};

/// The program reads the clock around the call that blocks. What its turn does before that is
/// part of the stall, but not of this truth.
const SLACK_NS: u64 = 1_000_000;

/// The `--threshold` to watch with; the shortest stall of `blocker.py` is to last 50 ms.
pub const THRESHOLD: &str = "45";
const THRESHOLD_NS: u64 = 45_000_000;

/// The scheduler may hold the program up between the beginning of its turn and its first look at
/// the clock; one processor's time slice under load is a few milliseconds (`sched(7)`).
const SLICE_NS: u64 = 20_000_000;

/// How long two looks at a loop take, one at either end of a stall: what happens during a look
/// may have been before it or after it. Not optimised, asyncspy takes its time.
pub fn looks_ns() -> u64 {
    let is_optimised = !cfg!(debug_assertions) || watching::is_other_binary();
    if is_optimised { 0 } else { 1_500_000 }
}

/// What `blocker.py` says of itself.
#[derive(Debug, Deserialize)]
pub struct Log {
    pub stalls: Vec<TrueStall>,
    pub gaps: Vec<Gap>,
    pub finished: bool,
}

/// A stall as the program made it.
#[derive(Debug, Deserialize)]
pub struct TrueStall {
    pub kind: String,
    pub task: Option<String>,
    pub task_id: Option<String>,
    pub handler: Option<String>,
    /// The last look at the clock before the turn. The scheduler may take the processor away
    /// between the beginning of the turn and the call, too.
    pub asked_ns: u64,
    pub began_ns: u64,
    pub ended_ns: u64,
    /// The first look at the clock in the next turn. The scheduler may take the processor away
    /// between the end of the call and the end of its turn, and the loop is held till then.
    pub over_ns: u64,
    pub function: String,
    pub line: u32,
    pub last_line: u32,
}

/// A time in which the program was held up by something else.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Gap {
    pub began_ns: u64,
    pub ended_ns: u64,
}

impl Gap {
    /// True if a stall that was seen may be this gap.
    pub fn explains(&self, stall: &Stall) -> bool {
        let began = self.began_ns.saturating_sub(SLICE_NS);
        stall.overlap_ns(began, self.ended_ns + SLICE_NS) > 0
    }
}

impl TrueStall {
    const fn duration_ns(&self) -> u64 {
        self.ended_ns - self.began_ns
    }

    /// How far a duration is off: to the end of the turn, which lies between two looks at the
    /// clock, from where it was seen to begin if it may have begun there, else from the call.
    fn off_ns(&self, stall: &Stall) -> u64 {
        let began = match self.may_have_begun(stall.began_monotonic_ns) {
            true => stall.began_monotonic_ns,
            false => self.began_ns,
        };
        let (shortest, longest) = (self.ended_ns - began, self.over_ns - began);
        let too_short = shortest.saturating_sub(stall.duration_ns);
        too_short + stall.duration_ns.saturating_sub(longest)
    }

    /// True if its turn may have begun then.
    fn may_have_begun(&self, at_ns: u64) -> bool {
        (self.asked_ns..=self.began_ns).contains(&at_ns)
    }

    fn is_blocked_at(&self, place: &Place) -> bool {
        place.function == self.function
            && place.file.ends_with("/blocks.py")
            && (self.line..=self.last_line).contains(&place.line)
    }

    fn has_task(&self, stall: &Stall) -> bool {
        match (&self.task, &self.task_id) {
            (Some(name), Some(_)) => *name == stall.name && self.task_id == stall.task,
            _ => stall.task.is_none(),
        }
    }

    fn has_handler(&self, stall: &Stall) -> bool {
        let functions = || stall.coroutine_stack.iter().map(|place| &*place.function);
        match &self.handler {
            Some(handler) => functions().next_back() == Some(handler),
            None => functions().next().is_none(),
        }
    }
}

/// Counts of agreement and of the lack of it.
#[derive(Debug, Default)]
pub struct Evidence {
    pub stalls: usize,
    pub missed: usize,
    pub begins_wrong: usize,
    pub durations_wrong: usize,
    pub durations_far_off: usize,
    pub uncertain: usize,
    pub tasks_wrong: usize,
    pub places_wrong: usize,
    pub false_stalls: usize,
    /// Stalls that began or ended in a pause of the machine: not held to any time.
    pub excused: usize,
    pub worst_begin_ns: u64,
    pub worst_uncertainty_ns: u64,
    /// Ticks of a thousand that came late or not at all: the machine had no time for them.
    pub irregular_permille: u64,
    pub lines: Vec<String>,
}

impl Evidence {
    /// Compares. `begin_limit_ns` is how far off a beginning may be.
    pub fn gather(log: &Log, told: &Told, interval_ns: u64, begin_limit_ns: u64) -> Self {
        let irregular = told.quality("late") + told.quality("skipped");
        let mut evidence = Self {
            irregular_permille: irregular * 1000 / told.quality("samples").max(1),
            ..Self::default()
        };
        let mut used = vec![false; told.stalls.len()];
        for expected in &log.stalls {
            let overlap =
                |at: &usize| told.stalls[*at].overlap_ns(expected.began_ns, expected.ended_ns);
            evidence.stalls += 1;
            match (0..told.stalls.len()).max_by_key(overlap) {
                Some(at) if overlap(&at) > 0 => {
                    used[at] = true;
                    let limits = (interval_ns, begin_limit_ns);
                    evidence.compare(expected, &told.stalls[at], limits);
                }
                // On a busy machine the program measures its own speed too low, and then blocks
                // for less than it meant to.
                _ if expected.duration_ns() < THRESHOLD_NS.max(2 * interval_ns) => {}
                _ => evidence.note_missed(expected),
            }
        }
        for (stall, used) in told.stalls.iter().zip(used) {
            let is_excused = log.gaps.iter().any(|gap| gap.explains(stall))
                || pauses::any_between(stall.began_monotonic_ns, stall.ended_ns());
            if !used && !is_excused {
                evidence.false_stalls += 1;
                evidence.lines.push(format!("false: {}", stall.brief()));
            }
        }
        evidence
    }

    fn note_missed(&mut self, expected: &TrueStall) {
        self.missed += 1;
        self.lines.push(format!(
            "missed: {} for {} ns: {expected:?}",
            expected.kind,
            expected.duration_ns()
        ));
    }

    fn compare(&mut self, expected: &TrueStall, stall: &Stall, limits: (u64, u64)) {
        let (interval_ns, begin_limit_ns) = limits;
        let begin_off = stall.began_monotonic_ns.abs_diff(expected.began_ns);
        let begins_wrong =
            begin_off > begin_limit_ns && !expected.may_have_begun(stall.began_monotonic_ns);
        let off = expected.off_ns(stall);
        let allowed = stall.uncertainty_ns + SLACK_NS;
        let is_excused = was_paused(expected, stall, interval_ns);
        self.excused += usize::from(is_excused);
        if !is_excused {
            self.worst_begin_ns = self.worst_begin_ns.max(begin_off);
            self.worst_uncertainty_ns = self.worst_uncertainty_ns.max(stall.uncertainty_ns);
        }
        let is_uncertain = stall.uncertainty_ns > interval_ns * 6 / 5 + looks_ns();
        let is_far = off > allowed + SLICE_NS;
        let has_task = expected.has_task(stall) && expected.has_handler(stall);
        let place = stall.culprit.as_ref();
        let has_place = place.is_some_and(|place| expected.is_blocked_at(place));
        let timing = !is_excused;
        let checks = [
            (&mut self.begins_wrong, timing && begins_wrong, "begin"),
            (
                &mut self.durations_wrong,
                timing && off > allowed,
                "duration",
            ),
            (
                &mut self.durations_far_off,
                timing && is_far,
                "duration, far",
            ),
            (&mut self.uncertain, timing && is_uncertain, "uncertain"),
            (&mut self.tasks_wrong, !has_task, "task"),
            (&mut self.places_wrong, !has_place, "place"),
        ];
        for (count, is_wrong, what) in checks {
            if is_wrong {
                *count += 1;
                self.lines.push(format!(
                    "{what}: {} {expected:?}\n      seen: {}",
                    expected.kind,
                    stall.brief()
                ));
            }
        }
    }

    /// How many of the stalls may fall short: 1 %, but one of them for any cause of the
    /// machine's.
    const fn one_percent(&self) -> usize {
        self.stalls.div_ceil(100)
    }

    /// What falls short of what is promised; empty if nothing does.
    pub fn shortcomings(&self) -> Vec<String> {
        // What happens around a tick that did not come in time is known the less exactly. Such
        // ticks come together with the load that a stall makes.
        let irregular = self.stalls * usize::try_from(self.irregular_permille).unwrap_or(1000);
        let inexact = self.one_percent() + irregular.div_ceil(1000) * 2;
        let counts = [
            ("missed", self.missed, 0),
            ("false", self.false_stalls, 0),
            ("excused", self.excused, self.stalls / 2),
            (
                "with a wrong beginning",
                self.begins_wrong,
                self.one_percent(),
            ),
            (
                "with a wrong duration",
                self.durations_wrong,
                self.one_percent(),
            ),
            ("with a duration far off", self.durations_far_off, 0),
            ("too uncertain", self.uncertain, inexact),
            ("with a wrong task", self.tasks_wrong, self.stalls / 100),
            ("with a wrong place", self.places_wrong, self.stalls / 100),
        ];
        let over = counts.iter().filter(|(_, count, allowed)| count > allowed);
        over.map(|(what, count, allowed)| format!("{count} {what}, at most {allowed}"))
            .collect()
    }
}

/// True if a pause of the machine lies around where they differ: at one of the ends.
fn was_paused(expected: &TrueStall, stall: &Stall, interval_ns: u64) -> bool {
    let about = |one: u64, other: u64| {
        pauses::any_between(
            one.min(other).saturating_sub(interval_ns),
            one.max(other) + interval_ns,
        )
    };
    about(expected.began_ns, stall.began_monotonic_ns) || about(expected.ended_ns, stall.ended_ns())
}

impl fmt::Display for Evidence {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} stalls: {} excused, {} missed, {} false; begin wrong {} (worst {} us), duration wrong {}, \
             uncertain {} (worst {} us), task wrong {}, place wrong {}; {} of 1000 ticks irregular",
            self.stalls,
            self.excused,
            self.missed,
            self.false_stalls,
            self.begins_wrong,
            self.worst_begin_ns / 1000,
            self.durations_wrong,
            self.uncertain,
            self.worst_uncertainty_ns / 1000,
            self.tasks_wrong,
            self.places_wrong,
            self.irregular_permille,
        )
    }
}
