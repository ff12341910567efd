//! The Python processes that this user may read, for the picker.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use asyncspy_model::{LoopState, Snapshot};
use asyncspy_tui::{ProcessRow, ProcessSource};
use rustc_hash::FxHashMap;

use crate::aio::snapshot::{Snapshooter, SnapshotOptions};
use crate::python::Python;
use crate::python::attach::AttachError;

/// Pause between two looks at the known processes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Every so many looks the list of processes is made anew.
const LIST_EVERY: u32 = 8;

/// How often one looks whether a process that is no Python becomes one: it may be a Python that
/// has only begun to start.
const TRIES: u32 = 5;

/// How long to attach to processes that are new before those that are known are looked at: the
/// first of hundreds shall not wait for the last.
const ATTACH_FOR: Duration = Duration::from_millis(100);

/// How many past looks the busy share is an average of.
const LOOKS_KEPT: usize = 20;

/// Looks at all processes in the background.
pub struct Processes {
    newest: Arc<Mutex<Option<Vec<ProcessRow>>>>,
    ends: Arc<AtomicBool>,
}

impl Processes {
    /// Starts to look.
    #[must_use]
    pub fn start() -> Self {
        let newest = Arc::new(Mutex::new(None));
        let ends = Arc::new(AtomicBool::new(false));
        let (list, ended) = (newest.clone(), ends.clone());
        std::thread::spawn(move || {
            let mut looker = Looker::default();
            while !ended.load(Ordering::Relaxed) {
                let rows = looker.look();
                *list.lock().unwrap_or_else(PoisonError::into_inner) = Some(rows);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { newest, ends }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl ProcessSource for Processes {
    fn latest(&mut self) -> Option<Vec<ProcessRow>> {
        self.newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[derive(Default)]
struct Looker {
    known: FxHashMap<i32, Known>,
    /// Processes that shall be attached to, the newest last.
    pending: Vec<i32>,
    looks: u32,
}

/// A process that was attached to, or the reason why it cannot be.
enum Known {
    Python {
        python: Box<Python>,
        snapshooter: Box<Snapshooter>,
        /// Whether its loop was busy, at each of the last looks.
        busy: Vec<bool>,
    },
    Refused(ProcessRow),
    /// With the command that it ran then, and how often it was looked at.
    NoPython(String, u32),
}

impl Looker {
    fn look(&mut self) -> Vec<ProcessRow> {
        if self.pending.is_empty() && self.looks.is_multiple_of(LIST_EVERY) {
            self.list();
        }
        self.attach();
        self.looks = self.looks.wrapping_add(1);
        let mut rows = Vec::new();
        self.known.retain(|_, known| match known.row() {
            Look::Row(row) => {
                rows.push(row);
                true
            }
            Look::Hidden => true,
            Look::Ended => false,
        });
        rows.sort_by_key(|row| row.pid);
        rows
    }

    fn list(&mut self) {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let pids: Vec<i32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        self.known.retain(|pid, _| pids.contains(pid));
        self.pending = pids;
        self.pending.retain(|pid| *pid != own);
    }

    /// Attaches to what is new, as long as there is time.
    fn attach(&mut self) {
        let began = Instant::now();
        while began.elapsed() < ATTACH_FOR
            && let Some(pid) = self.pending.pop()
        {
            let known = self.known.entry(pid).or_insert_with(|| Known::attach(pid));
            if let Known::NoPython(before, tries) = known {
                let (before, tries) = (std::mem::take(before), *tries);
                *known = Known::attach_again(pid, before, tries);
            }
        }
    }
}

enum Look {
    Row(ProcessRow),
    Hidden,
    Ended,
}

impl Known {
    fn attach(pid: i32) -> Self {
        match Python::attach(pid) {
            Ok(python) => Self::Python {
                python: Box::new(python),
                snapshooter: Box::default(),
                busy: Vec::new(),
            },
            Err(AttachError::Unsupported { what, .. }) => Self::Refused(ProcessRow {
                pid,
                command: command(pid),
                note: format!("{what} is not supported"),
                ..ProcessRow::default()
            }),
            Err(_) => Self::NoPython(command(pid), 1),
        }
    }

    /// As [`attach`](Self::attach), if there is hope: a shell that waited for its line may have
    /// become a Python since.
    fn attach_again(pid: i32, before: String, tries: u32) -> Self {
        let now = command(pid);
        if now == before && tries >= TRIES {
            return Self::NoPython(before, tries);
        }
        let tries = if now == before { tries + 1 } else { 1 };
        match Self::attach(pid) {
            Self::NoPython(..) => Self::NoPython(now, tries),
            other => other,
        }
    }

    fn row(&mut self) -> Look {
        match self {
            Self::NoPython(..) => Look::Hidden,
            Self::Refused(row) => Look::Row(row.clone()),
            Self::Python {
                python,
                snapshooter,
                busy,
            } => {
                if !python.facts.is_alive() {
                    return Look::Ended;
                }
                match snapshooter.take(python, SnapshotOptions::default()) {
                    Ok(snapshot) => Look::Row(describe(python, &snapshot, busy)),
                    Err(_) => Look::Ended,
                }
            }
        }
    }
}

fn describe(python: &Python, snapshot: &Snapshot, busy: &mut Vec<bool>) -> ProcessRow {
    let is_busy = |state: LoopState| state == LoopState::Busy;
    busy.push(snapshot.loops.iter().any(|info| is_busy(info.state)));
    if busy.len() > LOOKS_KEPT {
        busy.remove(0);
    }
    let share = busy.iter().filter(|busy| **busy).count() * 1000 / busy.len().max(1);
    let kind = snapshot.loops.first().map(|info| info.kind.word());
    ProcessRow {
        pid: python.facts.pid,
        command: python.facts.command.clone(),
        python: snapshot.python.to_string(),
        loop_kind: kind.unwrap_or("").to_owned(),
        tasks: kind.map(|_| snapshot.tasks.len() as u64),
        busy_permille: kind.and_then(|_| u32::try_from(share).ok()),
        note: String::new(),
    }
}

fn command(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0);
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    words.join(" ").trim().to_owned()
}
