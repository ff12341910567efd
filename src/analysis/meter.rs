//! How much time each sample stands for, unless the sample says so itself.

use asyncspy_model::{LoopActivity, LoopSample, RemoteAddr, StackId, TaskIndex};

use super::conditions::Conditions;

/// Divides the time of one loop among its samples.
///
/// The time between two samples goes half to the one and half to the other. That is right on
/// average for any activity, however short. Using the exact beginning of a turn here would not
/// be: it would count short turns, most of which no sample sees, at less than they stand for.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<(u64, Content)>,
}

/// What a loop did at one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It waited in its poll call.
    Idle,
    /// It could not be read.
    Unknown,
    /// It was held by this.
    Busy(Held),
}

/// What held a loop at one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub task: Option<TaskIndex>,
    pub stack: Option<StackId>,
    pub torn: bool,
    pub step: StepKey,
}

/// Identity of one run of one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepKey {
    turn: u64,
    turn_began: Option<u64>,
    callback: Option<u32>,
    handle: RemoteAddr,
}

impl StepKey {
    /// True if both are of the same turn of a loop that records its turns.
    fn is_same_recorded_turn(&self, other: &Self) -> bool {
        self.turn_began.is_some() && self.turn_began == other.turn_began && self.turn == other.turn
    }
}

impl Content {
    /// What a sample shows.
    pub fn of(sample: &LoopSample) -> Self {
        match &sample.activity {
            LoopActivity::Idle => Self::Idle,
            LoopActivity::Unknown => Self::Unknown,
            LoopActivity::Busy(turn) => Self::Busy(Held {
                task: sample.task,
                stack: sample.stack,
                torn: sample.torn,
                step: StepKey {
                    turn: turn.identity,
                    turn_began: turn.began_monotonic_ns,
                    callback: turn.callback.map(|(index, _)| index),
                    handle: turn.handle,
                },
            }),
        }
    }

    /// True if the loop certainly did the same all the time from the one to the other.
    fn is_continuous(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Busy(one), Self::Busy(other)) => one.step.is_same_recorded_turn(&other.step),
            _ => false,
        }
    }
}

/// A piece of a loop's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub from_ns: u64,
    pub until_ns: u64,
    /// Length without the time at which the target was stopped.
    pub weight_ns: u64,
    pub content: Content,
}

impl Meter {
    /// The time since the sample before, in time order: one piece if both show the same.
    pub fn advance(
        &mut self,
        at: u64,
        content: Content,
        conditions: &Conditions,
    ) -> [Option<Slice>; 2] {
        let Some((before, last)) = self.last.replace((at, content)) else {
            return [None, None];
        };
        let limit = if last.is_continuous(&content) {
            u64::MAX
        } else {
            conditions.rules.longest_tick_ns()
        };
        let slice = |from_ns: u64, until_ns: u64, content| Slice {
            from_ns,
            until_ns,
            weight_ns: conditions.pauses.running_time(from_ns, until_ns).0,
            content,
        };
        if last == content {
            let from = before.max(at.saturating_sub(limit));
            return [Some(slice(from, at, content)), None];
        }
        let middle = before.midpoint(at.max(before));
        let first_until = middle.min(before.saturating_add(limit / 2));
        let second_from = middle.max(at.saturating_sub(limit / 2));
        [
            Some(slice(before, first_until, last)),
            Some(slice(second_from, at.max(second_from), content)),
        ]
    }

    /// The time that a sample was measured to stand for: the last before it, or else as much that
    /// was spread over the time before.
    pub fn take(
        &mut self,
        (at, weight_ns): (u64, u64),
        content: Content,
        conditions: &Conditions,
    ) -> [Option<Slice>; 2] {
        let before = self.last.replace((at, content)).map_or(0, |last| last.0);
        let from_ns = at.saturating_sub(weight_ns);
        let slice = Slice {
            // Two pieces never overlap.
            from_ns: from_ns.max(before).min(at),
            until_ns: at,
            weight_ns: conditions.pauses.running_time(from_ns, at).0,
            content,
        };
        [Some(slice).filter(|slice| slice.weight_ns > 0), None]
    }

    /// Forgets the last sample: the time up to the next one belongs to nothing.
    pub fn interrupt(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::pauses::Pauses;
    use crate::analysis::testing::{busy, conditions, idle, stock};

    /// Weights of (idle, busy) after samples at these moments.
    fn weigh(samples: &[(u64, LoopSample)], pauses: Pauses) -> (u64, u64) {
        let conditions = conditions(10, pauses);
        let mut meter = Meter::default();
        let mut sums = (0, 0);
        for (at, sample) in samples {
            let slices = meter.advance(*at, Content::of(sample), &conditions);
            for slice in slices.into_iter().flatten() {
                match slice.content {
                    Content::Busy(_) => sums.1 += slice.weight_ns,
                    _ => sums.0 += slice.weight_ns,
                }
            }
        }
        sums
    }

    #[test]
    fn time_between_samples_is_shared_between_them() {
        let turn = stock(1, 5);
        let other = stock(2, 25);
        for (samples, expected) in [
            (vec![(0, idle()), (10, idle())], (10, 0)),
            (vec![(0, idle()), (10, busy(turn)), (20, idle())], (10, 10)),
            (
                vec![(0, busy(turn)), (10, busy(turn)), (20, idle())],
                (5, 15),
            ),
            (vec![(0, busy(turn)), (10, busy(other))], (0, 10)),
            (vec![(10, idle()), (5, busy(turn))], (0, 0)),
        ] {
            assert_eq!(weigh(&samples, Pauses::default()), expected, "{samples:?}");
        }
    }

    #[test]
    fn a_gap_in_the_samples_counts_only_where_one_turn_spans_it() {
        let turn = stock(1, 0);
        for (samples, expected) in [
            (vec![(0, busy(turn)), (1_000, busy(turn))], (0, 1_000)),
            (vec![(0, idle()), (1_000, idle())], (30, 0)),
            (vec![(0, idle()), (1_000, busy(turn))], (15, 15)),
        ] {
            assert_eq!(weigh(&samples, Pauses::default()), expected, "{samples:?}");
        }
    }

    #[test]
    fn measured_time_is_taken_as_it_is() {
        let mut pauses = Pauses::default();
        pauses.add(40, 50, 10);
        let conditions = conditions(10, pauses);
        let mut meter = Meter::default();
        let busy = Content::of(&busy(stock(1, 5)));
        let idle = Content::of(&idle());
        let mut weigh = |at, weight, content| {
            let slices = meter.take((at, weight), content, &conditions);
            slices.map(|slice| slice.map(|slice| (slice.from_ns, slice.weight_ns)))
        };
        assert_eq!(weigh(10, 10, busy), [Some((0, 10)), None]);
        assert_eq!(weigh(13, 0, idle), [None, None]);
        assert_eq!(weigh(60, 30, idle), [Some((30, 20)), None]);
        assert_eq!(weigh(62, 10, idle), [Some((60, 10)), None]);
        // What comes after shares the time with it, as ever.
        let slices = meter.advance(72, busy, &conditions);
        assert_eq!(
            slices.map(|slice| slice.map(|slice| slice.weight_ns)),
            [Some(5), Some(5)]
        );
    }

    #[test]
    fn time_at_which_the_target_was_stopped_counts_for_nothing() {
        let mut pauses = Pauses::default();
        pauses.add(10, 90, 10);
        let turn = stock(1, 0);
        let samples = [(0, busy(turn)), (100, busy(turn)), (110, idle())];
        assert_eq!(weigh(&samples, pauses), (5, 25));
    }
}
