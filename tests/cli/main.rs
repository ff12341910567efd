//! The binary, from outside: texts, exit codes, outputs, the demo.
//!
//! Every target says when it is ready; nothing here sleeps for a fixed time. A test that cannot
//! run here says so through [`not_run`].

mod bad_input;
mod demo;
mod help;
mod not_run;
mod outputs;
mod permission;
mod support;
mod unsteady;
