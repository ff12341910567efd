//! The line that tells how far `record` is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use asyncspy_model::SamplingQuality;

/// How often the progress line is written.
const PROGRESS: Duration = Duration::from_millis(500);

/// A line on the standard error, if that is a terminal.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// One that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            shown: None,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Writes it, if it is due.
    pub fn show(&mut self, quality: &SamplingQuality, stalls: u64) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS);
        if !self.is_terminal || !due {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!(
            "\r{:.1} s, {} samples, {stalls} stalls, {} errors (Ctrl-C ends and writes)\x1b[K",
            self.began.elapsed().as_secs_f64(),
            quality.samples,
            quality.failed,
        );
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Takes it away.
    pub fn clear(&self) {
        if self.is_terminal {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
