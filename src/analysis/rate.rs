//! The rate of sampling that was achieved.

use std::collections::VecDeque;

/// The time that is looked back on.
const WINDOW_NS: u64 = 10_000_000_000;
/// Distance of the moments that are remembered: a tenth of a second is fine enough for a figure
/// that people read, and bounds the memory.
const STEP_NS: u64 = 100_000_000;

/// Counts samples over the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct AchievedRate {
    /// (moment, samples taken until then).
    marks: VecDeque<(u64, u64)>,
    last: (u64, u64),
}

impl AchievedRate {
    /// Notes that `samples` were taken up to `at`, since the start.
    pub fn note(&mut self, at: u64, samples: u64) {
        self.last = (at, samples);
        let is_due = |&(marked, _): &(u64, u64)| at >= marked.saturating_add(STEP_NS);
        if self.marks.back().is_none_or(is_due) {
            self.marks.push_back(self.last);
        }
        while self
            .marks
            .front()
            .is_some_and(|&(marked, _)| at.saturating_sub(marked) > WINDOW_NS)
        {
            self.marks.pop_front();
        }
    }

    /// Samples per second; 0 before there are two.
    pub fn hz(&self) -> f64 {
        let Some(&(first_at, first_samples)) = self.marks.front() else {
            return 0.0;
        };
        let (at, samples) = self.last;
        let elapsed_ns = at.saturating_sub(first_at);
        if elapsed_ns == 0 {
            return 0.0;
        }
        samples.saturating_sub(first_samples) as f64 * 1e9 / elapsed_ns as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let mut rate = AchievedRate::default();
        assert_eq!(rate.hz().to_bits(), 0.0_f64.to_bits());
        let (mut at, mut samples) = (0, 0);
        for (interval_ns, count, expected) in
            [(10_000_000, 2_000, 100.0), (1_000_000, 20_000, 1_000.0)]
        {
            for _ in 0..count {
                at += interval_ns;
                samples += 1;
                rate.note(at, samples);
            }
            assert!((rate.hz() - expected).abs() < 0.5, "{} Hz", rate.hz());
        }
        assert!(rate.marks.len() <= 102);
    }
}
