//! Memory that was another a moment ago.

use std::sync::atomic::{AtomicUsize, Ordering};

use asyncspy::python::recording::Recording;
use asyncspy::target::recorded::RecordedMemory;
use asyncspy::target::{MemoryError, MemoryView, Piece, ProcessMemory};
use asyncspy_model::RemoteAddr;

/// Recorded memory in which some words were others when they were read for the first few times.
pub struct Belated {
    recorded: RecordedMemory,
    /// Where they are, and what they were.
    words: Vec<(RemoteAddr, u64)>,
    /// How many reads are to come that find one so.
    reads: AtomicUsize,
    /// What is added to it at each of them.
    step: u64,
    /// True if every second read finds what was recorded.
    flickers: bool,
}

impl Belated {
    pub fn new(recording: &Recording, words: Vec<(RemoteAddr, u64)>, reads: usize) -> Self {
        Self {
            recorded: recording.memory.clone(),
            words,
            reads: AtomicUsize::new(reads),
            step: 0,
            flickers: false,
        }
    }

    /// Every second read finds this there.
    pub fn flickering(recording: &Recording, word: RemoteAddr, other: u64) -> Self {
        Self {
            flickers: true,
            ..Self::new(recording, vec![(word, other)], usize::MAX)
        }
    }

    /// Each read finds another object there than the one before.
    pub fn restless(recording: &Recording, word: RemoteAddr, object: u64) -> Self {
        Self {
            step: 32,
            ..Self::new(recording, vec![(word, object)], usize::MAX)
        }
    }

    fn alter(&self, base: u64, buf: &mut [u8]) {
        for (word, was) in &self.words {
            let offset = word.0.wrapping_sub(base) as usize;
            let Some(place) = buf.get_mut(offset..).and_then(|rest| rest.get_mut(..8)) else {
                continue;
            };
            let reads = self.reads.load(Ordering::Relaxed);
            if reads > 0 {
                self.reads.store(reads - 1, Ordering::Relaxed);
                if self.flickers && reads.is_multiple_of(2) {
                    continue;
                }
                let was = was + self.step * (reads % 100) as u64;
                place.copy_from_slice(&was.to_le_bytes());
            }
        }
    }
}

impl MemoryView for Belated {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.recorded.read(addr, buf)?;
        self.alter(addr.0, buf);
        Ok(())
    }
}

impl ProcessMemory for Belated {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let count = self.recorded.gather(pieces, buf)?;
        let mut rest = &mut buf[..count];
        for piece in pieces {
            let (part, behind) = rest.split_at_mut(piece.len.min(rest.len()));
            self.alter(piece.base as u64, part);
            rest = behind;
        }
        Ok(count)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}
