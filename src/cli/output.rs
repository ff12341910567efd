//! The standard output: what it looks like, how wide it is, and what a closed pipe means.

use std::io::{self, BufWriter, IsTerminal, Write};

use terminal_size::{Width, terminal_size_of};

use super::common::LookArgs;
use super::error::Error;
use crate::sink::style::{ColorChoice, Style, TerminalFacts};

/// Columns of an output that is no terminal, when `COLUMNS` does not say.
const PIPE_COLUMNS: usize = 120;

/// Look and width of the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Colours and signs.
    pub style: Style,
    /// Columns.
    pub width: usize,
}

impl Screen {
    /// What suits the standard output.
    #[must_use]
    pub fn of_stdout(look: &LookArgs) -> Self {
        let variable = |name| std::env::var(name).ok();
        let (no_color, force) = (variable("NO_COLOR"), variable("CLICOLOR_FORCE"));
        let term = variable("TERM");
        let facts = TerminalFacts {
            is_terminal: io::stdout().is_terminal(),
            no_color: no_color.as_deref(),
            clicolor_force: force.as_deref(),
            term: term.as_deref(),
        };
        let terminal = terminal_size_of(io::stdout()).map(|(Width(columns), _)| columns);
        Self {
            style: Style {
                color: ColorChoice::from(look.color).decide(&facts),
                ascii: look.ascii,
            },
            width: width(terminal, variable("COLUMNS").as_deref()),
        }
    }
}

/// The terminal knows its width best; some say 0 when they do not.
fn width(terminal: Option<u16>, columns: Option<&str>) -> usize {
    terminal
        .map(usize::from)
        .or_else(|| columns?.trim().parse().ok())
        .filter(|columns| *columns > 0)
        .unwrap_or(PIPE_COLUMNS)
}

/// Writes to the standard output, in large pieces.
///
/// # Errors
/// [`Error::ClosedPipe`] if nobody reads it any more, [`Error::Output`] for any other failure.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    written.map_err(Error::from_output)
}

/// Writes a remark to the standard error. That it cannot be written is no failure.
pub fn note(text: &str) {
    let line = format!("asyncspy: {text}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_comes_from_the_terminal_then_columns_then_a_default() {
        let cases = [
            (Some(80), Some("200"), 80),
            (None, Some("200"), 200),
            (None, Some(" 60 "), 60),
            (None, Some("wide"), PIPE_COLUMNS),
            (None, Some("0"), PIPE_COLUMNS),
            (Some(0), None, PIPE_COLUMNS),
            (None, None, PIPE_COLUMNS),
        ];
        for (terminal, columns, expected) in cases {
            assert_eq!(
                width(terminal, columns),
                expected,
                "{terminal:?} {columns:?}"
            );
        }
    }
}
