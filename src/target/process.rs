//! Identity, command line, rights and clocks of the target.

use std::fs;
use std::path::PathBuf;

use nix::time::{ClockId, clock_gettime};

use super::proc_file;
use super::program::ProgramMark;

/// What is known of a process before anything of its memory is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Process id in asyncspy's namespace.
    pub pid: i32,
    /// Process id as the process sees it itself: differs in a pid namespace of its own.
    pub inner_pid: i32,
    /// True if it knows its threads by other ids than asyncspy does, for the same reason.
    pub has_other_ids: bool,
    /// Target of `/proc/PID/exe`; with the mark ` (deleted)` if so.
    pub exe: PathBuf,
    /// Command line, words joined by spaces.
    pub command: String,
    /// Start time in clock ticks since boot: with the pid it identifies the process.
    pub start_ticks: u64,
    /// The program that it ran then; `None` where the kernel does not tell.
    pub program: Option<ProgramMark>,
    /// Started at, wall clock.
    pub started_unix_ns: u64,
    /// Nanoseconds to subtract from the target's CLOCK_MONOTONIC to get ours: differs from 0 in
    /// a time namespace.
    pub monotonic_shift_ns: i64,
}

/// What has become of a process that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs the same program.
    Unchanged,
    /// It runs another program (`exec`).
    Replaced,
    /// It has ended.
    Ended,
}

/// Why a process cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// There is none with this id.
    #[error("no process has the id {0}")]
    NoSuchProcess(i32),
    /// It has ended and waits for its parent to notice.
    #[error("process {0} has ended and waits for its parent")]
    Zombie(i32),
    /// It is a thread of the kernel.
    #[error("process {0} is a kernel thread")]
    KernelThread(i32),
    /// It may not be looked at.
    #[error("process {0} may not be read by this user")]
    Denied(i32),
}

impl ProcessFacts {
    /// Looks the process up. The id of a thread stands for its process: `top -H` shows ids of
    /// threads, and people paste them.
    ///
    /// # Errors
    /// Each variant of [`ProcessError`], as it says.
    pub fn read(id: i32) -> Result<Self, ProcessError> {
        let stat = read_stat(id)?;
        if !is_thread(&stat) {
            return Self::read_process(id, &stat);
        }
        let pid = process_of_thread(id);
        Self::read_process(pid, &read_stat(pid)?)
    }

    fn read_process(pid: i32, stat: &[u8]) -> Result<Self, ProcessError> {
        let (state, _) =
            super::threads::parse_stat(stat).ok_or(ProcessError::NoSuchProcess(pid))?;
        if matches!(state, 'Z' | 'X') {
            return Err(ProcessError::Zombie(pid));
        }
        let process =
            remoteprocess::Process::new(pid).map_err(|_| ProcessError::NoSuchProcess(pid))?;
        let command = process.cmdline().unwrap_or_default().join(" ");
        let exe = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(exe) => exe,
            Err(error) => return Err(Self::explain(pid, &error, stat)),
        };
        let start_ticks = start_ticks(stat).unwrap_or(0);
        let (inner_pid, has_other_ids) = super::threads::inner_id(pid);
        Ok(Self {
            pid,
            inner_pid,
            has_other_ids,
            exe,
            command,
            start_ticks,
            program: ProgramMark::parse(stat),
            started_unix_ns: started_unix_ns(start_ticks),
            monotonic_shift_ns: monotonic_shift_ns(pid),
        })
    }

    fn explain(pid: i32, error: &std::io::Error, stat: &[u8]) -> ProcessError {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => ProcessError::Denied(pid),
            _ if is_kernel_thread(stat) => ProcessError::KernelThread(pid),
            // What is ending has lost its memory, its executable and its command line already,
            // and is no zombie yet.
            _ => ProcessError::NoSuchProcess(pid),
        }
    }

    /// What has become of it.
    #[must_use]
    pub fn fate(&self) -> Fate {
        let Ok(stat) = proc_file::read(format!("/proc/{}/stat", self.pid)) else {
            return Fate::Ended;
        };
        let state = super::threads::parse_stat(&stat).map(|(state, _)| state);
        if matches!(state, None | Some('Z' | 'X')) || start_ticks(&stat) != Some(self.start_ticks) {
            Fate::Ended
        } else if ProgramMark::parse(&stat) == self.program {
            Fate::Unchanged
        } else {
            Fate::Replaced
        }
    }

    /// True while the process with this id is still the one that was looked up, and has not
    /// ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.fate() != Fate::Ended
    }

    /// The target's CLOCK_MONOTONIC in nanoseconds as ours.
    #[must_use]
    pub fn to_our_monotonic(&self, target_ns: u64) -> u64 {
        target_ns.saturating_add_signed(-self.monotonic_shift_ns)
    }
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
fn start_ticks(stat: &[u8]) -> Option<u64> {
    number(stat, 22)
}

/// PF_KTHREAD (include/linux/sched.h) in field 9, the flags.
fn is_kernel_thread(stat: &[u8]) -> bool {
    number(stat, 9).is_some_and(|flags| flags & 0x0020_0000 != 0)
}

/// True for a thread that is not the first of its process: no signal is sent when it ends, as field
/// 38 says (`copy_process` in kernel/fork.c, for CLONE_THREAD).
fn is_thread(stat: &[u8]) -> bool {
    field(stat, 38) == Some("-1")
}

/// The process that a thread belongs to; the id itself when there is no such thread.
#[must_use]
pub fn process_of_thread(tid: i32) -> i32 {
    proc_file::status_number(tid, "Tgid:").unwrap_or(tid)
}

fn read_stat(pid: i32) -> Result<Vec<u8>, ProcessError> {
    proc_file::read(format!("/proc/{pid}/stat")).map_err(|_| ProcessError::NoSuchProcess(pid))
}

/// A number of `/proc/PID/stat` behind the name, by the count of proc_pid_stat(5).
fn number(stat: &[u8], at: usize) -> Option<u64> {
    field(stat, at)?.parse().ok()
}

fn field(stat: &[u8], at: usize) -> Option<&str> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
    // The state behind the name is field 3.
    rest.split_whitespace().nth(at - 3)
}

/// Linux counts these in hundredths of a second on every architecture (USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;

fn started_unix_ns(start_ticks: u64) -> u64 {
    let boot = clock_ns(ClockId::CLOCK_BOOTTIME);
    let age = boot.saturating_sub(start_ticks.saturating_mul(NS_PER_TICK));
    unix_now_ns().saturating_sub(age)
}

/// Difference of the target's monotonic clock to ours (time_namespaces(7)).
fn monotonic_shift_ns(pid: i32) -> i64 {
    if proc_file::share_namespace(pid, "time") {
        return 0;
    }
    timens_offset_ns(&pid.to_string()) - timens_offset_ns("self")
}

/// By how much our monotonic clock is ahead of that of the initial time namespace.
#[must_use]
pub fn our_timens_offset_ns() -> i64 {
    timens_offset_ns("self")
}

fn timens_offset_ns(who: &str) -> i64 {
    let text = proc_file::read_text(format!("/proc/{who}/timens_offsets")).ok();
    text.and_then(|text| parse_timens_offset(&text))
        .unwrap_or(0)
}

fn parse_timens_offset(text: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("monotonic"))?;
    let mut words = line.split_whitespace();
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// CLOCK_MONOTONIC now.
#[must_use]
pub fn monotonic_now_ns() -> u64 {
    clock_ns(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds since the epoch now.
#[must_use]
pub fn unix_now_ns() -> u64 {
    clock_ns(ClockId::CLOCK_REALTIME)
}

/// Any of the kernel's clocks; 0 where it does not exist.
#[must_use]
pub fn clock_ns(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let rest = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_namespace_offsets_are_read() {
        let text = "monotonic           5  250000000\nboottime            0          0\n";
        assert_eq!(parse_timens_offset(text), Some(5_250_000_000));
        assert_eq!(
            parse_timens_offset("monotonic -3 0\n"),
            Some(-3_000_000_000)
        );
        assert_eq!(parse_timens_offset(""), None);
    }

    #[test]
    fn kernel_threads_are_told_by_their_flags() {
        assert!(is_kernel_thread(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!is_kernel_thread(b"7 (ends) R 1 7 7 0 -1 4194564 0 0"));
        assert!(!is_kernel_thread(b"7 (cut) R"));
    }

    #[test]
    fn this_process_is_found_and_a_missing_one_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let facts = ProcessFacts::read(pid).unwrap();
        assert!(facts.is_alive());
        assert!(facts.start_ticks > 0);
        assert_eq!(
            ProcessFacts::read(i32::MAX).unwrap_err(),
            ProcessError::NoSuchProcess(i32::MAX)
        );
    }
}
