//! What the stall log remembers: how each culprit was written, and how many lines are left.

use asyncspy_model::Stall;

use super::units::{Moment, duration};

/// Nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Stalls of one culprit that are written before the others are folded.
const SHOWN_EACH: u64 = 3;

/// A folded stall that lasted so many times the longest one written is news, and is written.
const NEWS_FACTOR: u64 = 2;

/// The first line of a fold comes after this time, each further one after twice the time before.
const FIRST_FOLD_NS: u64 = 60 * SECOND;

/// The longest time between two lines of a fold; also the quiet time after which a culprit is
/// news again.
const LONGEST_FOLD_NS: u64 = 3600 * SECOND;

/// Lines that may come at once.
const LINES_AT_ONCE: u64 = 60;

/// One more line may come after this time: ten a minute, about 15 MB a week at the worst.
const NS_A_LINE: u64 = 6 * SECOND;

/// What is remembered of one culprit.
#[derive(Default)]
pub(super) struct Culprit {
    /// Its stalls that were written.
    pub(super) shown: u64,
    pub(super) longest_shown_ns: u64,
    /// Its stalls that were not, since the last line about them.
    pub(super) folded: u64,
    pub(super) folded_ns: u64,
    folded_worst_ns: u64,
    /// When the last one of them began.
    folded_unix_ns: u64,
    pub(super) fold_due_ns: u64,
    /// Time from one line about them to the next.
    fold_every_ns: u64,
    pub(super) seen_ns: u64,
}

impl Culprit {
    /// Notes that it has struck; after a long quiet time as if for the first time.
    pub(super) fn see(&mut self, now_ns: u64) {
        if self.folded == 0 && now_ns.saturating_sub(self.seen_ns) > LONGEST_FOLD_NS {
            *self = Self::default();
        }
        self.seen_ns = now_ns;
    }

    /// True if a stall of this length is to be written, not folded.
    pub(super) const fn is_news(&self, duration_ns: u64) -> bool {
        self.shown < SHOWN_EACH || duration_ns >= self.longest_shown_ns.saturating_mul(NEWS_FACTOR)
    }

    /// Counts a stall that is not written.
    pub(super) fn fold(&mut self, stall: &Stall, now_ns: u64) {
        if self.folded == 0 {
            self.fold_every_ns = self.fold_every_ns.max(FIRST_FOLD_NS);
            self.fold_due_ns = now_ns.saturating_add(self.fold_every_ns);
        }
        self.folded += 1;
        self.folded_ns = self.folded_ns.saturating_add(stall.duration_ns);
        self.folded_worst_ns = self.folded_worst_ns.max(stall.duration_ns);
        self.folded_unix_ns = stall.began_unix_ns;
    }

    /// The line about the folded stalls; begins to count anew.
    pub(super) fn unfold(&mut self, key: &str, offset_s: i32, now_ns: u64) -> String {
        let text = format!(
            "{} …     {} more like it, {} in all, worst {}  {key}",
            Moment::new(self.folded_unix_ns, offset_s).time(),
            self.folded,
            duration(self.folded_ns),
            duration(self.folded_worst_ns),
        );
        self.folded = 0;
        self.folded_ns = 0;
        self.folded_worst_ns = 0;
        self.fold_every_ns = self.fold_every_ns.saturating_mul(2).min(LONGEST_FOLD_NS);
        self.fold_due_ns = now_ns.saturating_add(self.fold_every_ns);
        text
    }
}

/// Lines that may still be written.
pub(super) struct Ration {
    lines: u64,
    refilled_ns: u64,
}

impl Default for Ration {
    fn default() -> Self {
        Self {
            lines: LINES_AT_ONCE,
            refilled_ns: 0,
        }
    }
}

impl Ration {
    /// Adds what has been earned up to now.
    pub(super) fn refill(&mut self, now_ns: u64) {
        let earned = now_ns.saturating_sub(self.refilled_ns) / NS_A_LINE;
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(LINES_AT_ONCE);
            self.refilled_ns = now_ns;
        }
    }

    /// True if a line may be written; it is then taken off.
    pub(super) const fn take(&mut self) -> bool {
        if self.lines == 0 {
            return false;
        }
        self.lines -= 1;
        true
    }
}
