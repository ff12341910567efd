//! What the tests with real Pythons share.
//!
//! - [`interpreters`]: which Pythons there are, as `scripts/interpreters` found or brought them.
//! - [`target`]: a program of `tests/targets` that runs, and the commands that it obeys.
//! - [`truth`]: what such a program says of itself.
//! - [`trials`]: tests that can say that they cannot run here.
//! - [`golden`]: snapshots without what differs each time.
//! - [`compare`]: how that differs from what was read from outside.
//! - [`programs`]: copies of programs, made to be run.
//! - [`stream`]: samples that no process gave, as many as are wanted.
//!
//! Nothing here reads a process's memory, so nothing here can share a mistake with asyncspy.

pub mod compare;
pub mod golden;
pub mod interpreters;
pub mod programs;
pub mod stream;
pub mod target;
pub mod trials;
pub mod truth;

pub use interpreters::Interpreter;
pub use target::Target;
pub use truth::Truth;

/// What a test or a step of it gives: a failure is a text for a person.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
