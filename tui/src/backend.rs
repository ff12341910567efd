//! What the view needs from outside, and what it gives back.

use std::sync::Arc;
use std::time::Duration;

use asyncspy_model::Location;
use asyncspy_model::report::Report;

use crate::theme::ColorMode;

/// Where the view gets its data, and who does for it what it cannot do itself.
///
/// All of it is called from the thread that draws: an answer that takes longer than a few
/// milliseconds is felt at the keyboard.
pub trait Backend {
    /// The newest report, if there is one newer than the last returned. Must not block.
    fn latest(&mut self) -> Option<Arc<Report>>;

    /// Forgets what was gathered so far.
    fn reset(&mut self);

    /// Writes a file and returns what to tell about it, such as its path; or one line that says
    /// why it could not.
    ///
    /// # Errors
    /// The line to show.
    fn save(&mut self, what: Save) -> Result<String, String>;

    /// The source line of a place, if its file can be read. The view asks once for each place
    /// that it shows and keeps the answer.
    fn source_line(&mut self, location: &Location) -> Option<String>;

    /// How often a new report is wanted from now on.
    fn set_refresh(&mut self, every: Duration) {
        let _ = every;
    }
}

/// Where the picker gets its list of processes.
pub trait ProcessSource {
    /// The newest list, if there is one newer than the last returned. Must not block.
    fn latest(&mut self) -> Option<Vec<ProcessRow>>;
}

/// A Python process in the picker's list. Texts need not be escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessRow {
    /// Process id.
    pub pid: i32,
    /// The command line.
    pub command: String,
    /// Python version.
    pub python: String,
    /// Kind of its loops, such as `asyncio`; empty when it has none.
    pub loop_kind: String,
    /// How many tasks it has; `None` when not known.
    pub tasks: Option<u64>,
    /// Share of time that its busiest loop is busy, in thousandths; `None` when not known.
    pub busy_permille: Option<u32>,
    /// What stands in the way of reading it, such as `not permitted`; empty when nothing does.
    pub note: String,
}

/// How the picker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// The user chose the process with this id.
    Process(i32),
    /// The user quit or a signal asked to end.
    Exit(Exit),
}

/// What to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    /// Every thread, loop and task of this moment.
    Dump,
    /// What was gathered so far, as a flame graph.
    FlameGraph,
    /// What was gathered so far, as JSON.
    Json,
}

/// How the view looks and behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Draw with ASCII characters alone.
    pub ascii: bool,
    /// Colours.
    pub color: ColorMode,
    /// How often a new report is asked for and drawn; at least 100 ms.
    pub refresh: Duration,
    /// A turn of a loop of this length is a stall.
    pub stall_threshold: Duration,
    /// A turn of a loop of this length is an error.
    pub error_threshold: Duration,
    /// True if the target is paused for each read; the header says so.
    pub pausing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ascii: false,
            color: ColorMode::Auto,
            refresh: Duration::from_millis(250),
            stall_threshold: Duration::from_millis(100),
            error_threshold: Duration::from_millis(500),
            pausing: false,
        }
    }
}

/// How the view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user quit.
    Quit,
    /// This signal (SIGTERM, SIGHUP or SIGINT) asked the program to end.
    Signal(i32),
}

/// Why the view could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input or output is not a terminal.
    #[error("the live view needs a terminal, but standard {0} is not one")]
    NotATerminal(&'static str),
    /// The terminal could not be set up, read or written.
    #[error("the terminal could not be used")]
    Terminal(#[from] std::io::Error),
    /// Another thread of the program panicked; its message is in the text.
    #[error("internal error: {0}")]
    Panicked(String),
}
