//! Plain serialisable data of asyncspy.
//!
//! This crate is the one language that every other part speaks: the readers fill it, the
//! analysis folds it, the sinks and the terminal view print it. It holds no I/O, no clock and
//! nothing that depends on a CPython version.
//!
//! Map:
//! - [`ids`]: addresses and identities in the target.
//! - [`stack`]: where code is: [`Location`], [`StackFrame`].
//! - [`quality`]: how good a result is: [`Faults`], [`SamplingQuality`].
//! - [`snapshot`]: a census of every thread, loop and task at one moment.
//! - [`await_graph`]: who awaits whom in a census, and who waits in a circle.
//! - [`sample`]: what each loop did at one tick, and the [`Event`] stream made of them.
//! - [`stall`]: a turn of a loop that outlasted the threshold, with its cause.
//! - [`profile`]: where time went, as stacks with weights.
//! - [`report`]: what the analysis has gathered so far, ready to be shown.
//! - [`text`]: making text from the target safe to show.
//!
//! Times are nanoseconds. A name that ends in `_monotonic_ns` is on the CLOCK_MONOTONIC of the
//! machine that runs asyncspy; one that ends in `_unix_ns` is wall-clock time since the epoch.

pub mod await_graph;
pub mod ids;
pub mod profile;
pub mod quality;
pub mod report;
pub mod sample;
pub mod snapshot;
pub mod stack;
pub mod stall;
pub mod text;

pub use await_graph::{AwaitGraph, Cycle};
pub use ids::{LoopId, RemoteAddr, StackId, TaskId, TaskIndex};
pub use profile::{FrameLabel, Run, Timeline};
pub use quality::{FaultKind, Faults, SamplingQuality};
pub use sample::{Event, LoopActivity, LoopSample, Sample, TaskDefinition, Turn};
pub use snapshot::{
    LoopInfo, LoopKind, LoopState, Snapshot, TaskInfo, TaskState, ThreadInfo, WaitsOn,
};
pub use stack::{FrameKind, Location, StackFrame};
pub use stall::{BeganIs, Cause, Stall};
