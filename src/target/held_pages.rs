//! The pages that an image holds, and those that it held before.

use std::cell::RefCell;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::memory::{MemoryError, ProcessMemory};
use super::page_arena::PageArena;
use super::page_reads::{BATCH, PAGE, read_pages, read_pages_into};

/// Slot of a page that could not be read.
const UNREADABLE: u32 = u32::MAX;

/// A page of an image.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Where its bytes are.
    slot: u32,
    /// When it was read last.
    round: u32,
    /// Since when it has been read in each round.
    since: u32,
    /// Where its earlier bytes are, if they differ.
    before: Option<u32>,
}

impl Held {
    /// A page that was not held before this round.
    const fn new(slot: u32, round: u32) -> Self {
        Self {
            slot,
            round,
            since: round,
            before: None,
        }
    }
}

/// Images that are gone leave their space to the next: a page of fresh memory costs as much as
/// reading one.
const MAX_SPARE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<HeldPages>> = const { RefCell::new(Vec::new()) };
}

/// Pages by number, in rounds: what was read in an earlier round is read again when it is touched,
/// and what it held before is kept where it differs.
#[derive(Debug, Default)]
pub(super) struct HeldPages {
    round: u32,
    held: FxHashMap<u64, Held>,
    arena: PageArena,
    before: PageArena,
    last: Option<(u64, u32)>,
    wanted: Vec<u64>,
    /// Slots that a read was to fill and did not.
    unused: Vec<u32>,
}

/// The part of a range that lies on one page.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub page: u64,
    from: usize,
    upto: usize,
}

impl Part {
    /// True if both pages hold the same bytes there.
    pub fn is_equal(self, one: &[u8], other: &[u8]) -> bool {
        one.get(self.from..self.upto) == other.get(self.from..self.upto)
    }
}

/// Numbers of the pages that a range (address, length) touches.
pub(super) fn pages_of((addr, len): (RemoteAddr, u64)) -> impl Iterator<Item = u64> {
    // What is longer is an array that is read in parts.
    let last = addr.0.saturating_add(len.clamp(1, 64 * PAGE) - 1);
    addr.0 / PAGE..=last / PAGE
}

/// A range, page by page.
pub(super) fn parts_of((addr, len): (RemoteAddr, u64)) -> impl Iterator<Item = Part> {
    let end = addr.0.saturating_add(len);
    let mut at = addr.0;
    std::iter::from_fn(move || {
        let page = at / PAGE;
        let from = (at % PAGE) as usize;
        let count = (end - at).min(PAGE - at % PAGE);
        at += count;
        (count > 0).then_some(Part {
            page,
            from,
            upto: from + count as usize,
        })
    })
}

impl HeldPages {
    /// An empty state, with the space of one that is gone.
    pub fn spare() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Forgets all pages; their space is used again.
    pub fn clear(&mut self) {
        self.held.clear();
        self.arena.clear();
        self.before.clear();
        self.last = None;
    }

    /// Leaves the space to the next, unless it is much.
    pub fn spare_for_others(mut self) {
        if self.held.is_empty() || !self.arena.is_small() || !self.before.is_small() {
            return;
        }
        self.clear();
        // A thread that ends drops its spare states before the images that it still has, if any.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }

    /// The page as it was read in this round.
    fn current(&self, page: u64) -> Option<&Held> {
        self.held.get(&page).filter(|held| held.round == self.round)
    }

    /// True if this part of a page holds what it held in the last round.
    pub fn is_as_before(&self, part: Part) -> bool {
        let Some(held) = self.current(part.page) else {
            return false;
        };
        if held.since == self.round {
            return false;
        }
        let Some(before) = held.before else {
            return true;
        };
        part.is_equal(self.arena.page(held.slot), self.before.page(before))
    }

    /// The bytes of a page, which is read first if it was not yet in this round, with all of the
    /// aligned block of so many pages to which it belongs; `None` if it cannot be read.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn page(
        &mut self,
        page: u64,
        block: u64,
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<Option<&[u8]>, MemoryError> {
        let slot = match (self.last, self.current(page)) {
            (Some((last, slot)), _) if last == page => slot,
            (_, Some(held)) => held.slot,
            (_, None) => {
                let first = page & !(block - 1);
                self.fetch(first..first + block, memory, budget)?;
                self.current(page).map_or(UNREADABLE, |held| held.slot)
            }
        };
        self.last = Some((page, slot));
        Ok((slot != UNREADABLE).then(|| self.arena.page(slot)))
    }

    /// The bytes of a page that is held; empty if it could not be read.
    pub fn held(&self, page: u64) -> Option<&[u8]> {
        let held = self.held.get(&page)?;
        Some(self.arena.page(held.slot))
    }

    /// Reads those of these pages that were not read yet in this round.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
    pub fn fetch(
        &mut self,
        pages: impl Iterator<Item = u64>,
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<(), MemoryError> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        // Null pointers are asked for as others are, and would spoil the call they are part of.
        wanted.extend(pages.filter(|page| *page != 0 && self.current(*page).is_none()));
        sort_wanted(&mut wanted);
        let outcome = self.fetch_all(&wanted, memory, budget);
        self.wanted = wanted;
        outcome
    }

    fn fetch_all(
        &mut self,
        mut pages: &[u64],
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<(), MemoryError> {
        // What was held before is read beside it, to be compared.
        if !pages.iter().any(|page| self.held.contains_key(page)) {
            while let [_, ..] = pages
                && let Some(read) = self.fetch_fresh(pages, memory, budget)?
            {
                pages = pages.get(read..).unwrap_or_default();
            }
        }
        read_pages(memory, pages, |page, bytes| self.store(page, bytes, budget))
    }

    /// Reads the first of these pages, none of which is held, to where they are kept, and returns
    /// how many; `None` when there is space for single ones only.
    fn fetch_fresh(
        &mut self,
        pages: &[u64],
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<Option<usize>, MemoryError> {
        let Some((first, bytes)) = self.arena.space(pages.len().min(BATCH), budget)? else {
            return Ok(None);
        };
        let count = bytes.len() / PAGE as usize;
        let batch = pages.get(..count).unwrap_or_default();
        let (held, round, unused) = (&mut self.held, self.round, &mut self.unused);
        let mut slots = first..;
        let outcome = read_pages_into(memory, batch, bytes, |page, bytes| {
            let slot = slots.next().unwrap_or(UNREADABLE);
            if bytes.is_none() {
                unused.push(slot);
            }
            held.insert(page, Held::new(bytes.map_or(UNREADABLE, |_| slot), round));
            Ok(())
        });
        for slot in unused.drain(..) {
            self.arena.release(slot);
        }
        outcome.map(|()| Some(count))
    }

    /// Reads these pages, which were read in the last round, and hands over the number of each
    /// that does not hold the same bytes. Those that cannot be read are dropped from the list.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_again(
        &mut self,
        pages: &mut Vec<u64>,
        memory: &dyn ProcessMemory,
        budget: usize,
        mut receive: impl FnMut(u64),
    ) -> Result<(), MemoryError> {
        self.fetch(pages.iter().copied(), memory, budget)?;
        pages.retain(|page| {
            let held = self.current(*page);
            if held.is_none_or(|held| held.since == self.round || held.before.is_some()) {
                receive(*page);
            }
            held.is_some_and(|held| held.slot != UNREADABLE)
        });
        Ok(())
    }

    /// Reads these pages once more, and hands over the number of each, its bytes as they are
    /// held and as they are now.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], or what the receiver returns.
    pub fn read_again(
        &mut self,
        pages: impl Iterator<Item = u64>,
        memory: &dyn ProcessMemory,
        mut receive: impl FnMut(u64, Option<&[u8]>, Option<&[u8]>) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        self.wanted.clear();
        self.wanted.extend(pages);
        sort_wanted(&mut self.wanted);
        let (held, arena) = (&self.held, &self.arena);
        read_pages(memory, &self.wanted, |page, now| {
            let first = held.get(&page).map(|held| arena.page(held.slot));
            receive(page, first, now)
        })
    }

    /// Begins a round.
    pub fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.before.clear();
        self.last = None;
    }

    /// Forgets what was not touched in this round.
    pub fn keep_touched(&mut self) {
        let (round, arena) = (self.round, &mut self.arena);
        self.held.retain(|_, held| {
            let touched = held.round == round;
            if !touched && held.slot != UNREADABLE {
                arena.release(held.slot);
            }
            touched
        });
    }

    /// Takes in a page as it was read just now; no bytes if it cannot be read.
    fn store(&mut self, page: u64, bytes: Option<&[u8]>, budget: usize) -> Result<(), MemoryError> {
        let round = self.round;
        let earlier = self
            .held
            .get_mut(&page)
            .filter(|held| held.slot != UNREADABLE);
        match (earlier, bytes) {
            (Some(held), Some(bytes)) => {
                let place = self.arena.page_mut(held.slot);
                held.round = round;
                held.before = None;
                if *place != *bytes {
                    held.before = Some(self.before.add(place, budget)?);
                    place.copy_from_slice(bytes);
                }
                return Ok(());
            }
            (Some(held), None) => self.arena.release(held.slot),
            (None, _) => {}
        }
        let slot = match bytes {
            Some(bytes) => self.arena.add(bytes, budget)?,
            None => UNREADABLE,
        };
        self.held.insert(page, Held::new(slot, round));
        Ok(())
    }
}

fn sort_wanted(pages: &mut Vec<u64>) {
    pages.sort_unstable();
    pages.dedup();
}
