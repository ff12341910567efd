//! Reading whole pages, many in one call.

use std::cell::RefCell;

use asyncspy_model::RemoteAddr;

use super::memory::{MAX_PIECES, MemoryError, Piece, ProcessMemory, gather_all, piece};
use super::page_pool::{self, BLOCK, Block};

/// Size of a page. Larger pages of the target only make the grain finer than it needs to be.
pub const PAGE: u64 = 4096;

/// Pages read in one call: what is read fits the cache until it has been looked at.
pub const BATCH: usize = BLOCK;

/// Most pages in one piece. A page in a longer piece costs less than a piece of its own, but a
/// hole spoils the whole piece.
const RUN: usize = 16;

const PAGE_BYTES: usize = PAGE as usize;

/// Never more than this many pieces fit one vectored call.
const _: () = assert!(BATCH <= MAX_PIECES);

thread_local! {
    static READS: RefCell<PageReads> = const { RefCell::new(PageReads::new()) };
}

/// Reads these pages, given by number in ascending order, each once, and hands over the bytes of
/// each; none for one that cannot be read. The receiver reads no pages itself.
///
/// # Errors
/// [`MemoryError::Gone`], [`MemoryError::Denied`], or what the receiver returns.
pub fn read_pages(
    memory: &dyn ProcessMemory,
    pages: &[u64],
    mut receive: impl FnMut(u64, Option<&[u8]>) -> Result<(), MemoryError>,
) -> Result<(), MemoryError> {
    READS.with_borrow_mut(|reads| {
        for batch in pages.chunks(BATCH) {
            if reads.block.is_empty() {
                let block = page_pool::take().ok_or(MemoryError::Budget)?;
                reads.block.push(block);
            }
            let Some(bytes) = reads.block.first_mut() else {
                return Err(MemoryError::Budget);
            };
            reads.calls.read(memory, batch, bytes, &mut receive)?;
        }
        Ok(())
    })
}

/// Reads at most [`BATCH`] pages as [`read_pages`] does, one behind the other into `bytes`.
///
/// # Errors
/// As there.
pub fn read_pages_into(
    memory: &dyn ProcessMemory,
    pages: &[u64],
    bytes: &mut [u8],
    receive: impl FnMut(u64, Option<&[u8]>) -> Result<(), MemoryError>,
) -> Result<(), MemoryError> {
    READS.with_borrow_mut(|reads| reads.calls.read(memory, pages, bytes, receive))
}

/// Buffers for reading pages, which all reads of a thread use.
#[derive(Debug)]
struct PageReads {
    calls: Calls,
    /// One, once it has read anything that is not kept.
    block: Vec<Block>,
}

/// What one call reads.
#[derive(Debug)]
struct Calls {
    pieces: Vec<Piece>,
    ok: Vec<bool>,
}

impl PageReads {
    const fn new() -> Self {
        Self {
            calls: Calls {
                pieces: Vec::new(),
                ok: Vec::new(),
            },
            block: Vec::new(),
        }
    }
}

impl Calls {
    fn read(
        &mut self,
        memory: &dyn ProcessMemory,
        batch: &[u64],
        bytes: &mut [u8],
        mut receive: impl FnMut(u64, Option<&[u8]>) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        self.plan(batch);
        gather_all(memory, &self.pieces, bytes, &mut self.ok)?;
        let mut pages = batch.iter().zip(bytes.chunks_exact_mut(PAGE_BYTES));
        for (run, ok) in self.pieces.iter().zip(&self.ok) {
            for (page, bytes) in pages.by_ref().take(run.len / PAGE_BYTES) {
                // Where a run of pages failed, each is tried by itself.
                let ok = *ok || (run.len > PAGE_BYTES && read_one(memory, *page, bytes)?);
                receive(*page, ok.then_some(&*bytes))?;
            }
        }
        Ok(())
    }

    fn plan(&mut self, batch: &[u64]) {
        self.pieces.clear();
        for page in batch {
            let base = page.wrapping_mul(PAGE);
            match self.pieces.last_mut() {
                Some(last)
                    if last.base as u64 + last.len as u64 == base
                        && last.len < RUN * PAGE_BYTES =>
                {
                    last.len += PAGE_BYTES;
                }
                _ => self.pieces.push(piece(RemoteAddr(base), PAGE_BYTES)),
            }
        }
    }
}

impl Drop for PageReads {
    fn drop(&mut self) {
        page_pool::give_back(&mut self.block);
    }
}

fn read_one(memory: &dyn ProcessMemory, page: u64, bytes: &mut [u8]) -> Result<bool, MemoryError> {
    let piece = piece(RemoteAddr(page.wrapping_mul(PAGE)), bytes.len());
    Ok(memory.gather(&[piece], bytes)? == bytes.len())
}
