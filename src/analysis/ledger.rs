//! The book of stalls: the kept ones, their sums and their numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use asyncspy_model::Stall;
use asyncspy_model::report::{CulpritReport, Totals};

use super::culprits::Culprits;

/// Every stall that is over, as far as memory allows.
#[derive(Debug)]
pub(super) struct Ledger {
    kept: VecDeque<Arc<Stall>>,
    keep: usize,
    totals: Totals,
    culprits: Culprits,
    last_number: u64,
}

impl Ledger {
    /// A book that keeps the last `keep` stalls; sums go over all of them.
    pub fn new(keep: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            keep,
            totals: Totals::default(),
            culprits: Culprits::default(),
            last_number: 0,
        }
    }

    /// Gives the number `number` if it is one already, else a new one.
    pub const fn number(&mut self, number: u64) -> u64 {
        if number > 0 {
            return number;
        }
        self.last_number += 1;
        self.last_number
    }

    /// Enters a stall that is over.
    pub fn enter(&mut self, stall: &Arc<Stall>, is_error: bool) {
        self.totals.stalls += 1;
        self.totals.errors += u64::from(is_error);
        self.totals.worst_ns = self.totals.worst_ns.max(stall.duration_ns);
        self.totals.stalled_ns = self.totals.stalled_ns.saturating_add(stall.duration_ns);
        self.culprits.add(stall);
        self.kept.push_front(Arc::clone(stall));
        self.kept.truncate(self.keep);
    }

    /// Forgets all stalls; numbers go on.
    pub fn clear(&mut self) {
        *self = Self {
            last_number: self.last_number,
            ..Self::new(self.keep)
        };
    }

    /// The kept stalls, newest first.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<Stall>> {
        self.kept.iter()
    }

    pub const fn totals(&self) -> Totals {
        self.totals
    }

    pub fn culprits(&self) -> Vec<CulpritReport> {
        self.culprits.report()
    }
}
