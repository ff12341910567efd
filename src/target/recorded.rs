//! Memory that was recorded: the pages that a reader touched, to be read again without a process.
//!
//! The file begins with a line of text that belongs to whoever recorded it. The rest is deflated:
//! the pages in ascending order, each the distance from the one before (64 bits, little-endian,
//! in pages) and its bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use asyncspy_model::RemoteAddr;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::memory::{AnyMemory, MemoryError, MemoryView, Piece, ProcessMemory};
use super::page_reads::PAGE;

/// Most pages of one file, so that a damaged one cannot exhaust our memory: 256 MiB.
const MAX_PAGES: usize = 1 << 16;

type Pages = BTreeMap<u64, Box<[u8]>>;

/// Pages of a process that may have ended long ago. What was not recorded is not readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedMemory {
    pages: Pages,
}

impl RecordedMemory {
    /// Reads a recording: its line of text, and its memory.
    ///
    /// # Errors
    /// What the reader returned, or [`io::ErrorKind::InvalidData`] for what is no recording.
    pub fn read_from(mut input: impl BufRead) -> io::Result<(String, Self)> {
        let mut text = String::new();
        (&mut input).take(PAGE).read_line(&mut text)?;
        if text.pop() != Some('\n') {
            return Err(invalid("no line of text"));
        }
        let mut bytes = DeflateDecoder::new(input);
        let mut pages = Pages::new();
        let mut number: u64 = 0;
        while let Some(distance) = read_distance(&mut bytes)? {
            number = number
                .checked_add(distance)
                .filter(|number| *number <= u64::MAX / PAGE)
                .ok_or_else(|| invalid("a page beyond the last address"))?;
            let mut page = vec![0; PAGE as usize].into_boxed_slice();
            bytes.read_exact(&mut page)?;
            if pages.len() == MAX_PAGES {
                return Err(invalid("too many pages"));
            }
            pages.insert(number, page);
        }
        Ok((text, Self { pages }))
    }

    /// Writes a recording. The line of text must not hold a line break.
    ///
    /// # Errors
    /// What the writer returned.
    pub fn write_to(&self, text: &str, mut output: impl Write) -> io::Result<()> {
        writeln!(output, "{text}")?;
        let mut bytes = DeflateEncoder::new(output, Compression::best());
        let mut before = 0;
        for (number, page) in &self.pages {
            bytes.write_all(&(number - before).to_le_bytes())?;
            bytes.write_all(page)?;
            before = *number;
        }
        bytes.finish()?.flush()
    }

    /// The addresses of its pages, ascending.
    pub fn pages(&self) -> impl Iterator<Item = RemoteAddr> {
        self.pages.keys().map(|number| RemoteAddr(number * PAGE))
    }

    /// Writes over recorded bytes, as far as they were recorded.
    pub fn overwrite(&mut self, addr: RemoteAddr, bytes: &[u8]) {
        for (offset, byte) in (0..).zip(bytes) {
            let at = addr.offset(offset).0;
            if let Some(page) = self.pages.get_mut(&(at / PAGE)) {
                page[(at % PAGE) as usize] = *byte;
            }
        }
    }

    /// Forgets the page that holds this address.
    pub fn forget(&mut self, addr: RemoteAddr) {
        self.pages.remove(&(addr.0 / PAGE));
    }

    /// Copies what is at `addr` into `buf` and returns how much of it was recorded.
    fn copy(&self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = addr.checked_add(done as u64) else {
                break;
            };
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                break;
            };
            let rest = &page[(at % PAGE) as usize..];
            let count = rest.len().min(buf.len() - done);
            buf[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        done
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no recording: {what}"))
}

/// The distance to the next page; `None` at the end.
fn read_distance(bytes: &mut impl Read) -> io::Result<Option<u64>> {
    let mut buf = [0; 8];
    if bytes.read(&mut buf[..1])? == 0 {
        return Ok(None);
    }
    bytes.read_exact(&mut buf[1..])?;
    Ok(Some(u64::from_le_bytes(buf)))
}

impl MemoryView for RecordedMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        if self.copy(addr.0, buf) == buf.len() {
            return Ok(());
        }
        let len = buf.len();
        Err(MemoryError::Unmapped { addr, len })
    }
}

impl ProcessMemory for RecordedMemory {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let mut done = 0;
        for piece in pieces {
            let copied = self.copy(piece.base as u64, &mut buf[done..done + piece.len]);
            done += copied;
            if copied < piece.len {
                break;
            }
        }
        Ok(done)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// A memory that remembers the pages that were read of it. Its process should be stopped, so that
/// they are all of one moment.
#[derive(Debug)]
pub struct RecordingMemory {
    inner: AnyMemory,
    recorded: Arc<Mutex<RecordedMemory>>,
}

impl RecordingMemory {
    /// Begins to record what is read of `inner` from now on.
    #[must_use]
    pub fn new(inner: AnyMemory) -> Self {
        Self {
            inner,
            recorded: Arc::default(),
        }
    }

    /// What was read so far, by this and by all that happens to it later.
    #[must_use]
    pub fn recorded(&self) -> Arc<Mutex<RecordedMemory>> {
        self.recorded.clone()
    }

    /// Remembers the pages of a range that was read.
    fn note(&self, base: u64, len: usize) {
        let Some(last) = (len as u64).checked_sub(1) else {
            return;
        };
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        for number in base / PAGE..=base.saturating_add(last) / PAGE {
            let mut page = vec![0; PAGE as usize].into_boxed_slice();
            if !recorded.pages.contains_key(&number)
                && self
                    .inner
                    .read(RemoteAddr(number * PAGE), &mut page)
                    .is_ok()
            {
                recorded.pages.insert(number, page);
            }
        }
    }
}

impl MemoryView for RecordingMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.read(addr, buf)?;
        self.note(addr.0, buf.len());
        Ok(())
    }
}

impl ProcessMemory for RecordingMemory {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let got = self.inner.gather(pieces, buf)?;
        let mut left = got;
        for piece in pieces {
            if piece.len > left {
                break;
            }
            self.note(piece.base as u64, piece.len);
            left -= piece.len;
        }
        Ok(got)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::memory::{MemoryViewExt, piece};

    fn two_pages() -> RecordedMemory {
        let mut memory = RecordedMemory::default();
        for (number, byte) in [(5, 5), (6, 6), (u64::MAX / PAGE, 9)] {
            memory.pages.insert(number, vec![byte; 4096].into());
        }
        memory
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut bytes = Vec::new();
        two_pages().write_to("{\"a\": 1}", &mut bytes).unwrap();
        let (text, memory) = RecordedMemory::read_from(bytes.as_slice()).unwrap();
        assert_eq!(text, "{\"a\": 1}");
        assert_eq!(memory, two_pages());
        for cut in [0, 4, 12, bytes.len() - 3] {
            let damaged = RecordedMemory::read_from(&bytes[..cut]);
            assert!(damaged.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_was_not_recorded_is_not_readable() {
        let memory = two_pages();
        assert_eq!(memory.read_u8(RemoteAddr(5 * PAGE)), Ok(5));
        assert!(memory.read_u64(RemoteAddr(7 * PAGE - 4)).is_err());
        assert!(memory.read_u64(RemoteAddr(u64::MAX - 3)).is_err());
        let mut buf = [0; 12];
        let pieces = [
            piece(RemoteAddr(6 * PAGE - 2), 4),
            piece(RemoteAddr(7 * PAGE - 4), 8),
        ];
        assert_eq!(memory.gather(&pieces, &mut buf), Ok(8));
        assert_eq!(buf[..8], [5, 5, 6, 6, 6, 6, 6, 6]);
    }

    #[test]
    fn a_recording_holds_the_pages_that_were_read() {
        let source = RecordingMemory::new(Box::new(two_pages()));
        let recorded = source.recorded();
        source.read_u8(RemoteAddr(6 * PAGE + 1)).unwrap();
        assert!(source.read_u8(RemoteAddr(1)).is_err());
        let recorded = recorded.lock().unwrap();
        assert_eq!(recorded.pages().collect::<Vec<_>>(), [RemoteAddr(6 * PAGE)]);
    }
}
