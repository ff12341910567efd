//! One callback of a turn, as far as samples tell callbacks apart.

use asyncspy_model::{BeganIs, LoopSample, RemoteAddr, Turn};

use super::between::Between;
use super::pauses::Pauses;
use super::votes::{Vote, Votes};

/// A callback that held the loop at one or more consecutive samples of one turn.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    callback: Option<u32>,
    handle: RemoteAddr,
    /// When it began.
    pub began: Between,
    /// True if `began` is exact because the target records it or because it is the turn's first.
    pub is_began_known: bool,
    /// When it ended; `None` while it goes on.
    ended: Option<Between>,
    /// What its samples showed.
    pub votes: Votes,
    /// Samples that saw it.
    pub samples: u64,
    /// Samples that found the thread running or ready to run.
    pub running: u64,
    /// Samples that found the thread asleep in the kernel.
    pub asleep: u64,
}

impl Segment {
    /// A callback at the first sample that sees it. It began within `began`; `turn_began` is when
    /// its turn did, and `before` is what the turn ran before, if that was seen.
    pub fn begin(turn: &Turn, began: Between, turn_began: Between, before: Option<&Self>) -> Self {
        let recorded = turn
            .callback_began_monotonic_ns
            .filter(|at| (turn_began.earliest..=began.latest).contains(at))
            .map(Between::exact);
        // The first callback begins with its turn. When it is over the loop lets go of it, and
        // still counts it as the present one.
        let none_before = before.is_none_or(|before| before.handle.is_null());
        let is_first = none_before && turn.callback.is_some_and(|(index, _)| index == 0);
        let known = recorded.or_else(|| is_first.then_some(turn_began));
        Self {
            callback: turn.callback.map(|(index, _)| index),
            handle: turn.handle,
            began: known.unwrap_or(began),
            is_began_known: known.is_some_and(|began| began.width() == 0),
            ended: None,
            votes: Votes::default(),
            samples: 0,
            running: 0,
            asleep: 0,
        }
    }

    /// True if `turn` runs the same callback.
    pub fn is(&self, turn: &Turn) -> bool {
        self.handle == turn.handle && self.callback == turn.callback.map(|(index, _)| index)
    }

    /// Adds a sample that saw it.
    pub fn count(&mut self, sample: &LoopSample) {
        self.samples += 1;
        match sample.os_state {
            'R' => self.running += 1,
            'S' | 'D' => self.asleep += 1,
            _ => {}
        }
        self.votes.add(Vote {
            task: sample.task,
            stack: sample.stack,
            torn: sample.torn,
            samples: 1,
        });
    }

    /// Notes when it ended.
    pub fn end(&mut self, ended: Between) {
        self.ended = Some(ended);
    }

    /// What its beginning is: exact, or else as good as `otherwise`.
    pub const fn began_is(&self, otherwise: BeganIs) -> BeganIs {
        if self.is_began_known {
            BeganIs::Callback
        } else {
            otherwise
        }
    }

    /// The best guess at how long it lasted; up to `now` if it goes on.
    pub fn length_ns(&self, now: Between, pauses: &Pauses) -> u64 {
        pauses
            .length(self.began, self.ended.unwrap_or(now))
            .middle()
    }
}
