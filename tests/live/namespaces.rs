//! Processes in other namespaces: their own mounts and process ids, as in a container.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use asyncspy_model::Snapshot;
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::{Interpreter, Outcome, Target, Truth};
use libtest_mimic::Trial;

use crate::catalogue::{look_at, one_per_minor, trial_unless};

/// What starts a program with process ids and a `/proc` of its own, and ends it with itself.
const CONTAINER: [&str; 5] = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"];

/// One interpreter of each minor version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let reason = obstacle();
    let each = one_per_minor(interpreters).cloned();
    each.map(|each| {
        let name = format!("namespaces::{}", each.name);
        trial_unless(reason, name, move || container(&each))
    })
    .collect()
}

fn obstacle() -> Option<&'static str> {
    let tried = Command::new(CONTAINER[0])
        .args(&CONTAINER[1..])
        .arg("true")
        .output();
    let permitted = tried.is_ok_and(|output| output.status.success());
    (!permitted).then_some("unshare is not permitted")
}

fn container(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start_through(&CONTAINER, interpreter, "kinds.py", &[])?;
    target.pid = only_child(target.pid)?;
    let snapshot = look_at(target.pid)?;
    let truth = target.truth()?;
    let outer = outer_ids(target.pid)?;
    if outer.iter().any(|(inner, outer)| inner == outer) {
        return Err(format!("no other ids: {outer:?}").into());
    }
    assert_equal("container", &mapped(truth, &outer)?, &snapshot)?;
    expect_states(&snapshot)
}

/// The process that `unshare` has forked.
fn only_child(pid: i32) -> Outcome<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.trim().parse()?)
}

/// Thread ids by what the threads themselves take them for.
fn outer_ids(pid: i32) -> Outcome<BTreeMap<i32, i32>> {
    let mut ids = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path().join("status");
        let status = fs::read_to_string(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let words: Vec<&str> = line.ok_or("no NSpid")?.split_whitespace().collect();
        if let [outer, .., inner] = words[..] {
            ids.insert(inner.parse()?, outer.parse()?);
        }
    }
    Ok(ids)
}

/// The truth with the thread ids that we see.
fn mapped(mut truth: Truth, outer: &BTreeMap<i32, i32>) -> Outcome<Truth> {
    let map = |id: &mut i32| -> Outcome {
        *id = *outer.get(id).ok_or(format!("no thread {id}"))?;
        Ok(())
    };
    truth
        .loops
        .iter_mut()
        .try_for_each(|each| map(&mut each.thread))?;
    truth
        .threads
        .iter_mut()
        .try_for_each(|each| map(&mut each.native_id))?;
    Ok(truth)
}

/// The kernel's states were read of the right threads.
fn expect_states(snapshot: &Snapshot) -> Outcome {
    match snapshot
        .threads
        .iter()
        .find(|thread| thread.os_state == '?')
    {
        None => Ok(()),
        Some(thread) => Err(format!("no state of {thread:?}").into()),
    }
}
