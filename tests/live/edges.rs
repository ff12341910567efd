//! Who awaits whom: as the program declares it, and as CPython's own tool sees it.

use std::collections::BTreeSet;
use std::process::Command;

use asyncspy::sink::style::Style;
use asyncspy::sink::task_tree::{TaskTreeOptions, write_task_tree};
use asyncspy_model::{RemoteAddr, Snapshot, TaskId};
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{look_at, one_per_minor, trial};

/// Scenarios of `edges.py`, and the first minor version that has what they need.
const SCENARIOS: [(&str, u32); 12] = [
    ("gather", 8),
    ("gather_nested", 8),
    ("group", 11),
    ("group_in_group", 11),
    ("menu", 11),
    ("async_generators", 8),
    ("eager", 12),
    ("staggered", 8),
    ("wait", 8),
    ("shield", 8),
    ("as_completed", 8),
    ("diamond", 8),
];

/// From this minor version on `python -m asyncio ps` exists.
const FIRST_WITH_PS: u32 = 14;

/// (task, name, awaiter), the awaiter null for a task that nobody awaits.
type Row = (TaskId, String, TaskId);

/// One interpreter of each minor version with each scenario that it has.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        for (scenario, since) in SCENARIOS {
            if interpreter.is_at_least(since) {
                let name = format!("edges::{}::{scenario}", interpreter.name);
                let each = interpreter.clone();
                trials.push(trial(name, move || edges(&each, scenario)));
            }
        }
        let name = format!("deadlock::{}", interpreter.name);
        let each = interpreter.clone();
        trials.push(trial(name, move || deadlock(&each)));
    }
    trials
}

fn edges(interpreter: &Interpreter, scenario: &str) -> Outcome {
    let mut target = Target::start(interpreter, "edges.py", &[scenario])?;
    let truth = target.truth()?;
    target.stop()?;
    let snapshot = look_at(target.pid)?;
    assert_equal(scenario, &truth, &snapshot)?;
    if interpreter.is_at_least(FIRST_WITH_PS) {
        let theirs = cpython_rows(interpreter, target.pid)?;
        let ours = rows(&snapshot);
        if theirs.is_empty() || theirs != ours {
            return Err(format!("asyncio ps: {theirs:#?}\nours: {ours:#?}").into());
        }
    }
    Ok(())
}

/// The rows of `python -m asyncio ps`, run by the interpreter that the program runs on.
fn cpython_rows(interpreter: &Interpreter, pid: i32) -> Outcome<BTreeSet<Row>> {
    let mut command = Command::new(&interpreter.argv[0]);
    command.args(&interpreter.argv[1..]);
    let output = command
        .args(["-m", "asyncio", "ps", &pid.to_string()])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("asyncio ps failed: {why}").into());
    }
    let rows = text
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    rows.map(|line| {
        // Thread, task, name, coroutine stack, awaiters' stack, awaiters' name, awaiter.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, task, name, .., awaiter] = words[..] else {
            return Err(format!("not a row: {line}").into());
        };
        Ok((task_id(task)?, name.to_owned(), task_id(awaiter)?))
    })
    .collect()
}

fn task_id(text: &str) -> Outcome<TaskId> {
    let digits = text
        .strip_prefix("0x")
        .ok_or(format!("no address: {text}"))?;
    Ok(TaskId(RemoteAddr(u64::from_str_radix(digits, 16)?)))
}

fn rows(snapshot: &Snapshot) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for task in &snapshot.tasks {
        for awaiter in &task.awaited_by {
            rows.insert((task.id, task.name.to_string(), *awaiter));
        }
        if task.awaited_by.is_empty() {
            let nobody = TaskId(RemoteAddr::NULL);
            rows.insert((task.id, task.name.to_string(), nobody));
        }
    }
    rows
}

/// A ring of three is shown as what it is, and what hangs on it is no part of it.
fn deadlock(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "deadlock.py", &["--length", "3"])?;
    let snapshot = look_at(target.pid)?;
    assert_equal("ring", &target.truth()?, &snapshot)?;
    let options = TaskTreeOptions {
        command: String::new(),
        all: true,
        width: 400,
        style: Style::default(),
    };
    let mut bytes = Vec::new();
    write_task_tree(&mut bytes, &snapshot, &options)?;
    let text = String::from_utf8(bytes)?;
    let mut lines = text.lines().filter(|line| line.contains("deadlock: "));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(format!("not one deadlock:\n{text}").into());
    };
    let ring = ["ring-0", "ring-1", "ring-2"];
    if ring.iter().all(|name| line.contains(name)) && !line.contains("bystander") {
        return Ok(());
    }
    Err(line.to_owned().into())
}
