//! Events of a thread at which the kernel runs a program in it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use perf_event::events::Software;
use perf_event::{Builder, Counter};

/// What makes the kernel look at a thread: that it has run for so long, and that it leaves its
/// processor.
#[derive(Debug)]
pub struct ThreadEvents {
    ticks: Counter,
    switches: Counter,
    _programs: [OwnedFd; 2],
}

impl ThreadEvents {
    /// Has the first program run each time that this thread has run for an interval, the second
    /// one when it leaves its processor.
    ///
    /// # Errors
    /// That the kernel refuses: it needs root, or CAP_PERFMON and CAP_BPF. That there is no such
    /// thread.
    pub fn begin(tid: i32, interval_ns: u64, programs: [OwnedFd; 2]) -> io::Result<Self> {
        let mut ticks = open(tid, Software::CPU_CLOCK, interval_ns).build()?;
        // On as soon as the first one is: enabled after it, it would not be before the thread is
        // given a processor the next time.
        let mut switches = open(tid, Software::CONTEXT_SWITCHES, 1)
            .enabled(true)
            .build_with_group(&mut ticks)?;
        ticks.set_bpf(programs[0].as_raw_fd())?;
        switches.set_bpf(programs[1].as_raw_fd())?;
        ticks.enable()?;
        Ok(Self {
            ticks,
            switches,
            _programs: programs,
        })
    }

    /// For how long the thread has run since, in nanoseconds: the clock of the events.
    ///
    /// # Errors
    /// That the kernel does not tell.
    pub fn ran_ns(&mut self) -> io::Result<u64> {
        let ran = self.switches.read_full()?.time_running();
        let ran = ran.ok_or(io::ErrorKind::Unsupported)?;
        Ok(u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX))
    }
}

fn open(tid: i32, event: Software, period: u64) -> Builder<'static> {
    let mut builder = Builder::new(event);
    builder
        .observe_pid(tid)
        .any_cpu()
        .include_kernel()
        .sample_period(period);
    builder
}

impl Drop for ThreadEvents {
    fn drop(&mut self) {
        // Whatever cannot be disabled ends with its descriptor.
        let _ = self.ticks.disable();
    }
}
