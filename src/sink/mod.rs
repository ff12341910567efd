//! One file an output.
//!
//! Every sink takes plain data of `asyncspy_model`, writes to a `&mut dyn io::Write` and returns
//! the `io::Result` of that: a closed pipe is an error like any other, never a panic. No sink
//! reads the environment, a clock or a file. Whatever came from the target passes through
//! [`escape`] before it reaches a text output. A result that is not complete says so on its last
//! line.
//!
//! Map:
//! - [`escape`], [`style`]: what every text output stands on.
//! - [`task_table`], [`task_tree`], [`thread_dump`]: `ps`, `pstree`, `dump`.
//! - [`stall_log`], [`report_text`]: `watch`, `top` without a terminal.
//! - [`json`]: all of these for scripts.
//! - [`profile`], drawn by [`flame_graph`] and written by [`folded`], [`speedscope`] and
//!   [`profile_json`]: `record`.

pub mod escape;
pub mod flame_graph;
pub mod folded;
pub mod json;
pub mod profile;
pub mod profile_json;
pub mod report_text;
pub mod speedscope;
pub mod stall_log;
pub mod style;
pub mod task_table;
pub mod task_tree;
pub mod thread_dump;

mod branch_writer;
mod branches;
mod columns;
mod grid;
mod json_line;
mod likeness;
mod loop_text;
mod place;
mod process_text;
mod quality_text;
mod report_tables;
mod short_id;
mod stall_memory;
mod stall_text;
mod task_rows;
mod units;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod profile_fixtures;
#[cfg(test)]
mod report_fixtures;
#[cfg(test)]
mod report_text_tests;
#[cfg(test)]
mod stall_log_tests;
#[cfg(test)]
mod task_table_tests;
#[cfg(test)]
mod task_tree_tests;
