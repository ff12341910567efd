//! What a census has read, for the next one to compare with.

use std::ops::Range;
use std::sync::Arc;

use asyncspy_model::RemoteAddr;
use rustc_hash::{FxHashMap, FxHashSet};

use super::task::TaskRecord;
use crate::target::image::{PageImage, Pages, touched_pages};
use crate::target::memory::{MemoryError, ProcessMemory};

/// The last census of an interpreter. A task whose deciding ranges hold the same bytes now is the
/// same as it was, and has been so at every moment at which it was looked at.
#[derive(Debug, Default)]
pub struct CensusMemo {
    known: FxHashMap<RemoteAddr, Known>,
    /// The ranges of those that are known, and of some that are not any more.
    pieces: Vec<(RemoteAddr, u64)>,
    /// How many of these are of those that are known.
    live: usize,
    /// The pages of `pieces`, those of each task together, each once.
    touched: Vec<u64>,
    /// The same for all tasks together, ascending, but none that could not be read.
    order: Vec<u64>,
    /// How many of `touched` are in `order`.
    ordered: usize,
    /// Holds the bytes of `pieces`.
    pages: Pages,
    round: u64,
    /// How many were recalled or kept in this round.
    seen: usize,
    /// Pages that do not hold what they held in the last round.
    changed: FxHashSet<u64>,
}

#[derive(Debug)]
struct Known {
    record: Arc<TaskRecord>,
    pieces: Range<usize>,
    touched: Range<usize>,
    /// The last round in which it was recalled or kept.
    round: u64,
}

impl CensusMemo {
    /// Begins a round: reads all that decided the tasks that are known once more. What fails
    /// between this and the end of the round leaves the memo unusable.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
    pub(super) fn begin_round<'m>(
        &mut self,
        memory: &'m dyn ProcessMemory,
    ) -> Result<PageImage<'m>, MemoryError> {
        let now = PageImage::continuing(memory, std::mem::take(&mut self.pages));
        (self.round, self.seen) = (self.round + 1, 0);
        self.changed.clear();
        let changed = &mut self.changed;
        now.fetch_again(&mut self.order, |page| {
            changed.insert(page);
        })?;
        Ok(now)
    }

    /// The record of a task that is as it was.
    pub(super) fn recall(
        &mut self,
        now: &PageImage<'_>,
        addr: RemoteAddr,
    ) -> Option<Arc<TaskRecord>> {
        let known = self.known.get_mut(&addr)?;
        let pieces = &self.pieces[known.pieces.clone()];
        let touched = &self.touched[known.touched.clone()];
        let is_changed = |page| self.changed.contains(page);
        let is_same = !touched.iter().any(is_changed) || now.is_as_before(pieces);
        if !is_same {
            return None;
        }
        known.round = self.round;
        self.seen += 1;
        Some(known.record.clone())
    }

    /// Takes in a task that was read in this round, with what decided it.
    pub(super) fn keep(
        &mut self,
        pieces: &[(RemoteAddr, u64)],
        record: Arc<TaskRecord>,
    ) -> Arc<TaskRecord> {
        let mut touched: Vec<_> = pieces.iter().copied().flat_map(touched_pages).collect();
        touched.sort_unstable();
        touched.dedup();
        let known = Known {
            record: record.clone(),
            pieces: append(&mut self.pieces, pieces),
            touched: append(&mut self.touched, &touched),
            round: self.round,
        };
        self.live += pieces.len();
        self.seen += 1;
        if let Some(earlier) = self.known.insert(record.fields.addr, known) {
            self.live -= earlier.pieces.len();
        }
        record
    }

    /// Ends a round: forgets the tasks that it has not met.
    pub(super) fn end_round(&mut self, now: PageImage<'_>) {
        self.pages = now.into_pages();
        if self.seen < self.known.len() {
            let (round, live) = (self.round, &mut self.live);
            self.known.retain(|_, known| {
                let met = known.round == round;
                *live -= if met { 0 } else { known.pieces.len() };
                met
            });
        }
        if self.pieces.len() > self.live + self.live / 4 {
            self.compact();
        }
        if self.ordered < self.touched.len() {
            self.order.extend(&self.touched[self.ordered..]);
            // Most of it is in order already.
            self.order.sort();
            self.order.dedup();
            self.ordered = self.touched.len();
        }
    }

    /// Drops the ranges of tasks that are not known any more.
    fn compact(&mut self) {
        let mut known: Vec<_> = self.known.values_mut().collect();
        known.sort_unstable_by_key(|known| known.pieces.start);
        let (mut pieces, mut touched) = (Vec::with_capacity(self.live), Vec::new());
        for known in known {
            known.pieces = append(&mut pieces, &self.pieces[known.pieces.clone()]);
            known.touched = append(&mut touched, &self.touched[known.touched.clone()]);
        }
        self.order.clear();
        self.ordered = 0;
        (self.pieces, self.touched) = (pieces, touched);
    }
}

/// Appends items and returns where they are.
fn append<T: Copy>(all: &mut Vec<T>, items: &[T]) -> Range<usize> {
    let first = all.len();
    all.extend_from_slice(items);
    first..all.len()
}
