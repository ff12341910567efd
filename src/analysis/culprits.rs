//! Stalls that are over, folded by what caused them.

use std::sync::Arc;

use asyncspy_model::report::CulpritReport;
use asyncspy_model::{Location, Stall};
use rustc_hash::FxHashMap;

/// How many culprits are told apart. A service that blocks in this many ways has lost the race
/// anyway; labels that hold a request's number must not grow us for ever.
const MAX_CULPRITS: usize = 1_000;

/// The label under which culprits are folded that do not fit.
const OTHER: &str = "(other)";

/// Sums over the session, by label and place.
#[derive(Debug, Default)]
pub(super) struct Culprits {
    sums: FxHashMap<Key, CulpritReport>,
}

/// The task's or callback's label, and the place.
type Key = (Arc<str>, Option<Location>);

impl Culprits {
    /// Adds a stall that is over.
    pub fn add(&mut self, stall: &Arc<Stall>) {
        let mut key: Key = (Arc::clone(&stall.label), stall.culprit().cloned());
        if self.sums.len() >= MAX_CULPRITS && !self.sums.contains_key(&key) {
            key = (OTHER.into(), None);
        }
        let (label, location) = key.clone();
        let sum = self.sums.entry(key).or_insert_with(|| CulpritReport {
            label,
            location,
            count: 0,
            total_ns: 0,
            worst_ns: 0,
            last: Arc::clone(stall),
        });
        sum.count += 1;
        sum.total_ns = sum.total_ns.saturating_add(stall.duration_ns);
        sum.worst_ns = sum.worst_ns.max(stall.duration_ns);
        sum.last = Arc::clone(stall);
    }

    /// All culprits, the most total time first.
    pub fn report(&self) -> Vec<CulpritReport> {
        let mut rows: Vec<CulpritReport> = self.sums.values().cloned().collect();
        rows.sort_by(|one, other| {
            let by_total = other.total_ns.cmp(&one.total_ns);
            by_total.then_with(|| (&one.label, &one.location).cmp(&(&other.label, &other.location)))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::stall;

    #[test]
    fn stalls_of_one_place_are_summed_up() {
        let mut culprits = Culprits::default();
        for (label, line, duration) in [
            ("job", 7, 100),
            ("job", 9, 450),
            ("job", 7, 300),
            ("x", 7, 1),
        ] {
            culprits.add(&Arc::new(stall(label, line, duration)));
        }
        let rows = culprits.report();
        let summary: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    &*row.label,
                    row.count,
                    row.total_ns,
                    row.worst_ns,
                    row.last.duration_ns,
                )
            })
            .collect();
        assert_eq!(
            summary,
            [
                ("job", 1, 450, 450, 450),
                ("job", 2, 400, 300, 300),
                ("x", 1, 1, 1, 1)
            ]
        );
    }

    #[test]
    fn ever_new_labels_are_folded_into_one_row() {
        let mut culprits = Culprits::default();
        for number in 0..5_000 {
            culprits.add(&Arc::new(stall(&format!("request-{number}"), 7, 100)));
        }
        let rows = culprits.report();
        assert_eq!(rows.len(), MAX_CULPRITS + 1);
        assert_eq!(&*rows[0].label, OTHER);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 5_000);
    }
}
