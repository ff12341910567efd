//! Every way in which a task can wait, idle and while the loop stalls.

use asyncspy_model::{LoopId, LoopInfo, LoopState, Snapshot};
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{look_at, trial_unless};

/// The program has to have at least this many tasks.
const LEAST_TASKS: usize = 40;

/// Longer than any test takes.
const STALL_SECONDS: u64 = 60;

/// Each interpreter with each loop.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in interpreters {
        let name = &interpreter.name;
        let obstacle = interpreter.obstacle();
        let each = interpreter.clone();
        let run = move || kinds(&each, &[]);
        trials.push(trial_unless(obstacle, format!("kinds::{name}"), run));
        let lacking = (!interpreter.has("uvloop")).then_some("no uvloop");
        let reason = obstacle.or(lacking);
        let each = interpreter.clone();
        let uvloop = format!("kinds::{name}::uvloop");
        trials.push(trial_unless(reason, uvloop, move || {
            kinds(&each, &["--uvloop"])
        }));
    }
    trials
}

fn kinds(interpreter: &Interpreter, args: &[&str]) -> Outcome {
    let mut target = Target::start(interpreter, "kinds.py", args)?;
    let snapshot = look_at(target.pid)?;
    let truth = target.truth()?;
    if truth.tasks.len() < LEAST_TASKS || truth.loops.len() != 2 {
        return Err(format!("only {} tasks", truth.tasks.len()).into());
    }
    assert_equal("idle", &truth, &snapshot)?;
    for each in &truth.loops {
        expect_state(&snapshot, each.id, LoopState::Idle)?;
    }
    target.stall(&format!("stall {STALL_SECONDS} crowd"))?;
    let snapshot = look_at(target.pid)?;
    let truth = target.truth()?;
    assert_equal("stalled", &truth, &snapshot)?;
    let stalled = expect_state(&snapshot, truth.loops[0].id, LoopState::Busy)?;
    if stalled.running.is_none() {
        return Err("the stalled loop has no running task".into());
    }
    expect_state(&snapshot, truth.loops[1].id, LoopState::Idle)?;
    Ok(())
}

fn expect_state(snapshot: &Snapshot, id: LoopId, state: LoopState) -> Outcome<&LoopInfo> {
    let found = snapshot.loops.iter().find(|info| info.id == id);
    match found {
        Some(info) if info.state == state => Ok(info),
        other => Err(format!("loop {id} is not {state:?}: {other:?}").into()),
    }
}
