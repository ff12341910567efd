//! Arguments that several commands share.

use std::ffi::OsString;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use super::error::Error;
use crate::sink::style::ColorChoice;

/// The running process that a command looks at.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct PidArgs {
    /// Process id, decimal or 0x…
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pid: Option<i32>,
    /// Process id, as an option
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = parse_pid)]
    #[arg(env = "ASYNCSPY_PID", hide_env = true)]
    pid_option: Option<i32>,
}

impl PidArgs {
    /// The process id.
    ///
    /// # Errors
    /// A usage error if two different ones were given, or none.
    pub fn pid(&self) -> Result<i32, Error> {
        choose_pid(self.pid, self.pid_option)?.ok_or_else(|| {
            Error::usage(
                "no process is named",
                "there is neither PID nor --pid",
                "asyncspy ps 4242",
            )
        })
    }
}

/// A running process, or a program to start and look at.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct TargetArgs {
    /// Process id, decimal or 0x…
    #[arg(value_name = "PID", value_parser = parse_pid)]
    #[arg(conflicts_with = "program")]
    pid: Option<i32>,
    /// Process id, as an option
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = parse_pid)]
    #[arg(env = "ASYNCSPY_PID", hide_env = true)]
    pid_option: Option<i32>,
    /// Program to start and look at, with its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// As [`TargetArgs`], but none may be named: then the user chooses.
#[derive(Args, Clone, Debug)]
pub struct OptionalTargetArgs {
    /// Process id, decimal or 0x…; without one, choose from a list
    #[arg(value_name = "PID", value_parser = parse_pid)]
    #[arg(conflicts_with = "program")]
    pid: Option<i32>,
    /// Process id, as an option
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = parse_pid)]
    #[arg(env = "ASYNCSPY_PID", hide_env = true)]
    pid_option: Option<i32>,
    /// Program to start and look at, with its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl OptionalTargetArgs {
    /// What to look at; `None` when nothing is named.
    ///
    /// # Errors
    /// A usage error if both a process and a program were given.
    pub fn target(&self) -> Result<Option<Target>, Error> {
        if self.pid.is_none() && self.pid_option.is_none() && self.program.is_empty() {
            return Ok(None);
        }
        let named = TargetArgs {
            pid: self.pid,
            pid_option: self.pid_option,
            program: self.program.clone(),
        };
        named.target().map(Some)
    }
}

/// What a command looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process that runs already.
    Running(i32),
    /// A program to start: its words, at least one.
    Start(Vec<OsString>),
}

impl TargetArgs {
    /// What to look at. A program on the command line wins over a pid of the environment.
    ///
    /// # Errors
    /// A usage error if both or neither were given.
    pub fn target(&self) -> Result<Target, Error> {
        let from_environment = self.pid_option.is_none() || self.pid_option == environment_pid();
        if !self.program.is_empty() && self.pid.is_none() && from_environment {
            return Ok(Target::Start(self.program.clone()));
        }
        match choose_pid(self.pid, self.pid_option)? {
            Some(pid) if self.program.is_empty() => Ok(Target::Running(pid)),
            _ => Err(Error::usage(
                "one process is needed",
                "either a process id or a program to start must be given, not both",
                "asyncspy --help",
            )),
        }
    }
}

/// The positional pid wins over that of the environment; two of the command line must agree.
fn choose_pid(positional: Option<i32>, option: Option<i32>) -> Result<Option<i32>, Error> {
    match (positional, option) {
        (Some(one), Some(other)) if one != other && option != environment_pid() => {
            Err(Error::usage(
                "one process at a time",
                format!("both {one} and {other} were given"),
                format!("asyncspy ps {one}"),
            ))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn environment_pid() -> Option<i32> {
    parse_pid(&std::env::var("ASYNCSPY_PID").ok()?).ok()
}

/// A process id in decimal, or in hexadecimal behind `0x`.
pub(super) fn parse_pid(text: &str) -> Result<i32, String> {
    let text = text.trim();
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let pid = match hexadecimal {
        Some(digits) => i32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match pid {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("a process id is a positive number, such as 4242 or 0x1092".to_owned()),
    }
}

/// How outputs look.
#[derive(Args, Clone, Debug)]
pub struct LookArgs {
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(display_order = 900)]
    #[arg(env = "ASYNCSPY_COLOR", hide_env = true)]
    pub color: ColorWhen,
    /// Draw lines and arrows with ASCII alone
    #[arg(long, global = true, value_parser = FalseyValueParser::new())]
    #[arg(display_order = 901)]
    #[arg(env = "ASYNCSPY_ASCII", hide_env = true)]
    pub ascii: bool,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal that wants it
    #[default]
    Auto,
    /// Even into a pipe or a file
    Always,
    /// Never
    Never,
}

impl From<ColorWhen> for ColorChoice {
    fn from(when: ColorWhen) -> Self {
        match when {
            ColorWhen::Auto => Self::Auto,
            ColorWhen::Always => Self::Always,
            ColorWhen::Never => Self::Never,
        }
    }
}

/// The form for scripts.
#[derive(Args, Clone, Copy, Debug)]
pub struct JsonArgs {
    /// Write JSON, as one line
    #[arg(long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_JSON", hide_env = true)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Probe {
        #[command(flatten)]
        target: TargetArgs,
    }

    fn target(line: &str) -> Option<Target> {
        let words = std::iter::once("probe").chain(line.split_whitespace());
        Probe::try_parse_from(words).ok()?.target.target().ok()
    }

    #[test]
    fn a_target_is_one_process_or_one_program() {
        let start = |words: &[&str]| Target::Start(words.iter().map(OsString::from).collect());
        let cases = [
            ("4242", Some(Target::Running(4242))),
            ("0x1092", Some(Target::Running(4242))),
            ("-p 4242", Some(Target::Running(4242))),
            ("--pid=0X1092", Some(Target::Running(4242))),
            ("-p 7 7", Some(Target::Running(7))),
            (
                "-- python3 -m app -p 1",
                Some(start(&["python3", "-m", "app", "-p", "1"])),
            ),
            ("7 -- python3", None),
            ("-p 7 -- python3", None),
            ("-p 7 8", None),
            ("", None),
            ("--", None),
            ("0", None),
            ("-p -1", None),
            ("0x", None),
            ("python3", None),
        ];
        for (line, expected) in cases {
            assert_eq!(target(line), expected, "{line}");
        }
    }
}
