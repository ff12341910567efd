//! Space for pages that grows without moving them.
//!
//! What is held of a large process is tens of MiB, and each page of fresh space costs a page
//! fault of our own, as dear as reading a page of the target: so space comes in huge pages where
//! the kernel has them. The first few come from those that all share.

use std::ops::Range;

use memmap2::{Advice, MmapMut};

use super::memory::MemoryError;
use super::page_pool::{self, BLOCK, Block};
use super::page_reads::PAGE;

const PAGE_BYTES: usize = PAGE as usize;

/// Pages that are held in blocks before anything is mapped.
const FEW: usize = 256;

/// Pages of a mapping: 16 MiB, of which the kernel provides what is used.
const CHUNK: usize = 4096;

/// Pages by slot.
#[derive(Debug, Default)]
pub struct PageArena {
    few: Vec<Block>,
    chunks: Vec<MmapMut>,
    /// How many slots were given out.
    used: usize,
    free: Vec<u32>,
}

impl PageArena {
    /// Keeps a page and returns its slot.
    ///
    /// # Errors
    /// [`MemoryError::Budget`] when more than `budget` bytes would be held, or there is no memory.
    pub fn add(&mut self, bytes: &[u8], budget: usize) -> Result<u32, MemoryError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.grow(budget)?,
        };
        self.page_mut(slot).copy_from_slice(bytes);
        Ok(slot)
    }

    /// Fresh space for at most so many pages, one behind the other, and the slot of the first;
    /// `None` while there are slots that were given back.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn space(
        &mut self,
        pages: usize,
        budget: usize,
    ) -> Result<Option<(u32, &mut [u8])>, MemoryError> {
        if !self.free.is_empty() {
            return Ok(None);
        }
        let slot = self.grow(budget)?;
        let affordable = (budget / PAGE_BYTES).saturating_sub(slot as usize);
        let behind = match place(slot) {
            Place::Few(block, range) => {
                let block = self.few.get_mut(block);
                block.and_then(|block| block.get_mut(range.start..))
            }
            Place::Many(chunk, range) => {
                let map = self.chunks.get_mut(chunk);
                map.and_then(|map| map.get_mut(range.start..))
            }
        };
        let behind = behind.unwrap_or_default();
        let count = pages.min(affordable).min(behind.len() / PAGE_BYTES);
        self.used += count.saturating_sub(1);
        Ok(behind
            .get_mut(..count * PAGE_BYTES)
            .map(|bytes| (slot, bytes)))
    }

    fn grow(&mut self, budget: usize) -> Result<u32, MemoryError> {
        let slot = u32::try_from(self.used).map_err(|_| MemoryError::Budget)?;
        if (self.used + 1) * PAGE_BYTES > budget {
            return Err(MemoryError::Budget);
        }
        match self.used.checked_sub(FEW) {
            None if self.used / BLOCK == self.few.len() => {
                self.few.push(page_pool::take().ok_or(MemoryError::Budget)?);
            }
            Some(beyond) if beyond / CHUNK == self.chunks.len() => self.chunks.push(chunk()?),
            _ => {}
        }
        self.used += 1;
        Ok(slot)
    }

    /// True if it holds no more than is kept for the next who needs little.
    #[must_use]
    pub const fn is_small(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The page of a slot; empty if there is none.
    #[must_use]
    pub fn page(&self, slot: u32) -> &[u8] {
        let page = match place(slot) {
            Place::Few(block, range) => self.few.get(block).and_then(|block| block.get(range)),
            Place::Many(chunk, range) => self.chunks.get(chunk).and_then(|map| map.get(range)),
        };
        page.unwrap_or_default()
    }

    /// The page of a slot, to be changed; empty if there is none.
    pub fn page_mut(&mut self, slot: u32) -> &mut [u8] {
        let page = match place(slot) {
            Place::Few(block, range) => {
                let block = self.few.get_mut(block);
                block.and_then(|block| block.get_mut(range))
            }
            Place::Many(chunk, range) => {
                let map = self.chunks.get_mut(chunk);
                map.and_then(|map| map.get_mut(range))
            }
        };
        page.unwrap_or_default()
    }

    /// Gives a slot back.
    pub fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Gives all slots back.
    pub fn clear(&mut self) {
        self.used = 0;
        self.free.clear();
        page_pool::give_back(&mut self.few);
    }
}

impl Drop for PageArena {
    fn drop(&mut self) {
        page_pool::give_back(&mut self.few);
    }
}

fn chunk() -> Result<MmapMut, MemoryError> {
    let map = MmapMut::map_anon(CHUNK * PAGE_BYTES).map_err(|_| MemoryError::Budget)?;
    // Without huge pages it is slower, and works as well.
    let _ = map.advise(Advice::HugePage);
    Ok(map)
}

/// Where a page is: in which block or mapping, and its bytes there.
enum Place {
    Few(usize, Range<usize>),
    Many(usize, Range<usize>),
}

fn place(slot: u32) -> Place {
    let bytes = |nth: usize| nth * PAGE_BYTES..(nth + 1) * PAGE_BYTES;
    match (slot as usize).checked_sub(FEW) {
        None => Place::Few(slot as usize / BLOCK, bytes(slot as usize % BLOCK)),
        Some(beyond) => Place::Many(beyond / CHUNK, bytes(beyond % CHUNK)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_holds_its_page() {
        let mut arena = PageArena::default();
        let count = (FEW + CHUNK + 3) as u32;
        for number in 0..count {
            let slot = arena.add(&[number as u8; PAGE_BYTES], usize::MAX).unwrap();
            assert_eq!(slot, number);
        }
        for slot in 0..count {
            assert_eq!(arena.page(slot), [slot as u8; PAGE_BYTES]);
        }
        assert!(arena.page(count + CHUNK as u32).is_empty());
    }

    #[test]
    fn fresh_space_is_of_one_piece() {
        let mut arena = PageArena::default();
        let budget = (FEW + 8) * PAGE_BYTES;
        let mut next = 0;
        while let Ok(Some((slot, bytes))) = arena.space(7, budget) {
            assert_eq!(slot, next);
            for page in bytes.chunks_exact_mut(PAGE_BYTES) {
                page.fill(next as u8);
                next += 1;
            }
        }
        assert_eq!(next as usize * PAGE_BYTES, budget);
        for slot in 0..next {
            assert_eq!(arena.page(slot), [slot as u8; PAGE_BYTES]);
        }
        assert_eq!(arena.space(1, budget), Err(MemoryError::Budget));
        arena.release(3);
        assert_eq!(arena.space(1, budget), Ok(None));
    }

    #[test]
    fn a_slot_given_back_is_used_again() {
        let mut arena = PageArena::default();
        let budget = 2 * PAGE_BYTES;
        for number in 0..2 {
            arena.add(&[number; PAGE_BYTES], budget).unwrap();
        }
        assert_eq!(
            arena.add(&[9; PAGE_BYTES], budget),
            Err(MemoryError::Budget)
        );
        arena.release(1);
        assert_eq!(arena.add(&[9; PAGE_BYTES], budget), Ok(1));
        assert_eq!(arena.page(1), [9; PAGE_BYTES]);
        arena.clear();
        assert_eq!(arena.add(&[7; PAGE_BYTES], budget), Ok(0));
    }
}
