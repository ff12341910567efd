//! Programs of other kinds: asyncio imported late, two interpreters, very many tasks, locals.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy::sampler::session::{SessionSettings, run_session};
use asyncspy_model::{Event, Location, LoopActivity, LoopState, Sample, Snapshot};
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::{Interpreter, Outcome, Target, Truth};
use libtest_mimic::Trial;

use crate::catalogue::{look_at, one_per_minor, trial, trial_unless};

/// The first minor version whose low-level module starts interpreters.
const FIRST_WITH_INTERPRETERS: u32 = 12;

/// As many tasks as a busy service has.
const MANY: usize = 10_000;

/// Samples of it.
const SAMPLES_OF_DEEP: usize = 20;

/// Coroutines and calls of a deep stack: more frames than one call of the kernel reads twice.
const DEEP: [usize; 2] = [600, 300];

/// One interpreter of each minor version with each program.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in interpreters {
        let name = format!("late_import::{}", interpreter.name);
        let each = interpreter.clone();
        let run = move || late_import(&each);
        trials.push(trial_unless(interpreter.obstacle(), name, run));
    }
    for interpreter in one_per_minor(interpreters) {
        let name = &interpreter.name;
        let each = interpreter.clone();
        trials.push(trial(format!("many::{name}"), move || many(&each)));
        let each = interpreter.clone();
        trials.push(trial(format!("deep::{name}"), move || deep(&each)));
        if interpreter.is_at_least(FIRST_WITH_INTERPRETERS) {
            let each = interpreter.clone();
            trials.push(trial(format!("subinterp::{name}"), move || {
                subinterp(&each)
            }));
        }
    }
    trials
}

/// A program without asyncio has threads and nothing else. Once it imports asyncio, a new look
/// finds its tasks; an old one, which could not know the offsets that `_asyncio` publishes, finds
/// them too or says that it lacks some.
fn late_import(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "late_import.py", &[])?;
    let python = Python::attach(target.pid)?;
    let mut snapshooter = Snapshooter::default();
    let before = snapshooter.take(&python, SnapshotOptions::default())?;
    let facts: Truth = serde_json::from_value(target.ready.clone())?;
    assert_equal("before", &facts, &before)?;
    if !before.loops.is_empty() {
        return Err(format!("a loop before asyncio: {:?}", before.loops).into());
    }
    target.send("import")?;
    target.wait_until_ready()?;
    let old_look = snapshooter.take(&python, SnapshotOptions::default())?;
    let new_look = look_at(target.pid)?;
    let truth = target.truth()?;
    if old_look.complete {
        assert_equal("old look", &truth, &old_look)?;
    }
    assert_equal("new look", &truth, &new_look)
}

/// Both interpreters' tasks, and a stall in the second.
fn subinterp(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "subinterp.py", &[])?;
    let snapshot = look_at(target.pid)?;
    let truth = target.truth()?;
    assert_equal("idle", &truth, &snapshot)?;
    let interpreters: BTreeSet<i64> = snapshot.loops.iter().map(|l| l.interpreter).collect();
    if interpreters.len() != 2 {
        return Err(format!("interpreters of the loops: {interpreters:?}").into());
    }
    target.stall("substall 60")?;
    let snapshot = look_at(target.pid)?;
    let second = &truth.subinterpreters[0].loops[0];
    let found = snapshot.loops.iter().find(|info| info.id == second.id);
    match found {
        Some(info) if info.state == LoopState::Busy && snapshot.complete => Ok(()),
        other => Err(format!("{:?} {other:?}", snapshot.faults).into()),
    }
}

/// Each of very many tasks, once, whole.
fn many(interpreter: &Interpreter) -> Outcome {
    let target = Target::start(interpreter, "many.py", &[&MANY.to_string()])?;
    let snapshot = look_at(target.pid)?;
    if !snapshot.complete {
        return Err(format!("not complete: {:?}", snapshot.faults).into());
    }
    if snapshot.tasks.len() != MANY + 2 {
        return Err(format!("{} tasks", snapshot.tasks.len()).into());
    }
    expect_names(&snapshot)?;
    let ms = snapshot.elapsed_ns / 1_000_000;
    println!(
        "many::{}: {MANY} tasks in {ms} ms, first snapshot",
        interpreter.name
    );
    Ok(())
}

/// However deep the stack is that blocks a loop, it is whole: in a snapshot and in each sample.
fn deep(interpreter: &Interpreter) -> Outcome {
    let depths = DEEP.map(|depth| depth.to_string());
    let mut target = Target::start(interpreter, "deep.py", &[&depths[0], &depths[1]])?;
    target.ask("block")?;
    let snapshot = look_at(target.pid)?;
    let thread = snapshot
        .threads
        .iter()
        .find(|thread| thread.loop_id.is_some());
    let thread = thread.ok_or("no thread runs a loop")?;
    let count = |name: &str| {
        let is_one = |location: &&Location| &*location.function == name;
        thread.stack.iter().filter(is_one).count()
    };
    let (frames, whole) = ([count("descend"), count("call")], !thread.torn);
    if frames != DEEP || !whole {
        return Err(format!("{frames:?} frames, whole: {whole}").into());
    }
    let samples = samples_of(Python::attach(target.pid)?, SAMPLES_OF_DEEP)?;
    if samples.is_empty() {
        return Err("no sample".into());
    }
    for sample in samples {
        let one = sample.loops.first().ok_or("no loop")?;
        if one.torn || !matches!(one.activity, LoopActivity::Busy(_)) || one.task.is_none() {
            return Err(format!("a sample of {one:?}").into());
        }
    }
    Ok(())
}

/// So many samples of a session.
fn samples_of(python: Python, count: usize) -> Outcome<Vec<Sample>> {
    let settings = SessionSettings {
        interval_ns: 10_000_000,
        duration_ns: Some(10_000_000 * count as u64),
        census_every_ns: None,
        census_at_stall_ns: None,
        in_kernel: false,
    };
    let (stream, batches) = sync_channel(count);
    run_session(python, settings, stream, &AtomicBool::new(false));
    let sample = |event| match event {
        Event::Sample(sample) => Some(sample),
        _ => None,
    };
    Ok(batches.into_iter().flatten().filter_map(sample).collect())
}

fn expect_names(snapshot: &Snapshot) -> Outcome {
    let names: BTreeSet<&str> = snapshot.tasks.iter().map(|task| &*task.name).collect();
    let lacking = (0..MANY).find(|index| !names.contains(format!("idle-{index}").as_str()));
    if let Some(index) = lacking {
        return Err(format!("idle-{index} is missing").into());
    }
    let idle = snapshot
        .tasks
        .iter()
        .filter(|task| task.name.starts_with("idle-"));
    for task in idle {
        let functions: Vec<&str> = task.coroutine_stack.iter().map(|l| &*l.function).collect();
        if functions != ["sleep", "rest", "descend", "descend"] {
            return Err(format!("{}: {functions:?}", task.name).into());
        }
    }
    Ok(())
}
