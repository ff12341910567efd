//! Where code is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One place in the target's source.
///
/// Strings come from the target unescaped: a sink escapes what it shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Qualified name where the version records one (3.11+ for any frame, every version for a
    /// coroutine), else the plain name.
    pub function: Arc<str>,
    /// `co_filename`, as the target has it.
    pub file: Arc<str>,
    /// Line, 1-based; 0 when unknown.
    pub line: u32,
}

/// What kind of code a frame runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    /// An ordinary function.
    #[default]
    Sync,
    /// A coroutine, generator or async generator.
    Coroutine,
    /// The event loop's own machinery (`run_forever`, `_run_once`, `Handle._run`, …).
    Machinery,
}

/// One frame of a sampled stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackFrame {
    /// Where it is.
    #[serde(flatten)]
    pub location: Location,
    /// What it runs.
    pub kind: FrameKind,
}

/// A chain of frames, innermost first. Equal chains may share one allocation.
pub type Chain = Arc<[Location]>;
