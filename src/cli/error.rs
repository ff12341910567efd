//! Why a command failed: what, why and what to do, and the exit code.

use std::io::{self, Write};

/// The exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Any other failure.
    Other = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such process, or it ended before anything was read.
    NoProcess = 3,
    /// Not a Python process.
    NotPython = 4,
    /// Permission denied.
    Permission = 5,
    /// A Python that is not supported.
    Unsupported = 6,
    /// What `--fail-on` asks for has happened.
    Policy = 7,
    /// Interrupted before anything was gathered.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A failure that the user can do something about.
    #[error("{}", .0.what)]
    Failed(Box<Failure>),
    /// The standard output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// Whoever read the output has gone: nothing is wrong.
    #[error("the output is closed")]
    ClosedPipe,
    /// Ctrl-C before there was anything to show.
    #[error("interrupted before anything was gathered")]
    Interrupted,
}

/// A failure in three lines. Text of the target in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What failed.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do: a command where there is one.
    pub advice: String,
}

impl Error {
    /// A failure in three lines.
    pub fn new(
        exit: Exit,
        what: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Failed(Box::new(Failure {
            exit,
            what: what.into(),
            why: why.into(),
            advice: advice.into(),
        }))
    }

    /// A command line that makes no sense though each of its arguments does.
    pub fn usage(
        what: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Exit::Usage, what, why, advice)
    }

    /// A failure to write the standard output.
    #[must_use]
    pub fn from_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Output(error),
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Failed(failure) => failure.exit,
            Self::Output(_) => Exit::Other,
            Self::ClosedPipe => Exit::Ok,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// The message: what, why, what to do. Empty when there is nothing to tell.
    #[must_use]
    pub fn message(&self) -> String {
        let (why, advice) = match self {
            Self::Failed(failure) => (failure.why.clone(), failure.advice.clone()),
            Self::Output(error) => (
                error.to_string(),
                "free some space or choose another place".into(),
            ),
            Self::ClosedPipe => return String::new(),
            Self::Interrupted => return format!("asyncspy: {self}\n"),
        };
        format!("asyncspy: {self}\n     why: {why}\n     try: {advice}\n")
    }

    /// Writes the message to the standard error. That it cannot be written changes nothing.
    pub fn report(&self) {
        let _ = io::stderr().write_all(self.message().as_bytes());
    }
}
