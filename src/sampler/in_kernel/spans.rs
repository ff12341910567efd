//! How much of a loop's time each look of the kernel's stands for.
//!
//! The kernel looks whenever the thread has run for an interval, and when it leaves its processor:
//! until it is back all stays as it was then. For how long it was away is what the clock has gone
//! on without the thread's own. So no look is needed while it is away, and none is too late.

/// When a look was, and what the thread did then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// On our monotonic clock.
    pub at_ns: u64,
    /// For how long the thread had run.
    pub ran_ns: u64,
    /// True if it left its processor then.
    pub leaves: bool,
    /// True if its loop polled.
    pub polls: bool,
}

/// Which look shows what there was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The one before, which the thread left its processor with.
    Before,
    /// This one.
    Now,
}

/// A sample, to be taken of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its moment.
    pub at_ns: u64,
    /// How much time it stands for; 0 for one that only says since when the loop polls.
    pub weight_ns: u64,
    /// What it shows.
    pub shown: Shown,
}

/// Between the thread's own clock in a look at which it leaves and later on there may lie so much,
/// though it has not run: the kernel's own work of taking it off its processor.
const SLACK_NS: u64 = 50_000;

/// Makes samples of looks.
#[derive(Debug)]
pub struct Spans {
    interval_ns: u64,
    last: Option<Look>,
    /// Until when the time that the thread was away is accounted for.
    away_until_ns: u64,
    /// What of the thread's own time no sample stands for yet.
    ran_due_ns: u64,
    /// The same of the time at which it was away: in the loop's poll, and elsewhere.
    away_due_ns: [u64; 2],
    /// True if the last sample showed the loop at work.
    was_busy: bool,
    /// Looks that were lost.
    lost: u64,
}

impl Spans {
    /// For looks at this interval.
    #[must_use]
    pub const fn new(interval_ns: u64) -> Self {
        Self {
            interval_ns,
            last: None,
            away_until_ns: 0,
            ran_due_ns: 0,
            away_due_ns: [0; 2],
            was_busy: true,
            lost: 0,
        }
    }

    /// How many looks were lost since this was asked last.
    pub const fn lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    /// Takes a look, and gives the samples that are known by it, in order.
    pub fn note(&mut self, look: Look, mut give: impl FnMut(Piece)) {
        let Some(last) = self.last else {
            self.begin(look, &mut give);
            return;
        };
        let ran_ns = look.ran_ns.saturating_sub(last.ran_ns);
        let back_ns = look.at_ns.saturating_sub(ran_ns).max(last.at_ns);
        if last.leaves {
            self.away(last, back_ns, &mut give);
        } else {
            // It has left its processor meanwhile, and nobody has told.
            self.lost += (back_ns - last.at_ns) / self.interval_ns;
        }
        self.ran_due_ns += ran_ns;
        let most = 2 * self.interval_ns;
        if self.ran_due_ns > most {
            self.lost += (self.ran_due_ns - most) / self.interval_ns;
            self.ran_due_ns = most;
        }
        self.begin(look, &mut give);
    }

    fn begin(&mut self, look: Look, give: &mut impl FnMut(Piece)) {
        self.last = Some(look);
        self.away_until_ns = look.at_ns;
        let weight_ns = match look.leaves {
            true if look.polls && self.was_busy => 0,
            true => return,
            false => std::mem::take(&mut self.ran_due_ns),
        };
        self.was_busy = !look.polls;
        give(Piece {
            at_ns: look.at_ns,
            weight_ns,
            shown: Shown::Now,
        });
    }

    /// Gives the samples until `now_ns` if the thread is away since the last look; `ran_ns` is for
    /// how long it has run by then.
    pub fn catch_up(&mut self, now_ns: u64, ran_ns: u64, mut give: impl FnMut(Piece)) {
        if let Some(last) = self.last.filter(|last| last.leaves)
            && ran_ns.saturating_sub(last.ran_ns) <= SLACK_NS
        {
            self.away(last, now_ns, &mut give);
        }
    }

    fn away(&mut self, last: Look, until_ns: u64, give: &mut impl FnMut(Piece)) {
        let due = &mut self.away_due_ns[usize::from(last.polls)];
        loop {
            let next_ns = self.away_until_ns + (self.interval_ns - *due);
            if next_ns > until_ns {
                break;
            }
            (*due, self.away_until_ns) = (0, next_ns);
            self.was_busy = !last.polls;
            give(Piece {
                at_ns: next_ns,
                weight_ns: self.interval_ns,
                shown: Shown::Before,
            });
        }
        *due += until_ns.saturating_sub(self.away_until_ns);
        self.away_until_ns = self.away_until_ns.max(until_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Look = Look {
        at_ns: 0,
        ran_ns: 0,
        leaves: false,
        polls: false,
    };

    fn pieces(spans: &mut Spans, look: Look) -> Vec<(u64, u64, Shown)> {
        let mut pieces = Vec::new();
        spans.note(look, |piece| {
            pieces.push((piece.at_ns, piece.weight_ns, piece.shown));
        });
        pieces
    }

    fn at(at_ns: u64, ran_ns: u64, leaves: bool, polls: bool) -> Look {
        Look {
            at_ns,
            ran_ns,
            leaves,
            polls,
        }
    }

    #[test]
    fn a_thread_that_runs_on_is_its_ticks() {
        let mut spans = Spans::new(10);
        assert_eq!(pieces(&mut spans, TICK), [(0, 0, Shown::Now)]);
        for tick in 1..5 {
            let look = at(10 * tick, 10 * tick, false, false);
            assert_eq!(pieces(&mut spans, look), [(10 * tick, 10, Shown::Now)]);
        }
        assert_eq!(spans.lost(), 0);
    }

    #[test]
    fn while_it_is_away_it_does_what_it_did() {
        let mut spans = Spans::new(10);
        pieces(&mut spans, TICK);
        // Polls from 4 on, is back at 30, runs on for 6.
        assert_eq!(
            pieces(&mut spans, at(4, 4, true, true)),
            [(4, 0, Shown::Now)]
        );
        assert_eq!(
            pieces(&mut spans, at(36, 10, false, false)),
            [
                (14, 10, Shown::Before),
                (24, 10, Shown::Before),
                (36, 10, Shown::Now)
            ]
        );
        // Blocks from 40 on, without a word until it has been away for an interval.
        assert_eq!(pieces(&mut spans, at(40, 14, true, false)), []);
        assert_eq!(pieces(&mut spans, at(45, 15, true, false)), []);
        assert_eq!(
            pieces(&mut spans, at(70, 20, false, false)),
            [
                (51, 10, Shown::Before),
                (61, 10, Shown::Before),
                (70, 10, Shown::Now)
            ]
        );
    }

    #[test]
    fn what_is_too_short_for_a_tick_adds_up() {
        let mut spans = Spans::new(1_000);
        let (mut busy, mut idle, mut ran) = (0, 0, 0);
        let mut busy_or_idle = false;
        pieces(&mut spans, at(0, 0, true, true));
        for turn in 0..1_000 {
            // 300 of each 1 000 at work.
            let begins = turn * 1_000 + 700;
            for tick in (ran / 1_000 + 1)..=(ran + 300) / 1_000 {
                let own = tick * 1_000 - ran;
                spans.note(at(begins + own, tick * 1_000, false, false), |piece| {
                    let sum = match piece.shown {
                        Shown::Before => &mut idle,
                        Shown::Now => &mut busy,
                    };
                    *sum += piece.weight_ns;
                    busy_or_idle = true;
                });
            }
            ran += 300;
            spans.note(at(begins + 300, ran, true, true), |piece| {
                idle += piece.weight_ns;
            });
        }
        assert!(busy_or_idle);
        assert_eq!((busy, idle), (300_000, 700_000));
    }

    #[test]
    fn the_present_is_told_while_it_is_away() {
        let mut spans = Spans::new(10);
        let mut told = Vec::new();
        pieces(&mut spans, at(5, 100, true, true));
        spans.catch_up(27, 110, |piece| told.push(piece.at_ns));
        assert_eq!(told, [15, 25]);
        spans.catch_up(100, 100 + SLACK_NS + 1, |piece| told.push(piece.at_ns));
        assert_eq!(told, [15, 25]);
        assert_eq!(
            pieces(&mut spans, at(42, 104, false, false)),
            [(35, 10, Shown::Before), (42, 4, Shown::Now)]
        );
    }

    #[test]
    fn looks_that_are_missing_are_counted() {
        let mut spans = Spans::new(10);
        pieces(&mut spans, TICK);
        assert_eq!(
            pieces(&mut spans, at(60, 60, false, false)),
            [(60, 20, Shown::Now)]
        );
        assert_eq!(spans.lost(), 4);
    }
}
