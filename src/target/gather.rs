//! Many small reads in one call, with buffers that are used again.

use asyncspy_model::RemoteAddr;

use super::memory::{Fields, MemoryError, MemoryView, Piece, ProcessMemory, gather_all, piece};

/// A batch of ranges to read, and what was read of them.
#[derive(Debug, Default)]
pub struct Gather {
    pieces: Vec<Piece>,
    starts: Vec<usize>,
    total: usize,
    bytes: Vec<u8>,
    ok: Vec<bool>,
    calls: u64,
}

/// One range of a [`Gather`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted(usize);

impl Gather {
    /// Begins a new batch.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.starts.clear();
        self.total = 0;
    }

    /// Adds a range; ranges are read in the order in which they were added.
    pub fn want(&mut self, addr: RemoteAddr, len: usize) -> Wanted {
        self.pieces.push(piece(addr, len));
        self.starts.push(self.total);
        self.total += len;
        Wanted(self.pieces.len() - 1)
    }

    /// Reads all ranges of the batch.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn run(&mut self, memory: &dyn ProcessMemory) -> Result<(), MemoryError> {
        if self.bytes.len() < self.total {
            self.bytes.resize(self.total, 0);
        }
        self.calls += 1;
        let bytes = &mut self.bytes[..self.total];
        gather_all(memory, &self.pieces, bytes, &mut self.ok)
    }

    /// What was read of a range; `None` if it could not be read.
    #[must_use]
    pub fn fields(&self, wanted: Wanted) -> Option<Fields<'_>> {
        let read = self.ok.get(wanted.0).copied().unwrap_or(false);
        let start = *self.starts.get(wanted.0)?;
        let len = self.pieces.get(wanted.0)?.len;
        let bytes = self.bytes.get(start..start + len)?;
        read.then_some(Fields(bytes))
    }

    /// A part of what was read of a range; `None` if it could not be read or is not within it.
    #[must_use]
    pub fn part(&self, wanted: Wanted, offset: usize, len: usize) -> Option<&[u8]> {
        let range = self.fields(wanted)?.0;
        range.get(offset..offset.checked_add(len)?)
    }

    /// How many batches were read so far.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }
}

/// What a batch has read, as a view of memory; what it lacks is read from the process.
pub struct Gathered<'a> {
    gather: &'a Gather,
    memory: &'a dyn ProcessMemory,
}

impl<'a> Gathered<'a> {
    /// A view of the last batch.
    #[must_use]
    pub const fn new(gather: &'a Gather, memory: &'a dyn ProcessMemory) -> Self {
        Self { gather, memory }
    }

    fn find(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        let ranges = self.gather.pieces.iter().enumerate();
        for (at, range) in ranges {
            let offset = addr.0.wrapping_sub(range.base as u64);
            if offset < range.len as u64 {
                let offset = usize::try_from(offset).ok()?;
                if let Some(bytes) = self.gather.part(Wanted(at), offset, len) {
                    return Some(bytes);
                }
            }
        }
        None
    }
}

impl MemoryView for Gathered<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        match self.find(addr, buf.len()) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => self.memory.as_view().read(addr, buf),
        }
    }
}
