//! Targets to attach to, and asyncspy as a command.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

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
pub struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    /// Starts a command, and waits for its line that begins with `READY`.
    pub fn start(command: &mut Command) -> Self {
        let mut target = Self::spawn(command);
        target.wait_for("READY");
        target
    }

    /// Starts a command.
    pub fn spawn(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// One of tests/targets, with its arguments.
    pub fn program(python: &Python, words: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets");
        Self::start(python.command().args(words).current_dir(folder))
    }

    /// Its next line that begins with a word.
    pub fn wait_for(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "the target ended before it said {word}");
            if line.starts_with(word) {
                return line;
            }
        }
    }

    /// Gives it a line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Its process id as an argument.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

/// A Python that can be started.
#[derive(Clone, Debug)]
pub struct Python {
    /// Such as `3.12`.
    pub name: String,
    /// True for a build without the GIL.
    pub free_threaded: bool,
    argv: Vec<String>,
}

impl Python {
    /// The interpreter of this name; `None` if it is not installed.
    pub fn named(name: &str) -> Option<Self> {
        manifest().into_iter().find(|python| python.name == name)
    }

    /// An interpreter that asyncspy supports: one of the manifest, else the `python3` of PATH.
    pub fn any() -> Self {
        let wanted = ["3.12", "3.13", "3.14", "3.11", "3.10", "3.9", "3.8"];
        let found = wanted.iter().find_map(|name| Self::named(name));
        found.unwrap_or_else(|| Self {
            name: "python3".to_owned(),
            free_threaded: false,
            argv: vec!["python3".to_owned()],
        })
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]);
        command
    }

    /// The path of its program.
    pub fn path(&self) -> &str {
        &self.argv[0]
    }

    /// It, waiting for the end of its input.
    pub fn waiting(&self) -> Target {
        Target::start(self.command().args(["-c", WAIT]))
    }
}

/// What `scripts/interpreters` has found; empty when it has not run.
pub fn manifest() -> Vec<Python> {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "target/interpreters/manifest.json",
    ]
    .iter()
    .collect();
    let Ok(text) = std::fs::read(path) else {
        return Vec::new();
    };
    let entries: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    entries
        .iter()
        .map(|entry| Python {
            name: word(&entry["name"]),
            free_threaded: entry["free_threaded"] == true,
            argv: entry["argv"].as_array().unwrap().iter().map(word).collect(),
        })
        .collect()
}
