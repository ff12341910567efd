//! Where the time of a recording went, as stacks with weights: the input of flame graphs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::stack::Location;

/// One level of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameLabel {
    /// A process, thread, loop, task, cause or wait; unescaped.
    Plain(Arc<str>),
    /// A frame.
    Code(Location),
}

/// What one loop ran, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The loop, as a person knows it; unescaped.
    pub name: Arc<str>,
    /// Its runs, in the order of time.
    pub runs: Vec<Run>,
}

/// A span of time in which one stack was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Nanoseconds since the session began.
    pub from_ns: u64,
    /// Nanoseconds since the session began.
    pub to_ns: u64,
    /// Index into the profile's stacks; `None` when the loop was idle or could not be read.
    pub stack: Option<usize>,
}
