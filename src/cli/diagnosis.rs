//! Why a process cannot be read, and what to do about it.

use std::fs;

use super::error::{Error, Exit};
use super::help::SUPPORTED;
use super::{invocation, permission};
use crate::python::attach::AttachError;
use crate::sink::escape::{escape, escape_to};
use crate::target::maps::read_mappings;
use crate::target::memory::MemoryError;
use crate::target::proc_file;
use crate::target::process::ProcessError;

/// Child processes that are looked at, and named, at most.
const MAX_CHILDREN: usize = 4096;
const MAX_NAMED: usize = 5;

/// Columns of a command line in a message.
const COMMAND_COLUMNS: usize = 60;

/// What to tell when a process could not be attached to.
#[must_use]
pub fn of_attach(pid: i32, error: &AttachError) -> Error {
    match error {
        AttachError::Process(error) => of_process(pid, *error),
        AttachError::Denied(_) => denied(pid),
        AttachError::NotPython { exe, .. } => not_python(pid, exe),
        AttachError::Unsupported { what, .. } => unsupported(pid, what),
        AttachError::Unreadable { why, .. } => Error::new(
            Exit::Other,
            format!("cannot find the interpreter's state in process {pid}"),
            format!(
                "it is starting or ending, or is an unusual build: {}",
                escape(why)
            ),
            format!("{}, once more in a moment", invocation::for_pid(pid, pid)),
        ),
    }
}

/// What to tell when a process that was attached to cannot be read.
#[must_use]
pub fn of_read(pid: i32, error: MemoryError) -> Error {
    match error {
        MemoryError::Gone => ended(pid),
        MemoryError::Denied => denied(pid),
        error => Error::new(
            Exit::Other,
            format!("cannot read process {pid}"),
            error.to_string(),
            format!("{}, once more in a moment", invocation::for_pid(pid, pid)),
        ),
    }
}

/// What to tell when the process has ended under the read.
#[must_use]
pub fn ended(pid: i32) -> Error {
    Error::new(
        Exit::NoProcess,
        format!("process {pid} ended while it was being read"),
        "nothing of it is left to be shown",
        "pgrep -af python, which lists the Python processes that run now",
    )
}

fn of_process(pid: i32, error: ProcessError) -> Error {
    match error {
        ProcessError::NoSuchProcess(_) => Error::new(
            Exit::NoProcess,
            format!("there is no process {pid}"),
            "it has ended, or the number belongs to another container (pid namespace)",
            "pgrep -af python, which lists the Python processes that run now",
        ),
        ProcessError::Zombie(_) => Error::new(
            Exit::NoProcess,
            format!("process {pid} has ended"),
            format!("it is a zombie: {} has not collected it yet", parent(pid)),
            "pgrep -af python, which lists the Python processes that run now",
        ),
        ProcessError::KernelThread(_) => Error::new(
            Exit::NotPython,
            format!("process {pid} is not a Python process"),
            format!("it is a thread of the kernel{}", in_brackets(&comm(pid))),
            "pgrep -af python, which lists the Python processes that run now",
        ),
        ProcessError::Denied(_) => denied(pid),
    }
}

fn denied(pid: i32) -> Error {
    let permission::Reason { why, advice } = permission::reason(pid);
    let what = format!("permission to read process {pid} is denied");
    Error::new(Exit::Permission, what, why, advice)
}

fn not_python(pid: i32, exe: &str) -> Error {
    let what = format!("process {pid} is not a Python process");
    let children = python_children(pid);
    let exe = escape(exe);
    match children.first() {
        Some((child, _)) => Error::new(
            Exit::NotPython,
            what,
            format!(
                "it runs {exe}, but Python runs below it: {}",
                list(&children)
            ),
            invocation::for_pid(pid, *child),
        ),
        None => Error::new(
            Exit::NotPython,
            what,
            format!("it runs {exe}, which holds no CPython"),
            "pgrep -af python, which lists the Python processes that run now",
        ),
    }
}

fn unsupported(pid: i32, what: &str) -> Error {
    let old = what.starts_with("Python ");
    let advice = if old {
        format!("py-spy dump --pid {pid}, which reads some older versions")
    } else {
        format!("run the service on {SUPPORTED}")
    };
    Error::new(
        Exit::Unsupported,
        format!(
            "process {pid} runs {}, which is not supported",
            escape(what)
        ),
        format!("asyncspy reads {SUPPORTED}"),
        advice,
    )
}

/// What to look at instead of a process that runs no loop: its Python children, if any.
#[must_use]
pub fn python_children_hint(pid: i32) -> Option<String> {
    let children = python_children(pid);
    let (child, _) = children.first()?;
    let command = invocation::for_pid(pid, *child);
    Some(format!(
        "processes below it run Python too: {}; try: {command}",
        list(&children)
    ))
}

/// The processes below this one that run Python, with their command lines, unescaped.
fn python_children(pid: i32) -> Vec<(i32, String)> {
    let Ok(process) = remoteprocess::Process::new(pid) else {
        return Vec::new();
    };
    let mut pids: Vec<i32> = process
        .child_processes()
        .unwrap_or_default()
        .into_iter()
        .take(MAX_CHILDREN)
        .map(|(child, _)| child)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter()
        .filter(|child| runs_python(*child))
        .map(|child| (child, command_line(child)))
        .collect()
}

/// Judged by the names of its files, or by its command line when they may not be seen.
fn runs_python(pid: i32) -> bool {
    let is_python = |name: &str| name.starts_with("python") || name.starts_with("libpython");
    let base = |path: &str| path.rsplit('/').next().is_some_and(is_python);
    match read_mappings(pid) {
        Ok(mappings) => mappings
            .iter()
            .any(|mapping| base(&mapping.path.to_string_lossy())),
        Err(_) => command_line(pid).split(' ').next().is_some_and(base),
    }
}

/// `4243 (python app.py), 4244 (…)`, escaped.
fn list(children: &[(i32, String)]) -> String {
    let name = |(pid, command): &(i32, String)| {
        format!("{pid}{}", in_brackets(&escape_to(command, COMMAND_COLUMNS)))
    };
    let mut names: Vec<String> = children.iter().take(MAX_NAMED).map(name).collect();
    if children.len() > MAX_NAMED {
        names.push(format!("{} more", children.len() - MAX_NAMED));
    }
    names.join(", ")
}

fn in_brackets(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" ({text})"),
    }
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// The kernel's name of a process, escaped.
fn comm(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    escape(String::from_utf8_lossy(&bytes).trim_end()).into_owned()
}

fn parent(pid: i32) -> String {
    match proc_file::status_number(pid, "PPid:") {
        Some(parent) => format!("its parent {parent}{}", in_brackets(&comm(parent))),
        None => "its parent".to_owned(),
    }
}
