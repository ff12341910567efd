//! What programs in the kernel have put into a ring (Documentation/bpf/ringbuf.rst).
#![expect(unsafe_code, reason = "the kernel writes the ring while it is read")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::target::page_reads::PAGE;

/// Bits of a record's length that say that it is being written, or was given up
/// (`BPF_RINGBUF_BUSY_BIT`, `BPF_RINGBUF_DISCARD_BIT`).
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// Length and page offset stand before each record.
const HEAD: usize = 8;

/// A ring that programs in the kernel write to, read by one reader.
#[derive(Debug)]
pub struct Ring {
    /// How far it was read; a page of its own.
    consumer: MmapRaw,
    /// How far it was written, on a page of its own, and the data, twice one behind the other.
    producer: MmapRaw,
    size: usize,
}

impl Ring {
    /// Maps a ring of this size.
    ///
    /// # Errors
    /// That it cannot be mapped.
    pub fn open(map: &OwnedFd, size: usize) -> io::Result<Self> {
        let file = File::from(map.try_clone()?);
        let page = PAGE as usize;
        let consumer = MmapOptions::new().len(page).map_raw(&file)?;
        let producer = MmapOptions::new()
            .offset(PAGE)
            .len(page + 2 * size)
            .map_raw_read_only(&file)?;
        Ok(Self {
            consumer,
            producer,
            size,
        })
    }

    /// True if nothing waits in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (read, written) = self.positions();
        read.load(Ordering::Relaxed) == written.load(Ordering::Acquire)
    }

    /// How far it was read, and written.
    fn positions(&self) -> (&AtomicU64, &AtomicU64) {
        // SAFETY: both mappings begin with a page that holds nothing but such a number, aligned,
        // which both sides access as one.
        unsafe {
            let read = &*self.consumer.as_ptr().cast::<AtomicU64>();
            let written = &*self.producer.as_ptr().cast::<AtomicU64>();
            (read, written)
        }
    }

    /// Hands over each record that was written, in the order in which they were.
    pub fn drain(&self, mut take: impl FnMut(&[u8])) {
        let (read, written) = self.positions();
        let mut at = read.load(Ordering::Relaxed);
        while at < written.load(Ordering::Acquire) {
            let place = (at as usize) & (self.size - 1);
            // SAFETY: the position lies within the ring's data, which follows the first page.
            let record = unsafe { self.producer.as_ptr().add(PAGE as usize + place) };
            // SAFETY: a record begins with its length, aligned; the kernel sets it as one.
            let length = unsafe { &*record.cast::<AtomicU32>() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let len = (length & !(BUSY | DISCARDED)) as usize;
            if length & DISCARDED == 0 {
                // SAFETY: the record is complete, and stays so until `read` is beyond it. As the
                // data is mapped twice, it is contiguous.
                take(unsafe { std::slice::from_raw_parts(record.add(HEAD), len) });
            }
            at += (HEAD + len).next_multiple_of(8) as u64;
            read.store(at, Ordering::Release);
        }
    }
}
