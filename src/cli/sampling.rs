//! What `watch`, `record` and `top` have in common: sampling a process, or a program that is
//! started for it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use asyncspy_model::Event;
use clap::Args;
use nix::libc;

use super::attach::Attached;
use super::common::Target;
use super::error::{Error, Exit};
use crate::python::Python;
use crate::sampler::in_kernel::try_out;
use crate::sampler::session::{Batch, SessionSettings, run_session};
use crate::sink::escape::escape;

/// Batches that may wait between the sampler and whoever consumes them: three seconds at usual
/// rates.
const QUEUE: usize = 64;

/// Samples per second, unless told otherwise.
const RATE: u32 = 100;

/// More than can be read: as fast as it goes.
const MAX_RATE: u32 = 1_000_000;

/// The shortest time between two samples that the kernel takes: these cost the target something.
const SHORTEST_IN_KERNEL_NS: u64 = 1_000_000;

/// Milliseconds of a stall, and of one that is an error, unless told otherwise.
const THRESHOLD_MS: u64 = 100;
const ERROR_THRESHOLD_MS: u64 = 500;

/// How often and for how long to sample.
#[derive(Args, Clone, Copy, Debug)]
pub struct SamplingArgs {
    /// Samples per second: 100, 1khz
    #[arg(short, long, value_name = "RATE", default_value_t = RATE, value_parser = parse_rate)]
    #[arg(env = "ASYNCSPY_RATE", hide_env = true)]
    pub rate: u32,
    /// Seconds to go on for; until Ctrl-C otherwise
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds)]
    #[arg(env = "ASYNCSPY_DURATION", hide_env = true)]
    pub duration: Option<f64>,
    /// Have the kernel take the samples, in the target's own thread, which is interrupted for some
    /// microseconds each time: asyncspy itself needs far less (root)
    #[arg(long)]
    #[arg(env = "ASYNCSPY_IN_KERNEL", hide_env = true)]
    pub in_kernel: bool,
}

/// From when on a turn of a loop counts.
#[derive(Args, Clone, Copy, Debug)]
pub struct ThresholdArgs {
    /// Milliseconds from which on a turn of a loop is a stall
    #[arg(long, value_name = "MS", default_value_t = THRESHOLD_MS, value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(env = "ASYNCSPY_THRESHOLD", hide_env = true)]
    pub threshold: u64,
    /// Milliseconds from which on a stall is an error
    #[arg(long, value_name = "MS", default_value_t = ERROR_THRESHOLD_MS, value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(env = "ASYNCSPY_ERROR_THRESHOLD", hide_env = true)]
    pub error_threshold: u64,
}

impl Default for SamplingArgs {
    fn default() -> Self {
        Self {
            rate: RATE,
            duration: None,
            in_kernel: false,
        }
    }
}

impl Default for ThresholdArgs {
    fn default() -> Self {
        Self {
            threshold: THRESHOLD_MS,
            error_threshold: ERROR_THRESHOLD_MS,
        }
    }
}

impl ThresholdArgs {
    /// In nanoseconds: stall, error.
    #[must_use]
    pub const fn nanoseconds(self) -> (u64, u64) {
        let threshold = self.threshold.saturating_mul(1_000_000);
        let error = self.error_threshold.saturating_mul(1_000_000);
        (threshold, if error > threshold { error } else { threshold })
    }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches("hz");
    let (digits, factor) = match number.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (number, 1),
    };
    let rate = digits.trim().parse::<u32>().ok();
    let rate = rate.and_then(|rate| rate.checked_mul(factor));
    rate.filter(|rate| (1..=MAX_RATE).contains(rate))
        .ok_or_else(|| "a rate is 1 to 1000000 samples per second, such as 100 or 1khz".to_owned())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let digits = text.trim().trim_end_matches('s');
    let seconds = digits.parse::<f64>().ok();
    seconds
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
        .ok_or_else(|| "a duration is a number of seconds, such as 30 or 0.5".to_owned())
}

impl SamplingArgs {
    /// The sampler's settings, without censuses.
    #[must_use]
    pub fn settings(&self) -> SessionSettings {
        let duration = self.duration.map(Duration::from_secs_f64);
        SessionSettings {
            interval_ns: 1_000_000_000 / u64::from(self.rate),
            duration_ns: duration
                .map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            census_every_ns: None,
            census_at_stall_ns: None,
            in_kernel: self.in_kernel,
        }
    }
}

/// A process that is sampled by a thread of its own.
#[derive(Debug)]
pub struct Sampling {
    batches: Receiver<Batch>,
    batch: RefCell<std::vec::IntoIter<Event>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The program that was started for it.
    _program: Option<Program>,
    /// The process.
    pub pid: i32,
    /// Its command line, unescaped.
    pub command: String,
}

/// What came next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once; a box would be an allocation for each sample"
)]
pub enum Next {
    /// An event.
    Event(Event),
    /// Nothing for a while.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl Sampling {
    /// Attaches to the target and starts to sample it.
    ///
    /// # Errors
    /// That there is no such target, or it cannot be read.
    pub fn start(target: &Target, settings: SessionSettings) -> Result<Self, Error> {
        let (pid, program) = match target {
            Target::Running(pid) => (*pid, None),
            Target::Start(words) => {
                let program = Program::start(words)?;
                (program.pid(), Some(program))
            }
        };
        let python = Attached::open(pid)?.into_python();
        if settings.in_kernel {
            check_in_kernel(pid, settings.interval_ns)?;
        }
        Ok(Self::of(python, settings, program))
    }

    fn of(python: Python, settings: SessionSettings, program: Option<Program>) -> Self {
        let (sender, batches) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (pid, command) = (python.facts.pid, python.facts.command.clone());
        let thread = std::thread::spawn(move || run_session(python, settings, sender, &stopped));
        Self {
            batches,
            batch: RefCell::new(Vec::new().into_iter()),
            stop,
            thread: Some(thread),
            _program: program,
            pid,
            command,
        }
    }

    /// Waits for the next event, but not longer than this.
    #[must_use]
    pub fn next(&self, patience: Duration) -> Next {
        loop {
            if let Some(event) = self.batch.borrow_mut().next() {
                return Next::Event(event);
            }
            match self.batches.recv_timeout(patience) {
                Ok(batch) => *self.batch.borrow_mut() = batch.into_iter(),
                Err(RecvTimeoutError::Timeout) => return Next::Nothing,
                Err(RecvTimeoutError::Disconnected) => return Next::Closed,
            }
        }
    }

    /// Asks the sampler to end; its last event follows.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What asks it to end, once it is true, for another thread than the one that takes events.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }
}

/// Checks that the kernel would take samples itself, so often.
fn check_in_kernel(pid: i32, interval_ns: u64) -> Result<(), Error> {
    let most = 1_000_000_000 / SHORTEST_IN_KERNEL_NS;
    if interval_ns < SHORTEST_IN_KERNEL_NS {
        return Err(Error::usage(
            format!("--in-kernel takes at most {most} samples a second"),
            "each of them keeps the target's thread from its work for some microseconds",
            format!("--rate {most} --in-kernel, or a higher rate without it"),
        ));
    }
    try_out(pid).map_err(|error| {
        let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let (exit, advice) = match refused {
            true => (
                Exit::Permission,
                "run as root, or with CAP_BPF and CAP_PERFMON; in a container --privileged",
            ),
            false => (
                Exit::Other,
                "sample without --in-kernel: it needs Linux 5.8",
            ),
        };
        let what = "the kernel does not take the samples itself";
        Error::new(exit, what, error.to_string(), advice)
    })
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.stop();
        // The sampler may wait for room for its last events.
        while self.batches.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A program that was started to be looked at; ends with this value.
#[derive(Debug)]
struct Program(Child);

impl Program {
    fn start(words: &[OsString]) -> Result<Self, Error> {
        let (program, arguments) = words.split_first().ok_or_else(|| {
            Error::usage(
                "no program is named",
                "there is nothing behind --",
                "asyncspy top -- python3 app.py",
            )
        })?;
        let child = Command::new(program)
            .args(arguments)
            // Ctrl-C is for asyncspy, which then ends the program.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let name = program.to_string_lossy();
                Error::new(
                    Exit::Other,
                    format!("cannot start {}", escape(&name)),
                    error.to_string(),
                    "give the path of a program, such as asyncspy top -- python3 app.py",
                )
            })?;
        Ok(Self(child))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap_or(i32::MAX)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        if matches!(self.0.try_wait(), Ok(None)) {
            // It may want to clean up; what it makes of the signal is its own affair.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_understood_as_other_tools_write_them() {
        for (text, expected) in [
            ("100", Some(100)),
            ("1khz", Some(1000)),
            ("10k", Some(10_000)),
            ("250Hz", Some(250)),
            ("0", None),
            ("fast", None),
            ("1000k", Some(1_000_000)),
            ("1000001", None),
        ] {
            assert_eq!(parse_rate(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_positive_numbers_of_seconds() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        assert_eq!(parse_seconds("30s"), Ok(30.0));
        for wrong in ["0", "-1", "inf", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
