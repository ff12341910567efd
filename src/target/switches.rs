//! When a thread runs, as the kernel notes it, without anybody looking.
#![expect(
    unsafe_code,
    reason = "the crate that opens the descriptor does not lend it"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

/// The kernel's notes of one thread: each time that it is given a processor, and that it leaves it.
/// Its descriptor can be polled, and is readable when there is a note. While nothing is noted the
/// thread pays nothing for it; a note takes about half a microsecond.
///
/// Needs what `perf stat -e context-switches:u` on the thread needs: root, `CAP_PERFMON`, or the
/// same user and `kernel.perf_event_paranoid` of at most 2; in a container also its seccomp profile.
pub struct SwitchNotes {
    /// A counter that counts nothing, for `PERF_RECORD_SWITCH` (include/uapi/linux/perf_event.h).
    sampler: Sampler,
}

/// Size of the buffer for notes; only the first one counts.
const BUFFER: usize = 4096;

impl SwitchNotes {
    /// Asks the kernel for notes of this thread, which it does not take yet. The first who asks on
    /// a machine waits for some 30 ms: the kernel patches its scheduler.
    ///
    /// # Errors
    /// That the kernel does not give them, or that there is no such thread.
    pub fn open(tid: i32) -> io::Result<Self> {
        let mut builder = Builder::new(Software::DUMMY);
        builder
            .observe_pid(tid)
            .any_cpu()
            .context_switch(true)
            .sample(SampleFlag::TIME)
            .sample_id_all(true)
            .clockid(Clock::MONOTONIC)
            .wakeup_watermark(1);
        let sampler = builder.build()?.sampled(BUFFER)?;
        Ok(Self { sampler })
    }

    /// Begins to take notes, and forgets those that there are.
    ///
    /// # Errors
    /// That the kernel refuses.
    pub fn begin(&mut self) -> io::Result<()> {
        while self.sampler.next_record().is_some() {}
        self.sampler.enable()
    }

    /// Takes no more notes.
    ///
    /// # Errors
    /// That the kernel refuses.
    pub fn end(&mut self) -> io::Result<()> {
        self.sampler.disable()
    }

    /// For how long the thread has run while notes were taken. It has not run at all between two
    /// moments at which this is the same, and whenever it does so after them there is a note.
    ///
    /// # Errors
    /// That the kernel refuses.
    pub fn ran(&mut self) -> io::Result<Duration> {
        let counted = self.sampler.read_full()?;
        counted
            .time_running()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// When the first note was taken (CLOCK_MONOTONIC of the initial time namespace), and forgets
    /// that note.
    pub fn first_ns(&mut self) -> Option<u64> {
        let record = self.sampler.next_record()?;
        // Every record but a sample ends with what was asked for of samples: the time.
        let bytes = record.to_contiguous();
        Some(
            bytes
                .last_chunk()
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes)),
        )
    }
}

impl AsFd for SwitchNotes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the sampler owns the descriptor and does not close it before it is dropped, and
        // it is borrowed for as long as the result lives.
        unsafe { BorrowedFd::borrow_raw(self.sampler.as_raw_fd()) }
    }
}

impl std::fmt::Debug for SwitchNotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SwitchNotes").finish()
    }
}
