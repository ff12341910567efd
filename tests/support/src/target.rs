//! A program of `tests/targets` that runs until it is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::Outcome;
use crate::interpreters::{Interpreter, repository};
use crate::truth::Truth;

/// How long a program may take for anything. Only a broken one takes that long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running program that has said `READY`.
pub struct Target {
    /// The process that runs Python.
    pub pid: i32,
    /// What it said when it was ready.
    pub ready: Value,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    errors: Receiver<String>,
    /// The programs' folder inside a chroot, where ours cannot be seen.
    _copied: Option<TempDir>,
}

impl Target {
    /// Starts a program and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or says anything else than READY.
    pub fn start(interpreter: &Interpreter, script: &str, args: &[&str]) -> Outcome<Self> {
        Self::start_through(&[], interpreter, script, args)
    }

    /// As [`start`](Self::start), with words in front of the interpreter's own: a program that
    /// runs it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_through(
        before: &[&str],
        interpreter: &Interpreter,
        script: &str,
        args: &[&str],
    ) -> Outcome<Self> {
        let (folder, copied) = scripts_for(interpreter)?;
        let script = folder.join(script);
        let mut words = before.iter().map(ToString::to_string).collect::<Vec<_>>();
        words.extend(interpreter.argv.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(script).args(args);
        if let Some(path) = &interpreter.pythonpath {
            command.env("PYTHONPATH", path);
        }
        // What it writes beside its sources would be seen by the others that run.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Self::spawn(command, copied)
    }

    fn spawn(mut command: Command, copied: Option<TempDir>) -> Outcome<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut target = Self {
            pid: i32::try_from(child.id())?,
            ready: Value::Null,
            child,
            stdin,
            lines: lines_of(stdout),
            errors: lines_of(stderr),
            _copied: copied,
        };
        target.ready = target.wait_until_ready()?;
        Ok(target)
    }

    /// Waits for the next READY and returns what it says.
    ///
    /// # Errors
    /// When another line comes, or none.
    pub fn wait_until_ready(&mut self) -> Outcome<Value> {
        let line = self.read_line()?;
        match line.strip_prefix("READY") {
            Some(facts) if !facts.trim().is_empty() => Ok(serde_json::from_str(facts)?),
            Some(_) => Ok(Value::Null),
            None => Err(format!("not READY but: {line}{}", self.complaints()).into()),
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn send(&mut self, command: &str) -> Outcome {
        writeln!(self.stdin, "{command}")?;
        Ok(self.stdin.flush()?)
    }

    /// Sends a command and returns the line that answers it.
    ///
    /// # Errors
    /// When the program has ended or takes too long.
    pub fn ask(&mut self, command: &str) -> Outcome<String> {
        self.send(command)?;
        self.read_line()
    }

    /// What the program says of itself now.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and when its answer cannot be understood.
    pub fn truth(&mut self) -> Outcome<Truth> {
        Ok(serde_json::from_str(&self.ask("truth")?)?)
    }

    /// Makes the first loop stall; returns once it does.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn stall(&mut self, command: &str) -> Outcome {
        match self.ask(command)?.as_str() {
            "STALLED" => Ok(()),
            other => Err(format!("not STALLED but: {other}").into()),
        }
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// When none comes.
    pub fn read_line(&mut self) -> Outcome<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no line within {PATIENCE:?}{}", self.complaints()).into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = self.child.wait();
                Err(format!("it has ended{}", self.complaints()).into())
            }
        }
    }

    /// Sends a signal to the process that runs Python.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }

    /// Stops the process and waits until all of its threads stand still: its state in `/proc` is
    /// that of its first thread, which may stand while others still run.
    ///
    /// # Errors
    /// When there is no such process any more, or it is not a child of ours.
    pub fn stop(&self) -> Outcome {
        self.signal(Signal::SIGSTOP)?;
        let child = || Id::Pid(Pid::from_raw(self.pid));
        let either = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        match waitid(child(), either)? {
            WaitStatus::Stopped(..) => waitid(child(), WaitPidFlag::WSTOPPED)?,
            other => return Err(format!("not stopped but: {other:?}").into()),
        };
        Ok(())
    }

    /// Lets a stopped process go on.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn go_on(&self) -> Outcome {
        self.signal(Signal::SIGCONT)
    }

    /// Ends it and waits until it is gone.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it has written to stderr so far.
    fn complaints(&self) -> String {
        let pause = Duration::from_millis(200);
        let mut text = String::new();
        while let Ok(line) = self.errors.recv_timeout(pause) {
            text.push_str("\n    ");
            text.push_str(&line);
        }
        text
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

/// The lines of a stream, as they come.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The folder of the programs as the interpreter sees it.
fn scripts_for(interpreter: &Interpreter) -> Outcome<(PathBuf, Option<TempDir>)> {
    let sources = repository().join("tests/targets");
    let Some(root) = &interpreter.chroot else {
        return Ok((sources, None));
    };
    let copied = tempfile::Builder::new()
        .prefix("asyncspy-targets-")
        .tempdir_in(root.join("tmp"))?;
    copy_scripts(&sources, copied.path())?;
    let inside = Path::new("/").join(copied.path().strip_prefix(root)?);
    Ok((inside, Some(copied)))
}

fn copy_scripts(from: &Path, to: &Path) -> Outcome {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "py")
            && let Some(name) = path.file_name()
        {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
