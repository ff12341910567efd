//! How long one place of the program held loops.

use std::sync::Arc;

use asyncspy_model::Location;
use asyncspy_model::report::HotReport;
use rustc_hash::FxHashMap;

use super::histogram::LogHistogram;

/// How many labels compete for the one that ran a place most.
const MAX_RUNNERS: usize = 4;
/// How many labels of tasks are told apart; the rest is one.
const MAX_LABELS: usize = 20_000;

/// A function and line with its times.
#[derive(Clone, Debug)]
pub(super) struct PlaceTime {
    location: Location,
    /// Time with this place innermost.
    pub self_ns: u64,
    /// Time with this place anywhere on the stack.
    pub total_ns: u64,
    holds: u64,
    longest_ns: u64,
    lengths: LogHistogram,
    /// Labels with their time. A new one that does not fit takes the place and the time of the
    /// least one, so a label with more than a quarter of the time is never lost ("space saving",
    /// Metwally et al., ICDT 2005).
    runners: [(LabelNumber, u64); MAX_RUNNERS],
}

impl PlaceTime {
    /// A place that has not held any loop.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            self_ns: 0,
            total_ns: 0,
            holds: 0,
            longest_ns: 0,
            lengths: LogHistogram::default(),
            runners: [(LabelNumber::CALLBACK, 0); MAX_RUNNERS],
        }
    }

    /// Adds a time for which it was on the stack without a break.
    pub fn add_run(&mut self, length_ns: u64, label: LabelNumber) {
        self.total_ns = self.total_ns.saturating_add(length_ns);
        self.holds += 1;
        self.longest_ns = self.longest_ns.max(length_ns);
        self.lengths.add(length_ns, 1.0);
        let same = self.runners.iter().position(|(known, _)| *known == label);
        let least =
            || (0..MAX_RUNNERS).min_by_key(|&index| self.runners.get(index).map(|runner| runner.1));
        let runner = same
            .or_else(least)
            .and_then(|index| self.runners.get_mut(index));
        if let Some((known, time_ns)) = runner {
            *known = label;
            *time_ns = time_ns.saturating_add(length_ns);
        }
    }

    /// Its row, with times for which it is on the stack now.
    pub fn report(&self, open: &[(u64, LabelNumber)], labels: &Labels) -> HotReport {
        let mut place = self.clone();
        for &(length_ns, label) in open.iter().filter(|(length_ns, _)| *length_ns > 0) {
            place.add_run(length_ns, label);
        }
        let runner = place.runners.iter().max_by_key(|(_, time_ns)| *time_ns);
        HotReport {
            label: labels.text(runner.map_or(LabelNumber::CALLBACK, |(label, _)| *label)),
            location: place.location,
            self_ns: place.self_ns,
            total_ns: place.total_ns,
            holds: place.holds,
            longest_ns: place.longest_ns,
            p99_ns: place.lengths.quantile(0.99).min(place.longest_ns),
        }
    }
}

/// The label of a task, as a number that is cheap to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelNumber(u32);

impl LabelNumber {
    /// A plain callback.
    pub const CALLBACK: Self = Self(0);
    /// Labels that did not fit.
    const OTHER: Self = Self(1);
}

/// Labels of tasks by their numbers.
#[derive(Debug)]
pub(super) struct Labels {
    texts: Vec<Arc<str>>,
    numbers: FxHashMap<Arc<str>, LabelNumber>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            texts: vec!["".into(), "(other)".into()],
            numbers: FxHashMap::default(),
        }
    }
}

impl Labels {
    /// The number of a label; made if it is new.
    pub fn number(&mut self, label: &Arc<str>) -> LabelNumber {
        if let Some(number) = self.numbers.get(label) {
            return *number;
        }
        if self.texts.len() >= MAX_LABELS {
            return LabelNumber::OTHER;
        }
        let number = LabelNumber(u32::try_from(self.texts.len()).unwrap_or_default());
        self.texts.push(Arc::clone(label));
        self.numbers.insert(Arc::clone(label), number);
        number
    }

    fn text(&self, number: LabelNumber) -> Arc<str> {
        let text = self.texts.get(number.0 as usize);
        text.map_or_else(|| "".into(), Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::place;

    #[test]
    fn the_label_with_most_time_survives_many_others() {
        let mut labels = Labels::default();
        let mut spot = PlaceTime::new(place("f", 1));
        for number in 0..1_000 {
            spot.add_run(10, labels.number(&"common".into()));
            spot.add_run(9, labels.number(&format!("rare-{number}").into()));
        }
        let row = spot.report(&[(7, LabelNumber::CALLBACK)], &labels);
        assert_eq!(&*row.label, "common");
        assert_eq!(
            (row.holds, row.total_ns, row.longest_ns),
            (2_001, 19_007, 10)
        );
    }

    #[test]
    fn labels_that_do_not_fit_are_one() {
        let mut labels = Labels::default();
        for number in 0..30_000 {
            labels.number(&format!("request-{number}").into());
        }
        assert_eq!(labels.texts.len(), MAX_LABELS);
        let late = labels.number(&"late".into());
        assert_eq!(&*labels.text(late), "(other)");
        let early = labels.number(&"request-5".into());
        assert_eq!(&*labels.text(early), "request-5");
    }
}
