//! What stands behind the live view: a thread that folds the stream of samples, and answers to
//! what the view asks for.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use asyncspy_model::Location;
use asyncspy_model::report::Report;
use asyncspy_tui::{Backend, Save};

use super::sampling::{Next, Sampling};
use crate::analysis::{Analysis, Mode, Settings};
use crate::sink::flame_graph::write_flame_graph;
use crate::sink::profile::{LabelOptions, Profile};
use crate::sink::style::Style;
use crate::sink::task_table::{TaskTableOptions, write_task_table};
use crate::sink::thread_dump::{ThreadDumpOptions, write_thread_dump};
use crate::target::process::unix_now_ns;

/// How long the thread waits for events: a little longer than the sampler gathers them.
const PATIENCE: Duration = Duration::from_millis(250);

/// Columns of a saved dump.
const DUMP_COLUMNS: usize = 160;

/// Longest source file of which a line is shown.
const MAX_SOURCE: u64 = 8 << 20;

/// Samples and folds in the background.
pub struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    seen: u64,
    pid: i32,
    command: String,
}

struct Shared {
    analysis: Mutex<Analysis>,
    newest: Mutex<(u64, Option<Arc<Report>>)>,
    every_ms: AtomicU64,
    /// Asks the sampler to end, and with it the thread that folds.
    ends: Arc<AtomicBool>,
    /// True once there is nothing more to fold.
    has_ended: AtomicBool,
}

/// A thread that panicked holds nothing half done that matters: the analysis is a sum.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Folds what `sampling` gives from now on.
    #[must_use]
    pub fn new(sampling: Sampling, settings: Settings, every: Duration) -> Self {
        let shared = Arc::new(Shared {
            analysis: Mutex::new(Analysis::new(settings)),
            newest: Mutex::new((0, None)),
            every_ms: AtomicU64::new(milliseconds(every)),
            ends: sampling.stop_flag(),
            has_ended: AtomicBool::new(false),
        });
        let (pid, command) = (sampling.pid, sampling.command.clone());
        let folding = shared.clone();
        let thread = std::thread::spawn(move || folding.fold(&sampling));
        Self {
            shared,
            thread: Some(thread),
            seen: 0,
            pid,
            command,
        }
    }

    /// The newest report, also when it was seen before.
    #[must_use]
    pub fn report(&self) -> Option<Arc<Report>> {
        lock(&self.shared.newest).1.clone()
    }

    /// True once nothing more will come: the target has ended, or cannot be read any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Acquire)
    }

    /// A report of all that was folded up to now; `None` before anything was.
    #[must_use]
    pub fn fresh_report(&self) -> Option<Arc<Report>> {
        self.shared.publish();
        self.report()
    }

    fn write(&self, what: Save) -> Result<PathBuf, String> {
        let report = self.report().ok_or("nothing was gathered yet")?;
        let stamp = unix_now_ns() / 1_000_000_000;
        let (word, extension) = match what {
            Save::Dump => ("dump", "txt"),
            Save::FlameGraph => ("flame", "svg"),
            Save::Json => ("report", "json"),
        };
        let path = PathBuf::from(format!("asyncspy-{}-{word}-{stamp}.{extension}", self.pid));
        let mut bytes = Vec::new();
        let written = match what {
            Save::Dump => self.write_dump(&mut bytes, &report),
            Save::FlameGraph => {
                write_flame_graph(&mut bytes, &self.profile(&report), LabelOptions::default())
            }
            Save::Json => serde_json::to_writer(&mut bytes, &*report).map_err(Into::into),
        };
        written
            .and_then(|()| fs::write(&path, &bytes))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }

    fn write_dump(&self, out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
        let Some(snapshot) = &report.snapshot else {
            return writeln!(out, "no census of the tasks was taken yet");
        };
        let style = Style {
            color: false,
            ascii: false,
        };
        let threads = ThreadDumpOptions {
            command: self.command.clone(),
            width: DUMP_COLUMNS,
            style,
        };
        write_thread_dump(out, snapshot, &threads)?;
        writeln!(out)?;
        let table = TaskTableOptions {
            command: self.command.clone(),
            all: false,
            sort: None,
            filter: None,
            width: DUMP_COLUMNS,
            style,
        };
        write_task_table(out, snapshot, &table)
    }

    fn profile(&self, report: &Report) -> Profile {
        let gathered = lock(&self.shared.analysis).profile(Mode::Busy);
        Profile {
            title: format!("asyncspy busy: {}", self.command),
            session: report.session.clone(),
            quality: report.quality,
            duration_ns: report
                .at_monotonic_ns
                .saturating_sub(report.session.began_monotonic_ns),
            mode: Arc::from(Mode::Busy.word()),
            stacks: gathered.stacks,
            timelines: gathered.timelines,
        }
    }
}

impl Shared {
    fn fold(&self, sampling: &Sampling) {
        let mut published = Instant::now();
        let mut urgent = true;
        while !self.ends.load(Ordering::Relaxed) {
            match sampling.next(PATIENCE) {
                Next::Event(event) => {
                    let mut analysis = lock(&self.analysis);
                    urgent |= !analysis.feed(&event).is_empty();
                }
                Next::Nothing => {}
                Next::Closed => {
                    self.publish();
                    self.has_ended.store(true, Ordering::Release);
                    return;
                }
            }
            let every = Duration::from_millis(self.every_ms.load(Ordering::Relaxed));
            if urgent || published.elapsed() >= every {
                self.publish();
                urgent = false;
                published = Instant::now();
            }
        }
    }

    fn publish(&self) {
        let report = lock(&self.analysis).report();
        if let Some(report) = report {
            let mut newest = lock(&self.newest);
            *newest = (newest.0 + 1, Some(Arc::new(report)));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Backend for Live {
    fn latest(&mut self) -> Option<Arc<Report>> {
        let newest = lock(&self.shared.newest);
        if newest.0 == self.seen {
            return None;
        }
        self.seen = newest.0;
        newest.1.clone()
    }

    fn reset(&mut self) {
        lock(&self.shared.analysis).reset();
        self.shared.publish();
    }

    fn save(&mut self, what: Save) -> Result<String, String> {
        let path = self.write(what)?;
        Ok(format!("wrote {}", path.display()))
    }

    fn source_line(&mut self, location: &Location) -> Option<String> {
        let below_root = format!("/proc/{}/root{}", self.pid, location.file);
        read_line(&below_root, location.line).or_else(|| read_line(&location.file, location.line))
    }

    fn set_refresh(&mut self, every: Duration) {
        self.shared
            .every_ms
            .store(milliseconds(every), Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line of a regular file of reasonable size: a path of the target may name anything.
fn read_line(path: &str, line: u32) -> Option<String> {
    let facts = fs::metadata(path).ok()?;
    if !facts.is_file() || facts.len() > MAX_SOURCE {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    let line = bytes.split(|byte| *byte == b'\n').nth(at)?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}
