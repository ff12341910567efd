//! What the analysis has gathered so far, ready to be shown.
//!
//! The terminal view draws a [`Report`] and computes nothing; the text and JSON sinks print
//! parts of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{LoopId, TaskId};
use crate::quality::SamplingQuality;
use crate::sample::{EndReason, Interruption, Session};
use crate::snapshot::{LoopKind, Snapshot};
use crate::stack::{FrameKind, Location};
use crate::stall::Stall;

/// Everything that is known at one moment of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The session.
    pub session: Session,
    /// The moment that the report describes.
    pub at_monotonic_ns: u64,
    /// How well the sampling went.
    pub quality: SamplingQuality,
    /// Samples per second that were achieved over the last ten seconds.
    pub achieved_hz: f64Bits,
    /// Loops, busiest first.
    pub loops: Vec<LoopReport>,
    /// Stalls, newest first, at most as many as the analysis keeps.
    pub stalls: Vec<Arc<Stall>>,
    /// Stalls that are over, folded by culprit, the most total time first.
    pub culprits: Vec<CulpritReport>,
    /// Functions and lines by the time that they held a loop, most total time first.
    pub hot: Vec<HotReport>,
    /// Time that the loops were held, as a tree of frames; the root holds all of it.
    pub call_tree: Arc<CallTree>,
    /// The last census of tasks; `None` before the first.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Facts about tasks that only time tells, by task id; of the tasks of `snapshot`.
    pub task_history: Arc<BTreeMap<TaskId, TaskHistory>>,
    /// Times at which the target was stopped from outside, newest last.
    pub interruptions: Vec<(Interruption, u64, u64)>,
    /// Why sampling ended; `None` while it goes on.
    pub ended: Option<EndReason>,
    /// Counts over the whole session.
    pub totals: Totals,
}

/// A float that compares by its bits, so that reports can be compared in tests.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(non_camel_case_types, reason = "it stands for the primitive")]
pub struct f64Bits(pub f64);

impl PartialEq for f64Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for f64Bits {}

/// Counts over a whole session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Stalls at or above the threshold.
    pub stalls: u64,
    /// Of these, at or above the error threshold.
    pub errors: u64,
    /// Longest stall.
    pub worst_ns: u64,
    /// Sum of all stalls.
    pub stalled_ns: u64,
}

/// What a loop does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LoopNow {
    /// It waits in its poll call.
    Idle,
    /// It runs a turn, for so long up to now.
    Busy {
        /// Nanoseconds since the turn began.
        for_ns: u64,
    },
    /// It has run one turn for longer than the threshold.
    Stalled {
        /// Nanoseconds since the turn began.
        for_ns: u64,
    },
    /// It does not run any more.
    Gone,
    /// It could not be read.
    Unknown,
}

/// One loop over the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopReport {
    /// Address of the loop object.
    pub id: LoopId,
    /// How it is built.
    pub kind: LoopKind,
    /// Class name.
    pub class: Arc<str>,
    /// Kernel thread id.
    pub tid: i32,
    /// Name of its thread, unescaped.
    pub thread_name: Arc<str>,
    /// What it does now.
    pub now: LoopNow,
    /// Share of the last minute that it was busy, in thousandths.
    pub busy_permille: u32,
    /// Turn times of the last minute.
    pub turns: TurnTimes,
    /// Worst turn of each of the last 60 seconds, oldest first; 0 for a second without one.
    pub worst_by_second_ns: Vec<u64>,
    /// Tasks of the last census.
    pub tasks: u64,
    /// Callbacks ready to run, at the last sample.
    pub ready: u64,
    /// Timers scheduled, at the last census.
    pub timers: u64,
    /// Timers whose time has passed, at the last sample.
    pub late_timers: u64,
    /// How late the most overdue timer is, at the last sample; 0 when none is.
    pub worst_late_ns: u64,
}

/// Distribution of a loop's turn times. Sampling sees a turn of length d with probability
/// min(1, d · rate), so each seen turn counts with the inverse of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnTimes {
    /// Turns seen by a sample.
    pub seen: u64,
    /// Median; 0 when no turn was seen.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub worst_ns: u64,
    /// From this length on the figures are reliable: each such turn is seen.
    pub reliable_from_ns: u64,
}

/// Stalls of one culprit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CulpritReport {
    /// Label of the task or callback.
    pub label: Arc<str>,
    /// The place that held the loop; `None` when no sample caught a stack.
    pub location: Option<Location>,
    /// How many stalls.
    pub count: u64,
    /// Their sum.
    pub total_ns: u64,
    /// The longest.
    pub worst_ns: u64,
    /// The last one.
    pub last: Arc<Stall>,
}

/// How long one function and line held a loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotReport {
    /// The place.
    pub location: Location,
    /// Label of the task that ran it most; empty for a plain callback.
    pub label: Arc<str>,
    /// Time with this place innermost.
    pub self_ns: u64,
    /// Time with this place anywhere on the stack.
    pub total_ns: u64,
    /// How often it held the loop: runs of samples within one callback.
    pub holds: u64,
    /// Longest such run.
    pub longest_ns: u64,
    /// 99th percentile of such runs.
    pub p99_ns: u64,
}

/// What only time tells about a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHistory {
    /// When a census first showed it.
    pub first_seen_monotonic_ns: u64,
    /// Since when it has waited at the same place, as far as censuses show; 0 when it does not.
    pub waiting_since_monotonic_ns: u64,
    /// Time that it held its loop, by samples.
    pub held_ns: u64,
}

/// A tree of frames with the time spent in each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTree {
    /// Nodes; the root is the first. Children come after their parent.
    pub nodes: Vec<CallNode>,
}

/// One node of a [`CallTree`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallNode {
    /// What a person reads: a frame's function and line, a task's label, a loop's name.
    pub label: Arc<str>,
    /// The place; `None` for a node that is not a frame.
    pub location: Option<Location>,
    /// What the frame runs; [`FrameKind::Machinery`] for a node that is not a frame.
    pub kind: FrameKind,
    /// Time in it and below.
    pub total_ns: u64,
    /// Time in it alone.
    pub self_ns: u64,
    /// Indices of its children, the largest total first.
    pub children: Vec<u32>,
}
