//! The live terminal view of asyncspy.
//!
//! Map, in the order of dependence:
//! - `format`, `text`, `theme`, `ascii`: numbers, text of a given width, colours.
//! - `table`, `document`, `list`: what a view is made of.
//! - `views`: one view a file. A view holds the rows it made from a report.
//! - `keys`: the one table of keys. `dispatch`: what they do to the state.
//! - `app`: the state. `screen`, `header`, `verdict`, `footer`, `layout`: drawing it.
//! - `picker`: choosing a process.
//! - `terminal`, `signals`, `events`, `top`: the terminal's own state, signals and the loop.
//!
//! Invariants: drawing takes the state by `&self` and computes nothing that grows with the
//! number of tasks; whatever comes from the target is escaped before it is put into a cell; the
//! terminal is restored on every way out, panics and signals included.

mod app;
mod ascii;
mod backend;
mod dispatch;
mod document;
mod events;
mod footer;
mod format;
mod header;
mod help;
mod keys;
mod layout;
mod list;
mod picker;
mod pieces;
mod screen;
mod signals;
mod spark;
mod table;
mod task_story;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;
mod top;
mod verdict;
mod views;

pub use backend::{Backend, Error, Exit, Options, Picked, ProcessRow, ProcessSource, Save};
pub use keys::key_table_markdown;
pub use picker::pick;
pub use theme::ColorMode;
pub use top::run;
