//! How long a read may take, and how much memory.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use asyncspy_test_support::Outcome;

/// A read that takes longer than this has found no bound. Most take a few milliseconds; one that
/// reads all that it may takes seconds, and more on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

/// A read that has not ended by then never will.
const HANGS: Duration = Duration::from_secs(100);

/// Most memory that one read may use.
const MOST_BYTES: u64 = 1536 << 20;

/// Memory is counted for the whole process, so one read goes on at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a read of what is described and returns what it gives.
///
/// # Errors
/// When it panicked, or took too long or too much.
pub fn within_bounds<T: Send + 'static>(
    what: &str,
    read: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // 5 resets the peak of the resident set (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5")?;
    let before = peak_bytes()?;
    let began = Instant::now();
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        let _ = sender.send(read());
    });
    let result = match receiver.recv_timeout(HANGS) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => return Err("it panicked".into()),
        Err(RecvTimeoutError::Timeout) => {
            eprintln!("it hangs: {what}");
            std::process::abort();
        }
    };
    reader.join().map_err(|_| "it panicked")?;
    let (took, bytes) = (began.elapsed(), peak_bytes()?.saturating_sub(before));
    if took > LONGEST {
        return Err(format!("it took {took:?}").into());
    }
    if bytes > MOST_BYTES {
        return Err(format!("it took {} MiB", bytes >> 20).into());
    }
    Ok(result)
}

fn peak_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    Ok(words.ok_or("no VmHWM")?.parse::<u64>()? << 10)
}
