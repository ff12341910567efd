//! The target's memory page by page, fetched in bulk.
//!
//! A snapshot touches many small objects that lie close together. Reading whole pages, many in
//! one call, costs less than a call a field, and lets the readers be written field by field.
//!
//! An image may go on from the pages of an earlier one. They are read again when first touched,
//! and what they held before is kept where it differs: so that what has not changed need not be
//! looked at closely, and the space is used again.

use std::cell::RefCell;

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::held_pages::{HeldPages, pages_of, parts_of};
use super::memory::{MemoryError, MemoryView, Piece, ProcessMemory, gather_all};
use super::page_arena::PageArena;
use super::page_reads::PAGE;

/// Most bytes that one image holds, so that a hostile target cannot exhaust our memory:
/// a census of 100 000 tasks needs about 200 MiB.
pub const DEFAULT_BUDGET: usize = 1 << 30;

/// Pages of a process, each read once, when first needed or ahead of need.
pub struct PageImage<'m> {
    memory: &'m dyn ProcessMemory,
    budget: usize,
    /// How many pages, aligned, are read when one of them is needed.
    block: u64,
    state: RefCell<HeldPages>,
}

/// The pages of an image without the memory that they are of, to go on from.
#[derive(Debug, Default)]
pub struct Pages(HeldPages);

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
            block: 1,
            state: RefCell::new(HeldPages::spare()),
        }
    }

    /// An empty image that with each page needed reads the aligned block of so many pages, a
    /// power of two, to which it belongs.
    #[must_use]
    pub fn by_blocks(memory: &'m dyn ProcessMemory, pages: u64) -> Self {
        let mut image = Self::new(memory);
        image.block = pages;
        image
    }

    /// An image that goes on from these pages.
    #[must_use]
    pub fn continuing(memory: &'m dyn ProcessMemory, pages: Pages) -> Self {
        let mut state = pages.0;
        state.begin_round();
        Self {
            memory,
            budget: DEFAULT_BUDGET,
            block: 1,
            state: RefCell::new(state),
        }
    }

    /// The pages that were touched.
    #[must_use]
    pub fn into_pages(mut self) -> Pages {
        let mut state = std::mem::take(self.state.get_mut());
        state.keep_touched();
        Pages(state)
    }

    /// Forgets all pages; their space is used again.
    pub fn clear(&self) {
        self.state.borrow_mut().clear();
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
        let pages = ranges.into_iter().flat_map(pages_of);
        let mut state = self.state.borrow_mut();
        state.fetch(pages, self.memory, self.budget)
    }

    /// Fetches pages, given by number in ascending order, that the image which this one goes on
    /// from has held, and hands over those that do not hold the same bytes as there. Those that
    /// cannot be read are dropped from the list.
    ///
    /// # Errors
    /// As [`prefetch`](Self::prefetch).
    pub fn fetch_again(
        &self,
        pages: &mut Vec<u64>,
        changed: impl FnMut(u64),
    ) -> Result<(), MemoryError> {
        let mut state = self.state.borrow_mut();
        state.fetch_again(pages, self.memory, self.budget, changed)
    }

    /// True if these ranges hold the same bytes as in the image that this one goes on from.
    #[must_use]
    pub fn is_as_before(&self, ranges: &[(RemoteAddr, u64)]) -> bool {
        let state = self.state.borrow();
        let mut parts = ranges.iter().flat_map(|range| parts_of(*range));
        parts.all(|part| state.is_as_before(part))
    }

    /// Reads the pages of these ranges once more.
    ///
    /// # Errors
    /// As [`prefetch`](Self::prefetch).
    pub fn look_again(
        &self,
        ranges: impl IntoIterator<Item = (RemoteAddr, u64)>,
    ) -> Result<SecondLook, MemoryError> {
        let pages = ranges.into_iter().flat_map(pages_of);
        let mut look = SecondLook::default();
        let mut state = self.state.borrow_mut();
        state.read_again(pages, self.memory, |page, first, now| {
            look.note(page, first, now, self.budget)
        })?;
        Ok(look)
    }
}

impl Drop for PageImage<'_> {
    fn drop(&mut self) {
        std::mem::take(self.state.get_mut()).spare_for_others();
    }
}

impl MemoryView for PageImage<'_> {
    fn expect(
        &self,
        ranges: &mut dyn Iterator<Item = (RemoteAddr, u64)>,
    ) -> Result<(), MemoryError> {
        self.prefetch(ranges)
    }

    fn read_each(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<Vec<bool>, MemoryError> {
        let mut arrived = Vec::with_capacity(pieces.len());
        gather_all(self.memory, pieces, buf, &mut arrived)?;
        Ok(arrived)
    }

    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped {
            addr,
            len: buf.len(),
        };
        let state = &mut *self.state.borrow_mut();
        if addr.0 % PAGE + buf.len() as u64 > PAGE {
            let pages = pages_of((addr, buf.len() as u64));
            state.fetch(pages, self.memory, self.budget)?;
        }
        let mut done = 0;
        while done < buf.len() {
            let at = addr.0.checked_add(done as u64).ok_or(unmapped)?;
            let page = state.page(at / PAGE, self.block, self.memory, self.budget)?;
            let page = page.ok_or(unmapped)?;
            let inside = (at % PAGE) as usize;
            let count = (buf.len() - done).min(PAGE as usize - inside);
            buf[done..done + count].copy_from_slice(&page[inside..inside + count]);
            done += count;
        }
        Ok(())
    }
}

/// What a second look at some pages of an image has shown.
#[derive(Debug, Default)]
pub struct SecondLook {
    /// Where a page's bytes are if they differ.
    pages: FxHashMap<u64, Option<u32>>,
    arena: PageArena,
}

impl SecondLook {
    /// Takes down how a page looks now; nothing when it cannot be compared.
    fn note(
        &mut self,
        page: u64,
        first: Option<&[u8]>,
        now: Option<&[u8]>,
        budget: usize,
    ) -> Result<(), MemoryError> {
        let (Some(first), Some(now)) = (first.filter(|page| !page.is_empty()), now) else {
            return Ok(());
        };
        let differing = if are_equal(first, now) {
            None
        } else {
            Some(self.arena.add(now, budget)?)
        };
        self.pages.insert(page, differing);
        Ok(())
    }

    /// True if these ranges hold the same bytes as in the image; false if they were not looked
    /// at again.
    #[must_use]
    pub fn agrees(&self, image: &PageImage<'_>, ranges: &[(RemoteAddr, u64)]) -> bool {
        let state = image.state.borrow();
        let mut parts = ranges.iter().flat_map(|range| parts_of(*range));
        parts.all(|part| match self.pages.get(&part.page) {
            None => false,
            Some(None) => true,
            Some(Some(slot)) => {
                let first = state.held(part.page);
                first.is_some_and(|first| part.is_equal(first, self.arena.page(*slot)))
            }
        })
    }
}

/// True if two pages hold the same. In words that the compiler compares itself: musl does it byte
/// by byte, which took a third of all that `dump` computes.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<32>(), other.as_chunks::<32>());
    let mut pairs = words.iter().zip(others);
    one.len() == other.len() && pairs.all(|(word, other)| word == other) && rest == other_rest
}

/// Numbers of the pages that a range (address, length) touches, ascending.
pub fn touched_pages(range: (RemoteAddr, u64)) -> impl Iterator<Item = u64> {
    parts_of(range).map(|part| part.page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::memory::{MemoryViewExt, piece};
    use std::cell::{Cell, RefCell};

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
    fn what_lies_on_several_pages_is_read_in_one_call() {
        let memory = Counting(Cell::default());
        let image = PageImage::new(&memory);
        let mut buf = [0; 4];
        for _ in 0..2 {
            image.read(RemoteAddr(2 * PAGE - 2), &mut buf).unwrap();
            assert_eq!((buf, memory.0.get()), ([1, 1, 2, 2], 1));
        }
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

    /// Counts the calls.
    struct Counting(Cell<usize>);

    impl MemoryView for Counting {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            Holes.read(addr, buf)
        }
    }

    impl ProcessMemory for Counting {
        fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
            self.0.set(self.0.get() + 1);
            Holes.gather(pieces, buf)
        }

        fn as_view(&self) -> &dyn MemoryView {
            self
        }
    }

    #[test]
    fn a_null_pointer_among_others_costs_nothing() {
        let memory = Counting(Cell::default());
        let image = PageImage::new(&memory);
        let ranges = [0, PAGE, 4 * PAGE].map(|addr| (RemoteAddr(addr), 8));
        image.prefetch(ranges).unwrap();
        assert_eq!(memory.0.get(), 1);
        assert!(image.read_u8(RemoteAddr(8)).is_err());
    }

    /// Pages whose bytes can be changed; missing ones cannot be read.
    struct Changing(RefCell<FxHashMap<u64, u8>>);

    impl MemoryView for Changing {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            let len = buf.len();
            let got = self.gather(&[piece(addr, len)], buf)?;
            (got == len)
                .then_some(())
                .ok_or(MemoryError::Unmapped { addr, len })
        }
    }

    impl ProcessMemory for Changing {
        fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
            let mut done = 0;
            for piece in pieces {
                for at in (0..piece.len as u64).map(|nth| piece.base as u64 + nth) {
                    let Some(byte) = self.0.borrow().get(&(at / PAGE)).copied() else {
                        return Ok(done);
                    };
                    // One byte alone differs between the states of a page.
                    buf[done] = if at % PAGE == 100 { byte } else { 0 };
                    done += 1;
                }
            }
            Ok(done)
        }

        fn as_view(&self) -> &dyn MemoryView {
            self
        }
    }

    fn changing() -> Changing {
        Changing(RefCell::new((1..6).map(|page| (page, 1)).collect()))
    }

    const AT: fn(u64) -> (RemoteAddr, u64) = |page| (RemoteAddr(page * PAGE + 96), 8);
    const BESIDE: fn(u64) -> (RemoteAddr, u64) = |page| (RemoteAddr(page * PAGE + 104), 8);

    #[test]
    fn what_changes_between_two_images_is_noticed() {
        let memory = changing();
        let first = PageImage::new(&memory);
        first.prefetch([1, 2, 3].map(AT)).unwrap();
        assert!(!first.is_as_before(&[AT(1)]), "there was nothing before");
        let pages = first.into_pages();
        memory.0.borrow_mut().insert(2, 7);
        memory.0.borrow_mut().remove(&3);
        let second = PageImage::continuing(&memory, pages);
        assert!(!second.is_as_before(&[AT(1)]), "it was not read again");
        second.prefetch([1, 2, 3, 4].map(AT)).unwrap();
        let as_before = [1, 2, 3, 4].map(|page| second.is_as_before(&[AT(page)]));
        assert_eq!(as_before, [true, false, false, false]);
        assert!(second.is_as_before(&[AT(1), BESIDE(2)]));
        assert_eq!(second.read_u8(RemoteAddr(2 * PAGE + 100)), Ok(7));
        assert!(second.read_u8(RemoteAddr(3 * PAGE + 100)).is_err());
    }

    #[test]
    fn a_page_that_was_not_needed_is_forgotten() {
        let memory = changing();
        let first = PageImage::new(&memory);
        first.prefetch([1, 2].map(AT)).unwrap();
        let second = PageImage::continuing(&memory, first.into_pages());
        second.prefetch([AT(1)]).unwrap();
        let third = PageImage::continuing(&memory, second.into_pages());
        third.prefetch([1, 2, 3].map(AT)).unwrap();
        assert!(third.is_as_before(&[AT(1)]));
        assert!(!third.is_as_before(&[AT(2)]));
        assert_eq!(third.read_u8(RemoteAddr(3 * PAGE + 100)), Ok(1));
    }

    #[test]
    fn a_second_look_tells_what_has_changed_since() {
        let memory = changing();
        let image = PageImage::new(&memory);
        image.prefetch([1, 2, 3, 4].map(AT)).unwrap();
        memory.0.borrow_mut().insert(2, 7);
        memory.0.borrow_mut().remove(&3);
        let look = image.look_again([1, 2, 3].map(AT)).unwrap();
        let agrees = [1, 2, 3, 4].map(|page| look.agrees(&image, &[AT(page)]));
        assert_eq!(agrees, [true, false, false, false]);
        assert!(look.agrees(&image, &[AT(1), BESIDE(2)]));
    }
}
