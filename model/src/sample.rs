//! What each loop did at one tick, and the stream of events made of such samples.
//!
//! A stream is self-contained: whatever a sample names by index was defined by an earlier event.
//! The live sampler produces one, a recording is one, and the analysis folds one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::ids::{LoopId, RemoteAddr, StackId, TaskId, TaskIndex};
use crate::quality::SamplingQuality;
use crate::snapshot::{LoopKind, Snapshot};
use crate::stack::StackFrame;

/// Facts of one sampling session that do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Process id, as asyncspy's own pid namespace sees it.
    pub pid: i32,
    /// The command line, unescaped.
    pub command: Arc<str>,
    /// Full Python version, such as `3.12.1`.
    pub python: Arc<str>,
    /// When the process started, wall clock.
    pub process_started_unix_ns: u64,
    /// When sampling began.
    pub began_monotonic_ns: u64,
    /// When sampling began, wall clock.
    pub began_unix_ns: u64,
    /// Time between two ticks that was asked for.
    pub interval_ns: u64,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Sampling begins. Comes first, and again after the target has replaced itself by `exec`.
    Session(Session),
    /// A loop is seen for the first time.
    Loop(LoopDefinition),
    /// A stack is seen for the first time.
    Stack {
        /// Its index.
        id: StackId,
        /// Its frames, innermost first.
        frames: Arc<[StackFrame]>,
    },
    /// A task is seen running for the first time.
    Task(TaskDefinition),
    /// A tick.
    Sample(Sample),
    /// A census of all tasks.
    Snapshot(Arc<Snapshot>),
    /// The target was stopped from outside (SIGSTOP, a debugger, a frozen cgroup) or the machine
    /// was suspended: what happened between these moments is not the code's doing.
    Interruption {
        /// What stopped it.
        reason: Interruption,
        /// From when on.
        from_monotonic_ns: u64,
        /// Until when.
        until_monotonic_ns: u64,
    },
    /// Sampling ends.
    End {
        /// Why.
        reason: EndReason,
        /// When.
        at_monotonic_ns: u64,
        /// How well it went.
        quality: SamplingQuality,
    },
}

/// What kept the whole target from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruption {
    /// A stop signal or a debugger.
    Stopped,
    /// The cgroup freezer.
    Frozen,
    /// The machine slept.
    Suspended,
}

/// Why sampling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The asked duration is over.
    Duration,
    /// The user interrupted it.
    Interrupted,
    /// The target exited.
    TargetExited,
    /// The target could no longer be read.
    Unreadable,
}

/// A loop of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopDefinition {
    /// Address of the loop object.
    pub id: LoopId,
    /// How it is built.
    pub kind: LoopKind,
    /// Class name.
    pub class: Arc<str>,
    /// Kernel thread id of the thread that runs it.
    pub tid: i32,
    /// Name of that thread, unescaped.
    pub thread_name: Arc<str>,
}

/// A task of a stream, as it was when it was first seen running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Its index in this stream.
    pub index: TaskIndex,
    /// Address of the Task object.
    pub id: TaskId,
    /// Its name, unescaped.
    pub name: Arc<str>,
    /// The name that can be aggregated: see [`TaskInfo::label`](crate::TaskInfo::label).
    pub label: Arc<str>,
    /// Labels of the tasks that wait for it, nearest first: its awaiter, that one's awaiter, ….
    pub awaiters: Vec<Arc<str>>,
}

/// What every loop did at one tick: one, as a rule, which then needs no allocation of its own.
pub type LoopSamples = SmallVec<[LoopSample; 1]>;

/// One tick: what every loop did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the stacks and turns were read.
    pub at_monotonic_ns: u64,
    /// How long that took: the stacks, turns and running tasks were so at some moment of the
    /// `elapsed_ns` before `at_monotonic_ns`. Queues, timers and states of threads are read
    /// directly after.
    #[serde(default)]
    pub elapsed_ns: u64,
    /// One entry for each loop that runs.
    pub loops: LoopSamples,
    /// How well the sampling went up to and including this tick.
    pub quality: SamplingQuality,
}

/// What one loop did at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopSample {
    /// Which loop.
    pub loop_id: LoopId,
    /// What it did.
    pub activity: LoopActivity,
    /// The task that ran.
    pub task: Option<TaskIndex>,
    /// What its thread executed; `None` when idle or unknown. Ends at the loop's machinery.
    pub stack: Option<StackId>,
    /// Scheduling state letter of the loop's thread; `?` when it was not looked at.
    pub os_state: char,
    /// Callbacks ready to run; 0 when unknown.
    pub ready: u32,
    /// Timers whose time has passed; 0 when unknown.
    pub late_timers: u32,
    /// How late the most overdue timer is; 0 when none is or it is unknown.
    pub worst_late_ns: u64,
    /// True if not all of it is proven to belong to one moment; `stack` then holds the proven
    /// outer part.
    pub torn: bool,
    /// How much of the loop's time it stands for, in nanoseconds, where that was measured; else it
    /// shares what lies between two samples with the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_ns: Option<u32>,
}

/// What a loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LoopActivity {
    /// It waited in its own poll call.
    Idle,
    /// It ran callbacks.
    Busy(Turn),
    /// It could not be read.
    Unknown,
}

/// One turn of a loop: the callbacks between two polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Identity: two samples with the same value are of the same turn. For a loop that does not
    /// record its turns it stands for what runs: task, coroutine frame and callback frame.
    pub identity: u64,
    /// The exact beginning of the turn; `None` for a loop that does not record it.
    pub began_monotonic_ns: Option<u64>,
    /// Of a loop that does not record it, a moment by which the turn had begun, if one is known
    /// beside that of the sample.
    pub begun_by_monotonic_ns: Option<u64>,
    /// The exact beginning of the callback that runs; known in asyncio's debug mode only.
    pub callback_began_monotonic_ns: Option<u64>,
    /// The callback that runs, 0-based, and how many the turn has; `None` for a loop that does
    /// not record it.
    pub callback: Option<(u32, u32)>,
    /// Identity of the callback: the address of its Handle, or a number made of what runs.
    pub handle: RemoteAddr,
}
