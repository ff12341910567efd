//! Memory for a few pages each, shared by all who hold some.
//!
//! A fresh page of our own costs a page fault, and another toll when it is given back: together as
//! much as reading a page of the target. A huge page costs as much as some fifty small ones. So
//! one is cut into blocks, which go from one holder to the next.

use std::sync::{Mutex, PoisonError};

use memmap2::{Advice, MmapMut};

use super::page_reads::PAGE;

/// Pages of a block.
pub const BLOCK: usize = 32;

const BLOCK_BYTES: usize = BLOCK * PAGE as usize;

/// What the kernel provides at once where it has huge pages.
const HUGE: usize = 2 << 20;

/// Memory for [`BLOCK`] pages, which holds whatever the last holder left there.
pub type Block = &'static mut [u8];

/// Blocks that nobody holds. There are never more than were held at one time.
static FREE: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// A block; `None` when there is no memory.
pub fn take() -> Option<Block> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.is_empty() {
        free.extend(more()?);
    }
    free.pop()
}

/// Takes blocks back.
pub fn give_back(blocks: &mut Vec<Block>) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    free.append(blocks);
}

/// The blocks of another huge page, which is never given back to the kernel.
fn more() -> Option<impl Iterator<Item = Block>> {
    let map: &'static mut MmapMut = Box::leak(Box::new(MmapMut::map_anon(2 * HUGE).ok()?));
    let start = map.as_ptr().addr().wrapping_neg() % HUGE;
    // Without huge pages it is slower, and works as well.
    let _ = map.advise_range(Advice::HugePage, start, HUGE);
    Some(map[start..start + HUGE].chunks_exact_mut(BLOCK_BYTES))
}
