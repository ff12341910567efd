//! How good a result is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of thing that went wrong while the target was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A container of tasks kept changing: some of its tasks may be missing.
    TasksUnreachable,
    /// A task changed during every attempt to read it: its chain or state may mix two moments.
    TaskTorn,
    /// A task could not be read at all and is not listed.
    TaskUnreadable,
    /// A thread's frames changed during every attempt to read them.
    StackTorn,
    /// A thread could not be read and is not listed.
    ThreadUnreadable,
    /// A loop's own state could not be read.
    LoopUnreadable,
    /// A text was longer than the bound and was cut.
    TextCut,
    /// A walk met its bound: the rest was left out.
    BoundReached,
    /// The interpreter's module table could not be read.
    ModulesUnreadable,
    /// An interpreter other than the main one could not be read.
    InterpreterUnreadable,
}

impl FaultKind {
    /// What to tell a person about it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::TasksUnreachable => "task lists changed faster than they could be read",
            Self::TaskTorn => "tasks changed while they were read",
            Self::TaskUnreadable => "tasks could not be read",
            Self::StackTorn => "thread stacks changed while they were read",
            Self::ThreadUnreadable => "threads could not be read",
            Self::LoopUnreadable => "loops could not be read in full",
            Self::TextCut => "texts were cut",
            Self::BoundReached => "walks met their bound",
            Self::ModulesUnreadable => "module tables could not be read",
            Self::InterpreterUnreadable => "sub-interpreters could not be read",
        }
    }

    /// True if an answer with this fault may lack or misplace something. A cut text is not that.
    #[must_use]
    pub const fn spoils(self) -> bool {
        !matches!(self, Self::TextCut)
    }
}

/// Faults by kind, with a count each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults(pub BTreeMap<FaultKind, u64>);

impl Faults {
    /// Counts one fault.
    pub fn add(&mut self, kind: FaultKind) {
        self.add_many(kind, 1);
    }

    /// Counts `count` faults; none for 0.
    pub fn add_many(&mut self, kind: FaultKind, count: u64) {
        if count > 0 {
            let total = self.0.entry(kind).or_default();
            *total = total.saturating_add(count);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            self.add_many(*kind, *count);
        }
    }

    /// True if nothing that [spoils](FaultKind::spoils) an answer was counted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.0.keys().any(|kind| kind.spoils())
    }
}

/// How well the sampling went, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingQuality {
    /// Samples taken, torn ones included.
    pub samples: u64,
    /// Samples that began more than half an interval after they were due.
    pub late: u64,
    /// Ticks that were skipped because an earlier one ran over.
    pub skipped: u64,
    /// Samples of which only a part is proven to belong together.
    pub torn: u64,
    /// Ticks at which nothing could be read.
    pub failed: u64,
    /// Events dropped because the consumer did not keep up.
    pub dropped: u64,
    /// How many of the samples the kernel has taken, in the target's own thread.
    #[serde(default)]
    pub in_kernel: u64,
}
