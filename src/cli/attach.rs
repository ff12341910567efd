//! Attaching to the process that was named, and snapshots of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use asyncspy_model::Snapshot;

use super::diagnosis;
use super::error::Error;
use super::output::note;
use crate::aio::snapshot::{Snapshooter, SnapshotOptions};
use crate::python::Python;
use crate::python::attach::AttachError;
use crate::python::object::Objects;
use crate::target::memory::{MemoryError, MemoryViewExt};
use crate::target::process::{Fate, ProcessError, ProcessFacts, process_of_thread};

/// How long an interpreter that is just starting is waited for. From `exec` to the first line of
/// a program CPython takes about 20 ms, several times that on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked at meanwhile.
const START_INTERVAL: Duration = Duration::from_millis(20);

/// How often a process is read again that replaces itself (`exec`) while it is read.
const MAX_REPLACEMENTS: usize = 2;

/// A process that is attached to, with what was learnt of it.
#[derive(Debug)]
pub struct Attached {
    python: Python,
    snapshooter: Snapshooter,
}

impl Attached {
    /// Attaches to a process, and waits a little for an interpreter that is just starting. The
    /// id of a thread stands for its process.
    ///
    /// # Errors
    /// What [`diagnosis::of_attach`] makes of each [`AttachError`].
    pub fn open(pid: i32) -> Result<Self, Error> {
        Self::attach(pid).map_err(|error| diagnosis::of_attach(process_of_thread(pid), &error))
    }

    fn attach(pid: i32) -> Result<Self, AttachError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            match Python::attach(pid) {
                Ok(python) => {
                    return Ok(Self {
                        python,
                        snapshooter: Snapshooter::for_one(),
                    });
                }
                Err(error) if may_pass(pid, &error) && Instant::now() < deadline => {
                    sleep(START_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The interpreter, for sampling.
    #[must_use]
    pub fn into_python(self) -> Python {
        self.python
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.python.facts.pid
    }

    /// The command line of the process, unescaped.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.python.facts.command
    }

    /// Reads everything. A process that replaces itself meanwhile is attached to anew.
    ///
    /// # Errors
    /// That the process ended, or that it cannot be read.
    pub fn snapshot(&mut self, options: SnapshotOptions) -> Result<Snapshot, Error> {
        let pid = self.pid();
        let mut replacements = 0;
        loop {
            let taken = self.snapshooter.take(&self.python, options);
            match (taken, self.python.facts.fate()) {
                (Ok(snapshot), Fate::Unchanged) => return Ok(snapshot),
                (Ok(snapshot), Fate::Ended) if snapshot.complete => {
                    note(&format!("process {pid} has ended since it was read"));
                    return Ok(snapshot);
                }
                (_, Fate::Ended) => return Err(diagnosis::ended(pid)),
                (Err(error), Fate::Unchanged) => return Err(diagnosis::of_read(pid, error)),
                (taken, Fate::Replaced) if replacements == MAX_REPLACEMENTS => {
                    let error = taken.err().unwrap_or(MemoryError::Gone);
                    return Err(diagnosis::of_read(pid, error));
                }
                (_, Fate::Replaced) => {
                    replacements += 1;
                    *self = Self::open(pid)?;
                }
            }
        }
    }

    /// Tells why there is nothing in a snapshot, when nothing is there.
    pub fn note_lack_of_asyncio(&self, snapshot: &Snapshot) {
        let nothing = snapshot.loops.is_empty() && snapshot.tasks.is_empty();
        if !nothing || !snapshot.complete {
            return;
        }
        note(match self.imports("asyncio") {
            Ok(false) => "no asyncio: the module is not imported in this process",
            _ => "no loop runs in this process, and no task is left of an earlier one",
        });
        if let Some(hint) = diagnosis::python_children_hint(self.pid()) {
            note(&hint);
        }
    }

    /// True if the main interpreter has the module in `sys.modules`.
    fn imports(&self, module: &str) -> Result<bool, MemoryError> {
        let (memory, layout) = (&self.python.memory, &self.python.layout);
        let objects = Objects {
            view: memory,
            layout,
        };
        let head = self.python.interpreters_head(memory)?;
        let modules = memory.read_ptr(head.offset(layout.interpreter.modules))?;
        Ok(objects.dict_get(modules, module)?.is_some())
    }
}

/// True for what an interpreter shows that is still being loaded or set up.
fn may_pass(pid: i32, error: &AttachError) -> bool {
    match error {
        AttachError::Unreadable { .. } => true,
        // In the middle of an `exec` the memory is gone and the process is not.
        AttachError::Process(ProcessError::NoSuchProcess(_)) => ProcessFacts::read(pid).is_ok(),
        // Before the dynamic linker has mapped libpython there is nothing to find.
        AttachError::NotPython { exe, .. } => {
            let name = exe.rsplit('/').next().unwrap_or_default();
            name.starts_with("python")
        }
        _ => false,
    }
}
