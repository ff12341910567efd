//! One file an output.
//!
//! Every sink takes plain data of `asyncspy_model`, writes to a `&mut dyn io::Write` and returns
//! the `io::Result` of that: a closed pipe is an error like any other, never a panic. No sink
//! reads the environment, a clock or a file. Whatever came from the target passes through
//! [`escape`] before it reaches a text output.

pub mod escape;
pub mod style;

mod units;
