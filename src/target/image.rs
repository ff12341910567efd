//! The target's memory page by page, fetched in bulk.
//!
//! A snapshot touches many small objects that lie close together. Reading whole pages, many in
//! one call, costs less than a call a field, and lets the readers be written field by field.

use std::cell::RefCell;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::memory::{MAX_PIECES, MemoryError, MemoryView, Piece, ProcessMemory, gather_all, piece};

/// Size of a page. Larger pages of the target only make the grain finer than it needs to be.
pub const PAGE: u64 = 4096;

/// Most bytes that one image holds, so that a hostile target cannot exhaust our memory:
/// a census of 100 000 tasks needs about 200 MiB.
pub const DEFAULT_BUDGET: usize = 1 << 30;

/// Slot of a page that could not be read.
const UNREADABLE: u32 = u32::MAX;

/// Pages of a process, each read once, when first needed or ahead of need.
pub struct PageImage<'m> {
    memory: &'m dyn ProcessMemory,
    budget: usize,
    state: RefCell<State>,
}

/// The pages of an image without the memory that they are of, to be kept or used again.
#[derive(Debug, Default)]
pub struct Pages(State);

#[derive(Debug, Default)]
struct State {
    slots: FxHashMap<u64, u32>,
    /// Holds the pages; behind `used` lies what an earlier image has left.
    arena: Vec<u8>,
    used: usize,
    last: Option<(u64, u32)>,
    wanted: Vec<u64>,
    pieces: Vec<Piece>,
    ok: Vec<bool>,
}

impl<'m> PageImage<'m> {
    /// An empty image of `memory`.
    #[must_use]
    pub fn new(memory: &'m dyn ProcessMemory) -> Self {
        Self::with_budget(memory, DEFAULT_BUDGET)
    }

    /// An empty image that holds at most `budget` bytes.
    #[must_use]
    pub fn with_budget(memory: &'m dyn ProcessMemory, budget: usize) -> Self {
        Self {
            memory,
            budget,
            state: RefCell::default(),
        }
    }

    /// An image that holds these pages already.
    #[must_use]
    pub fn holding(memory: &'m dyn ProcessMemory, pages: Pages) -> Self {
        Self {
            memory,
            budget: DEFAULT_BUDGET,
            state: RefCell::new(pages.0),
        }
    }

    /// An empty image that uses the space of these pages again: fresh space costs a page fault
    /// for each page.
    #[must_use]
    pub fn reusing(memory: &'m dyn ProcessMemory, pages: Pages) -> Self {
        let mut state = pages.0;
        state.slots.clear();
        state.used = 0;
        state.last = None;
        Self {
            memory,
            budget: DEFAULT_BUDGET,
            state: RefCell::new(state),
        }
    }

    /// The pages.
    #[must_use]
    pub fn into_pages(self) -> Pages {
        Pages(self.state.into_inner())
    }

    /// The memory that it is an image of.
    #[must_use]
    pub fn memory(&self) -> &'m dyn ProcessMemory {
        self.memory
    }

    /// Fetches all pages that the ranges (address, length) touch, as few calls as possible.
    /// Unreadable pages are remembered as such and fail when they are read.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
    pub fn prefetch(
        &self,
        ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    ) -> Result<(), MemoryError> {
        let state = &mut *self.state.borrow_mut();
        state.wanted.clear();
        for (addr, len) in ranges {
            let first = addr.0 / PAGE;
            let last = addr.0.saturating_add(len.clamp(1, 64 * PAGE) - 1) / PAGE;
            for page in first..=last {
                if !state.slots.contains_key(&page) {
                    state.wanted.push(page);
                }
            }
        }
        state.fetch_wanted(self.memory, self.budget)
    }

    /// True if both images hold the same bytes for the range; false when either lacks them.
    #[must_use]
    pub fn agrees_with(&self, other: &PageImage<'_>, addr: RemoteAddr, len: u64) -> bool {
        let mut at = addr.0;
        let end = addr.0.saturating_add(len);
        let (mine, theirs) = (self.state.borrow(), other.state.borrow());
        while at < end {
            let upto = end.min((at / PAGE + 1) * PAGE);
            let (Some(a), Some(b)) = (mine.within_page(at, upto), theirs.within_page(at, upto))
            else {
                return false;
            };
            if a != b {
                return false;
            }
            at = upto;
        }
        true
    }
}

impl MemoryView for PageImage<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped {
            addr,
            len: buf.len(),
        };
        let state = &mut *self.state.borrow_mut();
        let mut done = 0;
        while done < buf.len() {
            let at = addr.0.checked_add(done as u64).ok_or(unmapped)?;
            let slot = state.slot(at / PAGE, self.memory, self.budget)?;
            if slot == UNREADABLE {
                return Err(unmapped);
            }
            let inside = (at % PAGE) as usize;
            let count = (buf.len() - done).min(PAGE as usize - inside);
            let start = slot as usize * PAGE as usize + inside;
            buf[done..done + count].copy_from_slice(&state.arena[start..start + count]);
            done += count;
        }
        Ok(())
    }
}

impl State {
    /// The bytes from `from` up to `upto`, which lie on one page; `None` if it is not held.
    fn within_page(&self, from: u64, upto: u64) -> Option<&[u8]> {
        let slot = *self.slots.get(&(from / PAGE))?;
        let start = slot as usize * PAGE as usize + (from % PAGE) as usize;
        self.arena.get(start..start + (upto - from) as usize)
    }

    fn slot(
        &mut self,
        page: u64,
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<u32, MemoryError> {
        if let Some((last, slot)) = self.last
            && last == page
        {
            return Ok(slot);
        }
        let slot = match self.slots.get(&page) {
            Some(slot) => *slot,
            None => {
                self.wanted.clear();
                self.wanted.push(page);
                self.fetch_wanted(memory, budget)?;
                self.slots.get(&page).copied().unwrap_or(UNREADABLE)
            }
        };
        self.last = Some((page, slot));
        Ok(slot)
    }

    fn fetch_wanted(
        &mut self,
        memory: &dyn ProcessMemory,
        budget: usize,
    ) -> Result<(), MemoryError> {
        self.wanted.sort_unstable();
        self.wanted.dedup();
        let start = self.used;
        let needed = self.wanted.len() * PAGE as usize;
        if start + needed > budget {
            return Err(MemoryError::Budget);
        }
        self.pieces.clear();
        for page in &self.wanted {
            let base = page.wrapping_mul(PAGE);
            match self.pieces.last_mut() {
                // Neighbours become one piece: a page in a longer piece costs less than a piece
                // of its own. A piece stays short enough that a hole spoils little.
                Some(last)
                    if last.base as u64 + last.len as u64 == base
                        && last.len < 16 * PAGE as usize =>
                {
                    last.len += PAGE as usize;
                }
                _ => self.pieces.push(piece(RemoteAddr(base), PAGE as usize)),
            }
        }
        if self.arena.len() < start + needed {
            self.arena.resize(start + needed, 0);
        }
        self.used = start + needed;
        let place = &mut self.arena[start..self.used];
        gather_all(memory, &self.pieces, place, &mut self.ok)?;
        self.assign_slots(memory, start)
    }

    /// Gives each wanted page its slot; the pages of a piece that failed are tried one by one.
    fn assign_slots(
        &mut self,
        memory: &dyn ProcessMemory,
        start: usize,
    ) -> Result<(), MemoryError> {
        let mut slot = start / PAGE as usize;
        for (index, range) in self.pieces.iter().enumerate() {
            for nth in 0..range.len / PAGE as usize {
                let base = range.base as u64 + nth as u64 * PAGE;
                let place = slot * PAGE as usize;
                let bytes = &mut self.arena[place..place + PAGE as usize];
                let readable = self.ok[index]
                    || (range.len > PAGE as usize
                        && memory.gather(&[piece(RemoteAddr(base), PAGE as usize)], bytes)?
                            == PAGE as usize);
                let number = u32::try_from(slot).map_err(|_| MemoryError::Budget)?;
                let assigned = if readable { number } else { UNREADABLE };
                self.slots.insert(base / PAGE, assigned);
                slot += 1;
            }
        }
        Ok(())
    }
}

/// Never more than this many pages fit one vectored call.
const _: () = assert!(MAX_PIECES == 1024);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::memory::MemoryViewExt;

    struct Holes;

    impl MemoryView for Holes {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            let got = self.gather(&[piece(addr, buf.len())], buf)?;
            if got == buf.len() {
                return Ok(());
            }
            Err(MemoryError::Unmapped {
                addr,
                len: buf.len(),
            })
        }
    }

    /// Every third page is a hole; elsewhere each byte is its page's number.
    impl ProcessMemory for Holes {
        fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
            let mut done = 0;
            for piece in pieces {
                for at in (0..piece.len as u64).map(|nth| piece.base as u64 + nth) {
                    if (at / PAGE).is_multiple_of(3) {
                        return Ok(done);
                    }
                    buf[done] = (at / PAGE) as u8;
                    done += 1;
                }
            }
            Ok(done)
        }

        fn as_view(&self) -> &dyn MemoryView {
            self
        }
    }

    #[test]
    fn a_hole_spoils_only_its_own_page() {
        let image = PageImage::new(&Holes);
        let all = [(RemoteAddr(0), 12 * PAGE)];
        image.prefetch(all).unwrap();
        for page in 0..12_u64 {
            let byte = image.read_u8(RemoteAddr(page * PAGE + 5)).ok();
            let expected = (page % 3 != 0).then_some(page as u8);
            assert_eq!(byte, expected, "page {page}");
        }
    }

    #[test]
    fn a_read_across_pages_is_whole() {
        let image = PageImage::new(&Holes);
        let mut buf = [0; 4];
        image.read(RemoteAddr(2 * PAGE - 2), &mut buf).unwrap();
        assert_eq!(buf, [1, 1, 2, 2]);
        assert!(image.read(RemoteAddr(3 * PAGE - 2), &mut buf).is_err());
    }

    #[test]
    fn addresses_at_the_end_of_the_space_fail_plainly() {
        let image = PageImage::new(&Holes);
        let mut buf = [0; 64];
        assert!(image.read(RemoteAddr(u64::MAX - 3), &mut buf).is_err());
    }

    #[test]
    fn the_budget_ends_a_greedy_read() {
        let image = PageImage::with_budget(&Holes, 2 * PAGE as usize);
        let greedy = [(RemoteAddr(PAGE), 8 * PAGE)];
        assert_eq!(image.prefetch(greedy), Err(MemoryError::Budget));
    }
}
