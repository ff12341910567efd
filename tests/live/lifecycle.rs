//! Processes that fork, execute another program, end, are stopped, or lose their file.

use std::path::Path;
use std::time::{Duration, Instant};

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy::target::MemoryError;
use asyncspy_model::{TaskState, ThreadInfo};
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::programs::copy_program;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use nix::unistd::{AccessFlags, access};
use serde::Deserialize;

use crate::catalogue::{look_at, one_per_minor, trial, trial_unless};

/// How often a program ends or replaces itself under a reader, unless ASYNCSPY_TEST_LIVES says
/// otherwise.
const LIVES: usize = 20;

/// A read that takes this long hangs.
const TOO_LONG: Duration = Duration::from_secs(20);

/// One interpreter of each minor version with each event.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    type Test = fn(&Interpreter) -> Outcome;
    let tests: [(&str, Test); 5] = [
        ("forked", forked),
        ("exec", executes),
        ("exec_stale", executes_under_a_handle),
        ("exit", ends),
        ("stopped", stopped),
    ];
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        for (name, test) in tests {
            let each = interpreter.clone();
            trials.push(trial(format!("{name}::{}", each.name), move || test(&each)));
        }
        let reason = obstacle_to_copies(interpreter);
        let each = interpreter.clone();
        let name = format!("deleted::{}", each.name);
        trials.push(trial_unless(reason, name, move || deleted(&each)));
    }
    trials
}

fn lives() -> usize {
    let wanted = std::env::var("ASYNCSPY_TEST_LIVES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(LIVES)
}

/// What asyncio in a forked child still knows of the parent's tasks.
#[derive(Deserialize)]
struct Known {
    tasks: Vec<String>,
    running: bool,
}

/// A child shows the tasks that its own asyncio knows, and a loop that nobody runs.
fn forked(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "forked.py", &[])?;
    let child = target.ready["pid"].as_i64().ok_or("no pid")?;
    target.pid = i32::try_from(child)?;
    let snapshot = look_at(target.pid)?;
    let known: Known = serde_json::from_str(&target.ask("known")?)?;
    let mut names: Vec<&str> = snapshot.tasks.iter().map(|task| &*task.name).collect();
    names.sort_unstable();
    if !snapshot.complete || names != known.tasks {
        return Err(format!("{:?}: {names:?}, not {:?}", snapshot.faults, known.tasks).into());
    }
    if snapshot.loops.iter().any(|info| info.tid.is_some()) != known.running {
        return Err(format!("running: {}, {:?}", known.running, snapshot.loops).into());
    }
    let fork = snapshot.tasks.iter().find(|task| &*task.name == "fork");
    if fork.is_some_and(|task| task.state != TaskState::Running) {
        return Err(format!("the task that forked: {fork:#?}").into());
    }
    let main = snapshot
        .threads
        .iter()
        .find(|thread| thread.tid == target.pid);
    // It holds on; at first it starts the thread that takes commands.
    let holds = |thread: &ThreadInfo| thread.stack.iter().any(|place| &*place.function == "hold");
    if !main.is_some_and(holds) {
        return Err(format!("the thread that forked: {main:#?}").into());
    }
    Ok(())
}

/// Attaching to a program that keeps replacing itself gives a whole answer or a plain error.
fn executes(interpreter: &Interpreter) -> Outcome {
    let target = Target::start(interpreter, "restless.py", &["exec", "0.05"])?;
    let (mut whole, mut failed) = (0, 0);
    while whole < lives() {
        let began = Instant::now();
        match look_at(target.pid) {
            Ok(snapshot) if snapshot.complete => whole += 1,
            _ => failed += 1,
        }
        if began.elapsed() > TOO_LONG || failed > 1000 * lives() {
            return Err(format!("{whole} whole, {failed} failed").into());
        }
    }
    println!(
        "exec::{}: {whole} whole, {failed} flagged or refused",
        interpreter.name
    );
    Ok(())
}

/// A handle from before an exec must not tell anything that looks whole and is wrong.
fn executes_under_a_handle(interpreter: &Interpreter) -> Outcome {
    for _ in 0..lives().div_ceil(8) {
        let target = Target::start(interpreter, "restless.py", &["exec", "0.1"])?;
        let python = attach_at_some_time(target.pid)?;
        let mut snapshooter = Snapshooter::default();
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            let began = Instant::now();
            let taken = snapshooter.take(&python, SnapshotOptions::default());
            if began.elapsed() > TOO_LONG {
                return Err("it hangs".into());
            }
            let Ok(snapshot) = taken else { continue };
            let strange = |task: &&asyncspy_model::TaskInfo| {
                let outermost = task.coroutine_stack.last();
                let known = ["main", "flicker", "sleep"];
                !outermost.is_some_and(|location| known.contains(&&*location.function))
            };
            if snapshot.complete
                && let Some(task) = snapshot.tasks.iter().find(strange)
            {
                return Err(format!("a task that never was: {task:#?}").into());
            }
        }
    }
    Ok(())
}

/// A program that is just starting cannot be attached to yet.
fn attach_at_some_time(pid: i32) -> Outcome<Python> {
    let deadline = Instant::now() + TOO_LONG;
    loop {
        match Python::attach(pid) {
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => {}
            Ok(python) => return Ok(python),
        }
    }
}

/// The end of a program ends a series of snapshots with the error that says so.
fn ends(interpreter: &Interpreter) -> Outcome {
    for life in 0..lives() {
        let seconds = format!("0.{:02}", 3 + life % 10);
        let mut target = Target::start(interpreter, "restless.py", &["exit", &seconds])?;
        let python = match Python::attach(target.pid) {
            Ok(python) => python,
            // It may have ended by now, which is as good.
            Err(error) if !Path::new(&format!("/proc/{}/maps", target.pid)).exists() => {
                return Err(error.into());
            }
            Err(_) => continue,
        };
        let mut snapshooter = Snapshooter::default();
        let deadline = Instant::now() + TOO_LONG;
        loop {
            match snapshooter.take(&python, SnapshotOptions::default()) {
                Err(MemoryError::Gone) => break,
                Err(error) if python.facts.is_alive() => return Err(error.into()),
                _ if Instant::now() > deadline => return Err("its end was not noticed".into()),
                _ => {}
            }
        }
        target.end();
    }
    Ok(())
}

/// A stopped process can be read as it stands.
fn stopped(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "kinds.py", &[])?;
    let truth = target.truth()?;
    target.stop()?;
    let snapshot = look_at(target.pid)?;
    target.go_on()?;
    let states = snapshot.threads.iter().map(|thread| thread.os_state);
    if let Some(state) = states.clone().find(|state| *state != 'T') {
        return Err(format!("a thread in state {state} though it is stopped").into());
    }
    assert_equal("stopped", &truth, &snapshot)
}

/// The executable may be deleted and replaced while it runs, as an upgrade does.
fn deleted(interpreter: &Interpreter) -> Outcome {
    // Beside the original, from where it finds its library.
    let folder = interpreter.binary.parent().ok_or("no folder")?;
    let copy = tempfile::Builder::new()
        .prefix("python3-")
        .make_in(folder, |path| {
            copy_program(&interpreter.binary, path).map_err(std::io::Error::other)
        })?;
    let copy = copy.into_temp_path();
    let moved = Interpreter {
        argv: vec![copy.display().to_string()],
        ..interpreter.clone()
    };
    let mut target = Target::start(&moved, "kinds.py", &[])?;
    let truth = target.truth()?;
    std::fs::remove_file(&copy)?;
    assert_equal("deleted", &truth, &look_at(target.pid)?)?;
    std::fs::write(&copy, b"something else")?;
    assert_equal("replaced", &truth, &look_at(target.pid)?)
}

/// Why the copy that [`deleted`] needs cannot be made.
fn obstacle_to_copies(interpreter: &Interpreter) -> Option<&'static str> {
    let folder = interpreter.binary.parent()?;
    access(folder, AccessFlags::W_OK)
        .err()
        .map(|_| "no right to write beside the interpreter")
}
