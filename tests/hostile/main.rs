//! Memory that lies: every reader ends, within bounds of time and memory, with an error or a
//! result that says what it lacks.
//!
//! The memory is that of real processes (`tests/recorded`) with words replaced and pages taken
//! away, or made up altogether.

mod belated;
mod bounds;
mod looks;
mod memory;
mod moments;
mod names;
#[path = "../../benches/recorded_loops/mod.rs"]
mod recorded_loops;
mod samples;
mod snapshots;
mod turns;
mod unfinished;
