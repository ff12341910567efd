//! What `record` tells of a sample is of one moment: of tasks that end as soon as they have begun,
//! and of chains of coroutines that are rebuilt all the time.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use asyncspy_model::{LoopInfo, Snapshot};
use asyncspy_test_support::trials::{one_per_minor, trial, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::short_or_long;
use crate::watching::binary;

/// Minors with which uvloop is tried.
const UVLOOP_MINORS: [u32; 3] = [9, 12, 14];

/// Levels of the chain.
const DEPTH: &str = "50";

/// What marks a stack that was not proven.
const TORN: &str = "(torn)";

/// Each minor version, and some with uvloop.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        let (one, other) = (interpreter.clone(), interpreter.clone());
        let name = |what: &str| format!("moments::{what}::{}", interpreter.name);
        trials.push(trial(name("tasks"), move || tasks(&one, &[])));
        trials.push(trial(name("chains"), move || chains(&other)));
        let each = interpreter.clone();
        trials.push(trial(name("snapshots"), move || snapshots(&each)));
        if UVLOOP_MINORS.contains(&interpreter.minor().1) {
            let each = interpreter.clone();
            let reason = (!interpreter.has("uvloop")).then_some("no uvloop");
            let name = name("tasks") + "::uvloop";
            let run = move || tasks(&each, &["--uvloop"]);
            trials.push(trial_unless(reason, name, run));
        }
    }
    trials
}

/// The stacks that `record` folds at this rate.
fn stacks(target: &Target, rate: &str) -> Outcome<Vec<String>> {
    let folder = TempDir::new()?;
    let path = folder.path().join("a.folded");
    let output = Command::new(binary())
        .args(["record", "--rate", rate, "-d", short_or_long("2", "60")])
        .arg("-o")
        .args([path.as_os_str(), target.pid.to_string().as_ref()])
        .output()?;
    if !output.status.success() {
        return Err(format!("{output:?}").into());
    }
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    Ok(lines.map(|(stack, _)| stack.to_owned()).collect())
}

/// The names of a stack's tasks and functions, without those of process, thread and loop.
fn names(stack: &str) -> impl Iterator<Item = &str> {
    let frames = stack.split(';').skip(3);
    frames.map(|frame| frame.split(' ').next().unwrap_or(frame))
}

/// A task and what it calls are of the same kind, at a rate at which samples are far apart and at
/// one at which nothing is; and no task goes by the number that it has for want of a name.
fn tasks(interpreter: &Interpreter, options: &[&str]) -> Outcome {
    let target = Target::start(interpreter, "short_tasks.py", options)?;
    for rate in ["200", "100khz"] {
        let mut met = BTreeSet::new();
        for stack in stacks(&target, rate)? {
            let kinds = kinds(names(&stack));
            let numbered = names(&stack).find(|name| name.starts_with("Task-"));
            if !stack.contains(TORN) && (kinds.len() > 1 || numbered.is_some()) {
                return Err(format!("at {rate}: {stack}").into());
            }
            met.extend(kinds.into_iter().map(str::to_owned));
        }
        if met.len() < 12 {
            return Err(format!("at {rate}: no more than {met:?}").into());
        }
    }
    Ok(())
}

/// So it is in a snapshot.
fn snapshots(interpreter: &Interpreter) -> Outcome {
    let target = Target::start(interpreter, "short_tasks.py", &[])?;
    let mut running = 0;
    for _ in 0..short_or_long(60, 1000) {
        let pid = target.pid.to_string();
        let output = Command::new(binary())
            .args(["dump", "--json", &pid])
            .output()?;
        let snapshot: Snapshot = serde_json::from_slice(&output.stdout)?;
        for task in &snapshot.tasks {
            let frames = task.coroutine_stack.iter().chain(task.sync_stack.iter());
            let functions = frames.map(|frame| &*frame.function);
            let kinds = kinds(functions.chain([&*task.name]));
            if kinds.len() > 1 && snapshot.complete {
                return Err(format!("{task:?}").into());
            }
        }
        let is_running = |each: &LoopInfo| each.running.is_some() || each.coroutine.is_some();
        running += usize::from(snapshot.loops.iter().any(is_running));
    }
    match running {
        0 => Err("no task was met".into()),
        _ => Ok(()),
    }
}

/// The kinds of tasks that these names tell of.
fn kinds<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    names
        .filter_map(|name| name.rsplit_once('_'))
        .filter(|(what, _)| ["given", "work", "inner", "spin"].contains(what))
        .map(|(_, kind)| kind)
        .collect()
}

/// No level of a chain is left out, and none is of another moment.
fn chains(interpreter: &Interpreter) -> Outcome {
    let target = Target::start(interpreter, "chain.py", &[DEPTH])?;
    let mut met = 0;
    for stack in stacks(&target, "100khz")? {
        let levels = names(&stack).filter_map(|name| name.strip_prefix("level_"));
        let levels: Vec<usize> = levels.map(str::parse).collect::<Result<_, _>>()?;
        let is_true = levels.iter().copied().eq(1..=levels.len());
        if !is_true && !stack.contains(TORN) {
            return Err(format!("{levels:?}: {stack}").into());
        }
        met += usize::from(!levels.is_empty());
    }
    match met {
        0 => Err("the chain was not met".into()),
        _ => Ok(()),
    }
}
