//! Many small reads in one call, with buffers that are used again.

use asyncspy_model::RemoteAddr;

use super::memory::{
    Fields, MAX_PIECES, MemoryError, MemoryView, Piece, ProcessMemory, gather_all, piece,
};
use super::page_reads::PAGE;

/// What lies between two ranges is read along up to this length: a piece of its own costs more.
/// Less than a page, so that no page is read but those that are wanted: another may not be mapped.
pub const GAP: u64 = PAGE - 1;

/// A batch of ranges to read, and what was read of them.
#[derive(Debug, Default)]
pub struct Gather {
    pieces: Vec<Piece>,
    /// The first piece of the present group.
    group: usize,
    starts: Vec<usize>,
    bytes: Vec<u8>,
    ok: Vec<bool>,
    /// How often it was read, one time after the other, and which of these is looked at.
    rounds: usize,
    round: usize,
    /// Bytes of one round.
    round_len: usize,
    calls: u64,
}

/// One range of a [`Gather`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    nth: usize,
    addr: RemoteAddr,
    len: usize,
}

impl Gather {
    /// Begins a new batch.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.group = 0;
    }

    /// Begins a new group: what is added from here on is read after all that was added before.
    pub fn then(&mut self) {
        self.group = self.pieces.len();
    }

    /// Adds a range; such ranges are read in the order in which they were added.
    pub fn want(&mut self, addr: RemoteAddr, len: usize) -> Wanted {
        let nth = self.pieces.len();
        self.pieces.push(piece(addr, len));
        Wanted { nth, addr, len }
    }

    /// Adds a range that may be read at any time within its group: together with one that lies
    /// close to it, if there is one.
    pub fn want_within_group(&mut self, addr: RemoteAddr, len: usize) -> Wanted {
        let end = addr.0.saturating_add(len as u64);
        let of_group = self.pieces.iter_mut().enumerate().skip(self.group);
        for (nth, near) in of_group {
            let low = near.base as u64;
            let high = low.saturating_add(near.len as u64);
            if addr.0 <= high.saturating_add(GAP) && low <= end.saturating_add(GAP) {
                let (low, high) = (low.min(addr.0), high.max(end));
                *near = piece(RemoteAddr(low), (high - low) as usize);
                return Wanted { nth, addr, len };
            }
        }
        self.want(addr, len)
    }

    /// Reads all ranges of the batch.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn run(&mut self, memory: &dyn ProcessMemory) -> Result<(), MemoryError> {
        self.run_rounds(memory, 1)
    }

    /// Reads all ranges of the batch, and all of them again, up to so many times as far as one call
    /// goes. The first of these [`rounds`](Self::rounds) is what is looked at then.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn run_rounds(
        &mut self,
        memory: &dyn ProcessMemory,
        rounds: usize,
    ) -> Result<(), MemoryError> {
        let mut total = 0;
        self.starts.clear();
        for piece in &self.pieces {
            self.starts.push(total);
            total += piece.len;
        }
        let once = self.pieces.len();
        (self.round, self.round_len) = (0, total);
        self.rounds = rounds.clamp(1, (MAX_PIECES / once.max(1)).max(1));
        for _ in 1..self.rounds {
            self.pieces.extend_from_within(..once);
        }
        let total = total * self.rounds;
        if self.bytes.len() < total {
            self.bytes.resize(total, 0);
        }
        self.calls += 1;
        let bytes = &mut self.bytes[..total];
        let read = gather_all(memory, &self.pieces, bytes, &mut self.ok);
        self.pieces.truncate(once);
        read
    }

    /// Takes a batch that something else has read.
    pub fn take<'a>(&mut self, ranges: impl Iterator<Item = (RemoteAddr, &'a [u8])>) {
        self.clear();
        self.starts.clear();
        self.bytes.clear();
        self.ok.clear();
        for (addr, bytes) in ranges {
            self.pieces.push(piece(addr, bytes.len()));
            self.starts.push(self.bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.ok.push(true);
        }
        (self.rounds, self.round, self.round_len) = (1, 0, self.bytes.len());
    }

    /// How often the batch was read.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        self.rounds
    }

    /// Turns to one of the rounds, counted from 0: what was read of a range is what that one has
    /// read of it.
    pub const fn turn_to(&mut self, round: usize) {
        self.round = round;
    }

    /// What was read of a range; `None` if it could not be read.
    #[must_use]
    pub fn fields(&self, wanted: Wanted) -> Option<Fields<'_>> {
        let start = self.place(wanted)?;
        let bytes = self.bytes.get(start..start.checked_add(wanted.len)?)?;
        Some(Fields(bytes))
    }

    /// Where in [`bytes`](Self::bytes) a range is; `None` if it could not be read.
    #[must_use]
    pub fn place(&self, wanted: Wanted) -> Option<usize> {
        let nth = self.round * self.pieces.len() + wanted.nth;
        let read = self.ok.get(nth).copied().unwrap_or(false);
        let piece = self.pieces.get(wanted.nth).filter(|_| read)?;
        let within = usize::try_from(wanted.addr.0.checked_sub(piece.base as u64)?).ok()?;
        let start = self.round * self.round_len + self.starts.get(wanted.nth)?;
        let start = start.checked_add(within)?;
        let end = start.checked_add(wanted.len)?;
        (end <= self.bytes.len()).then_some(start)
    }

    /// All that was read, of all rounds, one piece behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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

/// What a batch has read, as a view of memory.
pub struct Gathered<'a> {
    gather: &'a Gather,
    memory: Option<&'a dyn ProcessMemory>,
}

impl<'a> Gathered<'a> {
    /// A view of the last batch; what it lacks is read from the process.
    #[must_use]
    pub const fn new(gather: &'a Gather, memory: &'a dyn ProcessMemory) -> Self {
        Self {
            gather,
            memory: Some(memory),
        }
    }

    /// A view of the last batch and nothing else: of one moment, as far as that is.
    #[must_use]
    pub const fn alone(gather: &'a Gather) -> Self {
        Self {
            gather,
            memory: None,
        }
    }

    fn find(&self, addr: RemoteAddr, len: usize) -> Option<&[u8]> {
        let ranges = self.gather.pieces.iter().enumerate();
        for (at, range) in ranges {
            let offset = addr.0.wrapping_sub(range.base as u64);
            if offset < range.len as u64 {
                let offset = usize::try_from(offset).ok()?;
                let whole = Wanted {
                    nth: at,
                    addr: RemoteAddr(range.base as u64),
                    len: range.len,
                };
                if let Some(bytes) = self.gather.part(whole, offset, len) {
                    return Some(bytes);
                }
            }
        }
        None
    }
}

impl MemoryView for Gathered<'_> {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let len = buf.len();
        match (self.find(addr, len), self.memory) {
            (Some(bytes), _) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            (None, Some(memory)) => memory.as_view().read(addr, buf),
            (None, None) => Err(MemoryError::Unmapped { addr, len }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::target::memory::LiveMemory;

    /// Bytes of this process that tell where they are.
    fn numbered() -> (Vec<u8>, RemoteAddr, LiveMemory) {
        let bytes: Vec<u8> = (0..8192_usize).map(|at| (at % 251) as u8).collect();
        let start = RemoteAddr(bytes.as_ptr() as u64);
        let own = i32::try_from(std::process::id()).unwrap();
        (bytes, start, LiveMemory::new(own))
    }

    #[test]
    fn what_lies_close_together_is_one_piece() {
        let (bytes, start, memory) = numbered();
        let mut gather = Gather::default();
        let middle = gather.want(start.offset(2000), 10);
        let below = gather.want_within_group(start.offset(1000), 10);
        let above = gather.want_within_group(start.offset(3000), 10);
        let far = gather.want_within_group(start.offset(8000), 10);
        gather.run(&memory).unwrap();
        assert_eq!(gather.pieces.len(), 2);
        for (wanted, at) in [(middle, 2000), (below, 1000), (above, 3000), (far, 8000)] {
            assert_eq!(gather.fields(wanted).unwrap().0, &bytes[at..at + 10]);
            assert_eq!(gather.part(wanted, 4, 6), Some(&bytes[at + 4..at + 10]));
            assert_eq!(gather.part(wanted, 4, 7), None);
        }
    }

    #[test]
    fn groups_are_read_one_after_the_other() {
        let (_bytes, start, _) = numbered();
        let mut gather = Gather::default();
        gather.want_within_group(start, 10);
        gather.then();
        gather.want_within_group(start.offset(20), 10);
        gather.want(start.offset(40), 10);
        gather.want_within_group(start.offset(60), 10);
        let pieces: Vec<_> = gather.pieces.iter().map(|each| each.base as u64).collect();
        let expected = [0, 20, 40].map(|at| start.0 + at);
        assert_eq!(
            pieces, expected,
            "the last is read with the first of its group"
        );
        assert_eq!(gather.pieces[1].len, 50);
        gather.clear();
        gather.want_within_group(start, 10);
        assert_eq!(gather.pieces.len(), 1);
    }

    /// A byte that is another at each read of it.
    #[derive(Default)]
    struct Counting(AtomicU8);

    impl MemoryView for Counting {
        fn read(&self, _: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            buf.fill(self.0.fetch_add(1, Ordering::Relaxed));
            Ok(())
        }
    }

    impl ProcessMemory for Counting {
        fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
            let mut rest = buf;
            for piece in pieces {
                let (place, next) = rest.split_at_mut(piece.len);
                self.read(RemoteAddr(piece.base as u64), place)?;
                rest = next;
            }
            Ok(pieces.iter().map(|piece| piece.len).sum())
        }

        fn as_view(&self) -> &dyn MemoryView {
            self
        }
    }

    #[test]
    fn each_round_is_read_after_the_one_before() {
        let memory = Counting::default();
        let mut gather = Gather::default();
        let one = gather.want(RemoteAddr(0x1000), 2);
        let two = gather.want(RemoteAddr(0x9000), 3);
        gather.run_rounds(&memory, 3).unwrap();
        assert_eq!((gather.rounds(), gather.calls()), (3, 1));
        for round in 0..3 {
            gather.turn_to(round);
            let first = 2 * round as u8;
            assert_eq!(gather.fields(one).unwrap().0, [first; 2]);
            assert_eq!(gather.fields(two).unwrap().0, [first + 1; 3]);
            let mut seen = [0; 3];
            Gathered::alone(&gather)
                .read(RemoteAddr(0x9000), &mut seen)
                .unwrap();
            assert_eq!(seen, [first + 1; 3]);
        }
        gather.run(&memory).unwrap();
        assert_eq!(gather.fields(one).unwrap().0, [6; 2]);
    }

    #[test]
    fn rounds_are_no_more_than_one_call_takes() {
        let memory = Counting::default();
        let mut gather = Gather::default();
        for (pieces, rounds) in [(MAX_PIECES / 2, 2), (MAX_PIECES / 2 + 1, 1), (0, 3)] {
            gather.clear();
            for nth in 0..pieces {
                gather.want(RemoteAddr(0x10_000 * nth as u64), 1);
            }
            gather.run_rounds(&memory, 3).unwrap();
            assert_eq!(gather.rounds(), rounds);
        }
    }

    #[test]
    fn what_is_not_mapped_is_not_read() {
        let (_bytes, start, memory) = numbered();
        let mut gather = Gather::default();
        let nowhere = gather.want_within_group(RemoteAddr(u64::MAX - 4), 10);
        let beside = gather.want_within_group(RemoteAddr(u64::MAX - 20), 10);
        let here = gather.want_within_group(start, 10);
        gather.run(&memory).unwrap();
        assert!(gather.fields(nowhere).is_none() && gather.fields(beside).is_none());
        assert!(gather.fields(here).is_some());
    }
}
