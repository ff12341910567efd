//! Targets to attach to, and asyncspy as a command.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use asyncspy_test_support::{Interpreter, Target, interpreters};

/// Keeps a Python of any version waiting for the end of its input.
pub const WAIT: &str =
    "import sys\nsys.stdout.write('READY\\n')\nsys.stdout.flush()\nsys.stdin.read()";

/// The program under test, in an environment that says nothing about looks.
pub fn asyncspy(arguments: &[&str]) -> Command {
    prepared(Command::new(env!("CARGO_BIN_EXE_asyncspy")), arguments)
}

/// A command whose arguments and environment are those of [`asyncspy`].
pub fn prepared(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ASYNCSPY_") {
            command.env_remove(name);
        }
    }
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm");
    command
}

/// Runs asyncspy to its end.
pub fn run(arguments: &[&str]) -> Finished {
    Finished::from(asyncspy(arguments).output().unwrap())
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The standard output.
    pub out: String,
    /// The standard error.
    pub err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Checks that it failed in three lines with this code, and gives them.
    pub fn failed_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "a failure writes no result");
        let lines: Vec<&str> = self.err.lines().collect();
        assert_eq!(lines.len(), 3, "{}", self.err);
        let starts = ["asyncspy: ", "     why: ", "     try: "];
        for (line, start) in lines.iter().zip(starts) {
            assert!(
                line.starts_with(start) && line.len() > start.len(),
                "{}",
                self.err
            );
            assert!(!line.ends_with('.'), "{}", self.err);
        }
        self.err
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    // Closed with this value: what is left alive by a wrapper ends then.
    _input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a command, and waits for its line that begins with `READY`.
    pub fn start(command: &mut Command) -> Self {
        let mut process = Self::spawn(command);
        let mut line = String::new();
        while !line.starts_with("READY") {
            line.clear();
            let length = process.output.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended before it was ready");
        }
        process
    }

    /// Starts a command.
    pub fn spawn(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        Self {
            _input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Its process id, as an argument.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

/// An interpreter that asyncspy supports.
pub fn python() -> Interpreter {
    let mut found = interpreters::load().unwrap().into_iter();
    let plain = |each: &Interpreter| each.is_supported() && each.chroot.is_none() && !each.debug;
    found
        .find(|each| plain(each) && each.is_at_least(12))
        .unwrap()
}

/// The command that starts an interpreter.
pub fn command(python: &Interpreter) -> Command {
    let mut command = Command::new(&python.argv[0]);
    command.args(&python.argv[1..]);
    command
}

/// An interpreter that waits for the end of its input.
pub fn waiting(python: &Interpreter) -> Process {
    Process::start(command(python).args(["-c", WAIT]))
}

/// One of tests/targets.
pub fn target(script: &str, arguments: &[&str]) -> Target {
    Target::start(&python(), script, arguments).unwrap()
}
