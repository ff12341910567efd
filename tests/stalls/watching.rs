//! `asyncspy watch --json` as a process that runs beside its target.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use asyncspy::sampler::in_kernel::try_out;
use asyncspy_test_support::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;

/// The program under test: the one of this build, or another that `BINARY_UNDER_TEST` names, such
/// as an optimised one that is to be shipped.
pub fn binary() -> OsString {
    other_binary().unwrap_or_else(|| env!("CARGO_BIN_EXE_asyncspy").into())
}

fn other_binary() -> Option<OsString> {
    std::env::var_os("BINARY_UNDER_TEST")
}

/// True if the program under test is not the one of this build.
pub fn is_other_binary() -> bool {
    other_binary().is_some()
}

/// Who takes the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// asyncspy, from outside.
    Outside,
    /// The kernel, in the target's own thread.
    InKernel,
}

impl Taken {
    /// Both ways, each with how the name of its tests goes on.
    pub const WAYS: [(Self, &str); 2] = [(Self::Outside, ""), (Self::InKernel, "::in_kernel")];

    /// Why this cannot be done here; `None` if it can.
    pub fn refusal(self) -> Option<String> {
        let refused = || try_out(nix::unistd::gettid().as_raw()).err();
        let reason = (self == Self::InKernel).then(refused).flatten();
        reason.map(|error| format!("no samples in the kernel: {error}"))
    }

    /// These options of `watch`, and those that ask for it.
    pub fn options<'a>(self, options: &[&'a str]) -> Vec<&'a str> {
        let flag = match self {
            Self::Outside => None,
            Self::InKernel => Some("--in-kernel"),
        };
        options.iter().copied().chain(flag).collect()
    }
}

/// A place in code, as `watch --json` writes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// A stall, as `watch --json` writes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Stall {
    pub task: Option<String>,
    pub name: String,
    pub began_monotonic_ns: u64,
    pub duration_ns: u64,
    pub uncertainty_ns: u64,
    pub ongoing: bool,
    pub cause: String,
    pub culprit: Option<Place>,
    pub stack: Vec<Place>,
    pub coroutine_stack: Vec<Place>,
    pub samples: u64,
}

impl Stall {
    /// It in a line, for a person.
    pub fn brief(&self) -> String {
        let places = self.stack.iter().chain(&self.coroutine_stack);
        let places: Vec<_> = places.map(|place| (&place.function, place.line)).collect();
        format!(
            "{} {:?} from {} for {} +- {} ns, {} samples, {}, in {places:?}",
            self.name,
            self.task,
            self.began_monotonic_ns,
            self.duration_ns,
            self.uncertainty_ns,
            self.samples,
            self.cause,
        )
    }

    /// When it ended.
    pub const fn ended_ns(&self) -> u64 {
        self.began_monotonic_ns + self.duration_ns
    }

    /// For how long it and a time from `began` to `ended` overlap.
    pub fn overlap_ns(&self, began: u64, ended: u64) -> u64 {
        self.ended_ns()
            .min(ended)
            .saturating_sub(self.began_monotonic_ns.max(began))
    }
}

/// What `watch` has told when it ended.
#[derive(Debug)]
pub struct Told {
    /// The stalls that were over.
    pub stalls: Vec<Stall>,
    /// The last line.
    pub end: Value,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to stderr.
    pub complaints: String,
}

impl Told {
    /// A counter of the sampler's quality.
    pub fn quality(&self, counter: &str) -> u64 {
        self.end["quality"][counter].as_u64().unwrap_or(0)
    }
}

/// `watch` while it runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Watching {
    child: Child,
    /// Takes what it says at once: a full pipe would hold it up.
    said: Option<JoinHandle<io::Result<Vec<String>>>>,
    /// The time between two samples.
    pub interval_ns: u64,
}

impl Watching {
    /// Starts it, and waits until it has attached.
    ///
    /// # Errors
    /// When it says anything but that a session has begun.
    pub fn start(pid: i32, options: &[&str]) -> Outcome<Self> {
        let mut child = Command::new(binary())
            .args(["watch", "--json", &pid.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut watching = Self {
            child,
            said: None,
            interval_ns: 0,
        };
        let mut line = String::new();
        lines.read_line(&mut line)?;
        watching.said = Some(thread::spawn(|| lines.lines().collect()));
        let start: Value = serde_json::from_str(&line)?;
        if start["event"] != "session_start" {
            return Err(format!("no session but: {line}").into());
        }
        watching.interval_ns = start["interval_ns"].as_u64().ok_or("no interval")?;
        Ok(watching)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Outcome {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(kill(pid, signal)?)
    }

    /// Ends it with Ctrl-C.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn interrupt(self) -> Outcome<Told> {
        self.signal(Signal::SIGINT)?;
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When a line is not what the contract says.
    pub fn finish(mut self) -> Outcome<Told> {
        let mut told = Told {
            stalls: Vec::new(),
            end: Value::Null,
            code: None,
            complaints: String::new(),
        };
        let said = self.said.take().ok_or("it said nothing")?.join();
        for line in said.map_err(|_| "the reader panicked")?? {
            let event: Value = serde_json::from_str(&line)?;
            match event["event"].as_str() {
                Some("stall") => told.stalls.push(serde_json::from_value(event)?),
                Some("session_end") => told.end = event,
                _ => {}
            }
        }
        told.stalls.retain(|stall| !stall.ongoing);
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut told.complaints)?;
        }
        told.code = self.child.wait()?.code();
        Ok(told)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
