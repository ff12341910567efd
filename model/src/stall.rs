//! A turn of a loop that outlasted the threshold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{LoopId, TaskId};
use crate::stack::{Chain, Location};

/// What `began_monotonic_ns` of a [`Stall`] is the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeganIs {
    /// The callback that held the loop.
    Callback,
    /// The turn of the loop.
    Turn,
    /// The middle between the last sample that did not see it and the first that did: the true
    /// beginning is within `uncertainty_ns` of it.
    Sample,
}

/// Why the loop did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// One callback ran Python code or C code on the CPU.
    Cpu,
    /// One callback slept or waited in the kernel: a blocking call.
    Blocked,
    /// Many callbacks, none long enough by itself, ran in one turn.
    ManyCallbacks,
    /// The samples do not tell.
    Unknown,
}

impl Cause {
    /// The words used in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Blocked => "blocking call",
            Self::ManyCallbacks => "many small callbacks",
            Self::Unknown => "unknown",
        }
    }
}

/// A stall: one turn of one loop that outlasted the threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Number of the stall in its session, from 1.
    pub number: u64,
    /// Which loop.
    #[serde(rename = "loop")]
    pub loop_id: LoopId,
    /// The task that held it longest; `None` for a plain callback.
    pub task: Option<TaskId>,
    /// That task's name, unescaped; for a plain callback the function's name.
    pub name: Arc<str>,
    /// The name that can be aggregated: see [`TaskInfo::label`](crate::TaskInfo::label).
    pub label: Arc<str>,
    /// When it began.
    pub began_monotonic_ns: u64,
    /// When it began, wall clock.
    pub began_unix_ns: u64,
    /// What the beginning is of.
    pub began_is: BeganIs,
    /// How long it lasted, or has lasted so far.
    pub duration_ns: u64,
    /// The true duration is within this distance of `duration_ns`.
    pub uncertainty_ns: u64,
    /// True while it goes on.
    pub ongoing: bool,
    /// Why.
    pub cause: Cause,
    /// The stack that most of its samples showed, innermost first: the ordinary frames.
    pub stack: Chain,
    /// The coroutines of the task that held the loop, innermost first.
    pub coroutine_stack: Chain,
    /// Labels of the tasks that wait for that task, nearest first.
    pub awaiters: Vec<Arc<str>>,
    /// Samples that saw it.
    pub samples: u64,
    /// (callback that ran last, 0-based; callbacks of the turn); `None` when unknown.
    pub callbacks: Option<(u32, u32)>,
    /// Most timers that were late at once while it lasted.
    pub late_timers: u64,
    /// Most callbacks that were ready at once while it lasted.
    pub ready: u64,
}

impl Stall {
    /// The place to look at: the innermost frame of the user's own code, else the innermost
    /// frame; `None` when no sample caught a stack.
    #[must_use]
    pub fn culprit(&self) -> Option<&Location> {
        let frames = || self.stack.iter().chain(self.coroutine_stack.iter());
        frames()
            .find(|location| !location.is_library())
            .or_else(|| frames().next())
    }
}
