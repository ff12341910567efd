//! `demo`: a service that misbehaves on purpose, and asyncspy on it: the live view where there is
//! a terminal, else what `dump` and `ps` print.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tempfile::TempDir;

use super::attach::Attached;
use super::common::{LookArgs, Target};
use super::error::{Error, Exit};
use super::interrupt::Interrupt;
use super::output::{Screen, note, print};
use super::sampling::{SamplingArgs, ThresholdArgs};
use super::top;
use crate::aio::snapshot::SnapshotOptions;
use crate::sink::escape::escape;
use crate::sink::task_table::{TaskTableOptions, write_task_table};
use crate::sink::thread_dump::{ThreadDumpOptions, write_thread_dump};

/// The service. It says `READY pid` when its troubles have begun.
const SERVICE: &str = include_str!("demo.py");

/// How long it may take to get ready: it needs two seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often Ctrl-C is looked for meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// Arguments of `demo`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::DEMO)]
pub struct DemoArgs {
    /// The Python to run the service with, 3.8 or later
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    #[arg(env = "ASYNCSPY_PYTHON", hide_env = true)]
    python: OsString,
}

pub(super) fn run(args: &DemoArgs, look: &LookArgs) -> Result<(), Error> {
    let interrupt = Interrupt::listen().map_err(|error| cannot_start(args, &error.to_string()))?;
    note("starting a service with five mistakes, and waiting for them to show");
    let service = Service::start(args, &interrupt)?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        open_view(service.pid, look)
    } else {
        show(service.pid, look)
    }
}

/// Opens the live view on the service.
fn open_view(pid: i32, look: &LookArgs) -> Result<(), Error> {
    let thresholds = ThresholdArgs::default();
    let options = top::view_options(look, top::DELAY_S, thresholds);
    let target = Target::Running(pid);
    top::open(&target, SamplingArgs::default(), thresholds, &options)
}

/// Prints what the service does now.
fn show(pid: i32, look: &LookArgs) -> Result<(), Error> {
    let mut attached = Attached::open(pid)?;
    let snapshot = attached.snapshot(SnapshotOptions::default())?;
    let Screen { style, width } = Screen::of_stdout(look);
    let dump = ThreadDumpOptions {
        command: attached.command().to_owned(),
        width,
        style,
    };
    let table = TaskTableOptions {
        command: attached.command().to_owned(),
        all: false,
        sort: None,
        filter: None,
        width,
        style,
    };
    print(|out| {
        writeln!(out, "$ asyncspy dump {pid}")?;
        write_thread_dump(out, &snapshot, &dump)?;
        writeln!(out, "\n$ asyncspy ps {pid}")?;
        write_task_table(out, &snapshot, &table)
    })
}

/// The running service; ends with this value. It also ends when its standard input is closed, so
/// that it does not outlive asyncspy even when that is killed.
#[derive(Debug)]
struct Service {
    child: Child,
    /// What it calls itself: not the child's when a wrapper such as a version manager's runs it.
    pid: i32,
    /// Holds its source, which a reader of the output may want to see.
    _folder: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wrapped or not, what reads the standard input ends with this.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(args: &DemoArgs, interrupt: &Interrupt) -> Result<Self, Error> {
        let failed = |error: io::Error| cannot_start(args, &error.to_string());
        let folder = tempfile::Builder::new()
            .prefix("asyncspy-")
            .tempdir()
            .map_err(failed)?;
        let source = folder.path().join("demo.py");
        fs::write(&source, SERVICE).map_err(failed)?;
        let complaints = folder.path().join("stderr");
        let child = spawn(&args.python, &source, &complaints).map_err(|error| {
            let program = escape(&args.python.to_string_lossy()).into_owned();
            match error.kind() {
                io::ErrorKind::NotFound => {
                    cannot_start(args, &format!("there is no {program} in PATH"))
                }
                _ => cannot_start(args, &format!("{program}: {error}")),
            }
        })?;
        let mut service = Self {
            child,
            pid: 0,
            _folder: folder,
        };
        let lines = service.child.stdout.take().map(read_lines);
        match lines.and_then(|lines| wait_until_ready(&lines, interrupt).transpose()) {
            Some(pid) => service.pid = pid?,
            None => {
                let status = service.end();
                return Err(cannot_start(args, &last_words(status, &complaints)));
            }
        }
        Ok(service)
    }

    fn end(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        status.or_else(|| self.child.wait().ok())
    }
}

fn spawn(python: &OsString, source: &Path, complaints: &Path) -> io::Result<Child> {
    Command::new(python)
        .arg(source)
        .arg("--until-eof")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(complaints)?)
        // Ctrl-C is for asyncspy, which then ends the service.
        .process_group(0)
        .spawn()
}

/// Reads lines in a thread of its own, which ends with the pipe.
fn read_lines(out: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The pid that the service tells; `None` if it ends without, or takes too long.
fn wait_until_ready(lines: &Receiver<String>, interrupt: &Interrupt) -> Result<Option<i32>, Error> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        interrupt.check()?;
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                let pid = line.strip_prefix("READY ").and_then(|pid| pid.parse().ok());
                if pid.is_some() {
                    return Ok(pid);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

/// Why it ended: the last line of its traceback.
fn last_words(status: Option<ExitStatus>, complaints: &Path) -> String {
    let text = fs::read(complaints).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    match (line, status) {
        (Some(line), _) => format!("it says: {}", escape(line.trim())),
        (None, Some(status)) => format!("it ended, {status}"),
        (None, None) => "it does not get ready".to_owned(),
    }
}

fn cannot_start(args: &DemoArgs, why: &str) -> Error {
    Error::new(
        Exit::Other,
        format!(
            "cannot start the demo service with {}",
            escape(&args.python.to_string_lossy())
        ),
        why,
        "asyncspy demo --python /path/to/python3, 3.8 or later",
    )
}
