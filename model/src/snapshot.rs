//! A census of every thread, loop and task at one moment.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{LoopId, TaskId};
use crate::quality::Faults;
use crate::stack::{Chain, Location};

/// Every thread, loop and task of a process, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Always `asyncspy.ps`.
    pub schema: Arc<str>,
    /// Version of the JSON form; fields may be added within a version.
    pub schema_version: u32,
    /// Process id, as asyncspy's own pid namespace sees it.
    pub pid: i32,
    /// Full Python version, such as `3.12.1`.
    pub python: Arc<str>,
    /// True if every task that lived throughout the read is listed, each with a proven chain.
    pub complete: bool,
    /// What went wrong, counted by kind.
    pub faults: Faults,
    /// When the read began.
    pub began_monotonic_ns: u64,
    /// When the read began, wall clock.
    pub began_unix_ns: u64,
    /// How long the read took.
    pub elapsed_ns: u64,
    /// Loops that run or own tasks, main thread's first.
    pub loops: Vec<LoopInfo>,
    /// Tasks that are not done, grouped by loop, oldest first where the target records it.
    pub tasks: Vec<TaskInfo>,
    /// Python threads, main thread first.
    pub threads: Vec<ThreadInfo>,
}

/// How an event loop is built, as far as reading it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopKind {
    /// asyncio's own `BaseEventLoop` and its subclasses.
    Asyncio,
    /// uvloop.
    Uvloop,
    /// Any other class; only what every loop shows is known.
    Other,
}

impl LoopKind {
    /// The word used in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
            Self::Other => "other",
        }
    }
}

/// What a loop does at the moment of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopState {
    /// It waits in its own poll call for something to happen.
    Idle,
    /// It runs callbacks.
    Busy,
    /// It does not run.
    Stopped,
    /// It runs, but what it does could not be read.
    Unknown,
}

impl LoopState {
    /// The word used in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// An event loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopInfo {
    /// Address of the loop object.
    pub id: LoopId,
    /// How it is built.
    pub kind: LoopKind,
    /// Class name, such as `_UnixSelectorEventLoop`.
    pub class: Arc<str>,
    /// Kernel thread id (in asyncspy's pid namespace) of the thread that runs it; `None` when
    /// no thread does.
    pub tid: Option<i32>,
    /// Id of the interpreter it belongs to; 0 is the main one.
    pub interpreter: i64,
    /// What it does now.
    pub state: LoopState,
    /// How long the present turn has lasted; `None` when the loop is not busy or it cannot be
    /// known.
    pub turn_ns: Option<u64>,
    /// Position and number of the callbacks of this turn: (callback that runs, 0-based; total).
    pub callback: Option<(u32, u32)>,
    /// Callbacks that are ready to run; `None` if it could not be read.
    pub ready: Option<u64>,
    /// Timers scheduled, cancelled ones included; `None` if it could not be read.
    pub timers: Option<u64>,
    /// Timers whose time has passed; `None` if it could not be read.
    pub late_timers: Option<u64>,
    /// How late the most overdue timer is; 0 when none is.
    pub worst_late_ns: u64,
    /// The task that runs now.
    pub running: Option<TaskId>,
    /// The function of the outermost coroutine that runs now, if it is that of no task of this
    /// snapshot: as a rule the task has begun since they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coroutine: Option<Arc<str>>,
    /// How many tasks of this snapshot belong to it.
    pub tasks: u64,
    /// True if asyncio's debug mode is on for it.
    pub debug: bool,
}

/// What a task does at the moment of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its step is what the loop's thread executes.
    Running,
    /// Nothing holds it back but the loop: it has not started, has yielded, or what it waited
    /// for is done.
    Runnable,
    /// It waits for a future that is pending.
    Waiting,
    /// It has ended.
    Done,
}

impl TaskState {
    /// The word used in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Runnable => "runnable",
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Address of the Task object.
    pub id: TaskId,
    /// Its name, unescaped.
    pub name: Arc<str>,
    /// Its class, such as `Task`.
    pub class: Arc<str>,
    /// The loop it belongs to.
    #[serde(rename = "loop")]
    pub loop_id: LoopId,
    /// What it does.
    pub state: TaskState,
    /// True if its cancellation was requested and it has not ended yet.
    pub cancelling: bool,
    /// Its coroutine and what that awaits, innermost first; empty when it could not be read.
    pub coroutine_stack: Chain,
    /// For a running task the ordinary frames above its innermost coroutine, innermost first.
    pub sync_stack: Chain,
    /// Tasks that wait for it, directly or through futures such as gather's.
    pub awaited_by: Vec<TaskId>,
    /// What it waits for; `None` unless it is waiting.
    pub waits_on: Option<WaitsOn>,
    /// True if the task changed during every attempt to read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
}

impl TaskInfo {
    /// The innermost place in code that is not the standard library's: where a person looks
    /// first. Falls back to the innermost frame; `None` when there is no frame at all.
    #[must_use]
    pub fn user_location(&self) -> Option<&Location> {
        let frames = || self.sync_stack.iter().chain(self.coroutine_stack.iter());
        frames()
            .find(|location| !location.is_library())
            .or_else(|| frames().next())
    }

    /// The name that can be aggregated: the given name, or the coroutine's qualified name where
    /// the name is the automatic `Task-N`.
    #[must_use]
    pub fn label(&self) -> Arc<str> {
        match self.coroutine_stack.last() {
            Some(outermost) if is_automatic_name(&self.name) => outermost.function.clone(),
            _ => self.name.clone(),
        }
    }
}

/// True for the name that asyncio gives to a task without one, `Task-N`.
#[must_use]
pub fn is_automatic_name(name: &str) -> bool {
    name.strip_prefix("Task-")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl Location {
    /// True for code of the standard library, of installed packages' event loops and for frozen
    /// modules: judged by the file's path alone.
    #[must_use]
    pub fn is_library(&self) -> bool {
        let file = &*self.file;
        if file.starts_with('<') {
            return file.starts_with("<frozen");
        }
        if file.contains("/site-packages/") || file.contains("/dist-packages/") {
            return true;
        }
        file.split('/').any(is_python_folder) && file.contains("/lib")
    }
}

/// The functions of the event loop itself: `_run_once` and whatever calls it until user code does
/// (Lib/asyncio/base_events.py, Lib/asyncio/runners.py; uvloop/__init__.py).
const LOOP_FUNCTIONS: [&str; 4] = ["_run_once", "run_forever", "run_until_complete", "run"];

impl Location {
    /// True for a function of the event loop or its runner: what is called from there is a
    /// callback, what is outside has started the loop.
    #[must_use]
    pub fn is_event_loop(&self) -> bool {
        let name = self.function.rsplit('.').next().unwrap_or_default();
        let mut parts = self.file.rsplit('/');
        let file = (parts.next(), parts.next());
        match file {
            (Some("base_events.py" | "runners.py"), Some("asyncio"))
            | (Some("__init__.py"), Some("uvloop")) => LOOP_FUNCTIONS.contains(&name),
            _ => false,
        }
    }
}

impl ThreadInfo {
    /// The frames inside of the event loop's own, innermost first; all of them if it has none.
    #[must_use]
    pub fn frames_in_loop(&self) -> &[Location] {
        let end = self.stack.iter().position(Location::is_event_loop);
        &self.stack[..end.unwrap_or(self.stack.len())]
    }
}

/// True for `python3.X`, the folder that holds the standard library.
fn is_python_folder(part: &str) -> bool {
    part.strip_prefix("python3.").is_some_and(|minor| {
        !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit() || b == b't')
    })
}

/// What a task waits for, as far as it is visible at the task itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaitsOn {
    /// The asyncio call at the end of the chain: `sleep`, `Lock.acquire`, `Queue.get`, `gather`,
    /// `task`, `future`, ….
    pub kind: Arc<str>,
    /// Class of the object at the end of the chain, such as `Future` or `_GatheringFuture`.
    pub leaf: Arc<str>,
    /// Tasks that it waits for, directly or through futures; empty for other waits.
    pub tasks: Vec<TaskId>,
    /// A short detail, such as a sleep's delay; empty when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
}

/// A Python thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadInfo {
    /// Kernel thread id, in asyncspy's pid namespace; 0 when unknown.
    pub tid: i32,
    /// `threading`'s name for it, else the kernel's; unescaped.
    pub name: Arc<str>,
    /// Id of the interpreter it runs; 0 is the main one.
    pub interpreter: i64,
    /// True if it holds the GIL.
    pub holds_gil: bool,
    /// True if it collects garbage now.
    pub collects_garbage: bool,
    /// Scheduling state letter of the kernel (`R`, `S`, `D`, `T`, …); `?` when unknown.
    pub os_state: char,
    /// The loop that it runs.
    #[serde(rename = "loop")]
    pub loop_id: Option<LoopId>,
    /// Its frames, innermost first.
    pub stack: Chain,
    /// Local variables of each frame of `stack`, in the same order, when they were asked for:
    /// (name, representation) pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<Vec<(Arc<str>, Arc<str>)>>,
    /// True if the frames changed during every attempt: the outer part of `stack` is proven, the
    /// rest left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
}
