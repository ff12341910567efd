//! The texts of `--help` and `--version` that belong to no single argument.

/// What `--version` prints behind the name.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (reads CPython 3.8 to 3.15, builds with the GIL)"
);

/// Which Pythons can be read. The range is that of the tables in [`layout`](crate::layout); a
/// test compares them.
pub const SUPPORTED: &str = "CPython 3.8 to 3.15, builds with the GIL";

/// The first line of the help.
pub const ABOUT: &str = "Tells from outside why a Python asyncio event loop does not answer";

/// What each command does, as the list of commands and its own help say.
pub mod commands {
    /// `top`.
    pub const TOP: &str = "Live view: is the loop blocked, by what, and who suffers";
    /// `ps`.
    pub const PS: &str = "List the tasks of each loop: state, what each waits for, where";
    /// `pstree`.
    pub const PSTREE: &str = "Draw who awaits whom as a tree; name cycles as deadlocks";
    /// `dump`.
    pub const DUMP: &str = "Print every thread's stack, and what holds each loop now";
    /// `watch`.
    pub const WATCH: &str =
        "Print a line for each stall as it happens: how long, which task, which line";
    /// `record`.
    pub const RECORD: &str = "Record where the loops' time goes, as a flame graph";
    /// `demo`.
    pub const DEMO: &str = "Start a service that misbehaves on purpose, and look at it";
}

/// The first lines of the long help.
pub const LONG_ABOUT: &str = "\
Tells from outside why a Python asyncio event loop does not answer.

Attaches to a running CPython (3.8 to 3.15) by its process id and reads its memory: it is not \
paused, nothing is written to it and no code runs in it. Shows what holds each loop now, what \
every task waits for, and who waits for whom.";

/// The end of the short help.
pub const AFTER_HELP: &str = "`asyncspy --help` tells more: examples, environment, exit codes.";

/// The end of the long help.
pub const AFTER_LONG_HELP: &str = "\
Examples:
  asyncspy ps 4242                   every task: state, what it waits for, where
  asyncspy ps 4242 --filter 'db|sql' only tasks whose name, place or wait it finds
  asyncspy pstree -p 4242            who awaits whom; a cycle is named as the deadlock it is
  asyncspy dump 4242 --locals        every thread's stack, and what holds its loop
  asyncspy ps 4242 --json | jq .     the same for scripts
  asyncspy demo                      see it at work, nothing else needed but a python3

Environment:
  Every option can be set as ASYNCSPY_ and its long name: ASYNCSPY_PID=4242,
  ASYNCSPY_COLOR=never, ASYNCSPY_ALL=1. The command line wins.
  NO_COLOR, CLICOLOR_FORCE and TERM=dumb count as usual; COLUMNS sets the width when the output
  is no terminal (120 otherwise).

Exit codes:
    0  ok; also when the reader of the output has closed it (| head)
    1  any other failure
    2  usage: the command line makes no sense
    3  no such process, or it ended before anything was read
    4  not a Python process
    5  permission denied
    6  a Python that is not supported (2.7, 3.7 and older, PyPy, ...)
    7  policy: what --fail-on asks for has happened
  130  interrupted before anything was gathered";

#[cfg(test)]
mod tests {
    use super::super::Exit;
    use super::*;
    use crate::layout::{Layout, PythonVersion, tables::NEWEST_TESTED_MINOR};

    #[test]
    fn the_supported_range_is_that_of_the_layouts() {
        let has_layout = |minor| Layout::from_version(PythonVersion::new(3, minor, 0)).is_ok();
        let oldest = (0..NEWEST_TESTED_MINOR).find(|minor| has_layout(*minor));
        let range = format!("CPython 3.{} to 3.{NEWEST_TESTED_MINOR}", oldest.unwrap());
        assert!(SUPPORTED.starts_with(&range), "{range}");
        assert!(VERSION.contains(&range), "{range}");
    }

    #[test]
    fn every_exit_code_is_documented() {
        let codes = [
            Exit::Ok,
            Exit::Other,
            Exit::Usage,
            Exit::NoProcess,
            Exit::NotPython,
            Exit::Permission,
            Exit::Unsupported,
            Exit::Policy,
            Exit::Interrupted,
        ];
        for exit in codes {
            let line = format!("\n  {:>3}  ", exit.code());
            assert!(AFTER_LONG_HELP.contains(&line), "{exit:?}");
        }
    }
}
