//! Whole snapshots of processes whose memory lies, and what is printed of them.

use std::collections::BTreeSet;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy::python::recording::Recording;
use asyncspy::target::recorded::RecordedMemory;
use asyncspy_model::{Snapshot, TaskId};
use asyncspy_test_support::Outcome;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError};

use crate::bounds::within_bounds;
use crate::memory::{Change, Endless, HostileMemory, recording, telling_words};

/// Longest text of a snapshot, in bytes: names are cut at 65536 characters.
const LONGEST_TEXT: usize = 4 * 65536;

pub const MINORS: std::ops::RangeInclusive<u8> = 8..=15;

/// A snapshot of an interpreter whose memory turns hostile once it was attached to; `None` when
/// nothing of it can be read.
fn take(what: &str, recording: &Recording, memory: HostileMemory) -> Outcome<Option<Snapshot>> {
    let mut python = recording.open()?;
    python.memory = Box::new(memory);
    within_bounds(what, move || {
        let mut snapshooter = Snapshooter::default();
        let options = SnapshotOptions { locals: true };
        let first = snapshooter.take(&python, options);
        // The second builds on what the first has learnt.
        first.and_then(|_| snapshooter.take(&python, options)).ok()
    })
}

/// What holds of any snapshot.
fn check(snapshot: &Snapshot) -> Outcome {
    let json = serde_json::to_string(snapshot)?;
    let back: Snapshot = serde_json::from_str(&json)?;
    if back != *snapshot {
        return Err("it is another after JSON".into());
    }
    let tasks: BTreeSet<TaskId> = snapshot.tasks.iter().map(|task| task.id).collect();
    if tasks.len() != snapshot.tasks.len() {
        return Err("a task twice".into());
    }
    for task in &snapshot.tasks {
        if task.name.len() > LONGEST_TEXT {
            return Err(format!("a name of {} bytes", task.name.len()).into());
        }
        if let Some(awaiter) = task.awaited_by.iter().find(|id| !tasks.contains(id)) {
            return Err(format!("{} is awaited by {awaiter}, which is none", task.id).into());
        }
    }
    Ok(())
}

/// The same cases each time, so that a failure is one of the change at hand; `PROPTEST_RNG_SEED`
/// and `PROPTEST_CASES` look further.
fn config(cases: u32) -> Config {
    let default = Config::default();
    let is_default = std::env::var_os("PROPTEST_CASES").is_none();
    Config {
        failure_persistence: None,
        cases: if is_default { cases } else { default.cases },
        rng_seed: match default.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            given => given,
        },
        max_shrink_time: 60_000,
        ..default
    }
}

/// As a failure of a property.
fn property(outcome: Outcome) -> Result<(), TestCaseError> {
    outcome.map_err(|error| TestCaseError::fail(error.to_string()))
}

/// A recording, its memory with these changes, and what it is.
fn hostile(
    minor: u8,
    changes: &[Change],
    beyond: Option<Endless>,
) -> Outcome<(Recording, HostileMemory, String)> {
    let recording = recording(minor)?;
    let words = telling_words(&recording.memory);
    let mut recorded = recording.memory.clone();
    for change in changes {
        change.apply(&mut recorded, &words);
    }
    let what = format!("3.{minor} {beyond:?} {changes:?}");
    Ok((recording, HostileMemory { recorded, beyond }, what))
}

fn changed(minor: u8, changes: &[Change], beyond: Option<Endless>) -> Outcome {
    let (recording, memory, what) = hostile(minor, changes, beyond)?;
    match take(&what, &recording, memory)? {
        Some(snapshot) => check(&snapshot),
        None => Ok(()),
    }
}

fn attach_to(minor: u8, changes: &[Change], beyond: Option<Endless>) -> Outcome {
    let (recording, memory, what) = hostile(minor, changes, beyond)?;
    within_bounds(&what, move || {
        let _ = Python::open(recording.facts, Box::new(memory), recording.anchors);
    })
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn changed_memory_is_read_within_bounds(
        minor in MINORS,
        changes in proptest::collection::vec(Change::any(), 1..40),
    ) {
        property(changed(minor, &changes, None))?;
    }

    #[test]
    fn attaching_to_changed_memory_ends(
        minor in MINORS,
        changes in proptest::collection::vec(Change::any(), 1..400),
        beyond in proptest::option::of(Endless::any()),
    ) {
        property(attach_to(minor, &changes, beyond))?;
    }
}

proptest! {
    // Much is read until the bounds are met.
    #![proptest_config(config(24))]

    #[test]
    fn changed_memory_that_never_ends_is_read_within_bounds(
        minor in MINORS,
        changes in proptest::collection::vec(Change::any(), 1..40),
        beyond in Endless::any(),
    ) {
        property(changed(minor, &changes, Some(beyond)))?;
    }
}

/// Each page in turn cannot be read: what is lacking then is said.
#[test]
fn a_missing_page_is_never_hidden() -> Outcome {
    let mut silent = Vec::new();
    for minor in MINORS {
        let recording = recording(minor)?;
        let whole = take("whole", &recording, of(&recording.memory))?.ok_or("nothing to read")?;
        for page in recording.memory.pages() {
            let mut memory = recording.memory.clone();
            memory.forget(page);
            let Some(snapshot) = take("forgetful", &recording, of(&memory))? else {
                continue;
            };
            check(&snapshot)?;
            if snapshot.complete && facts(&snapshot) != facts(&whole) {
                let lacking: Vec<_> = facts(&whole)
                    .difference(&facts(&snapshot))
                    .cloned()
                    .collect();
                silent.push(format!("3.{minor} without {page}: {lacking:?}"));
            }
        }
    }
    if silent.is_empty() {
        return Ok(());
    }
    Err(format!("{} silent:\n{}", silent.len(), silent.join("\n")).into())
}

fn of(memory: &RecordedMemory) -> HostileMemory {
    HostileMemory {
        recorded: memory.clone(),
        beyond: None,
    }
}

/// What a complete snapshot promises: every task, with its chain; every thread.
pub fn facts(snapshot: &Snapshot) -> BTreeSet<String> {
    let tasks = snapshot.tasks.iter().map(|task| {
        let (name, stack) = (&task.name, &task.coroutine_stack);
        let lines: Vec<u32> = stack.iter().map(|place| place.line).collect();
        format!(
            "task {name} {} {:?} {lines:?}",
            task.state.word(),
            task.awaited_by
        )
    });
    let threads = snapshot.threads.iter().map(|thread| {
        let depth = thread.stack.len();
        format!(
            "thread {} {:?} with {depth} frames",
            thread.tid, thread.loop_id
        )
    });
    let loops = snapshot.loops.iter().map(|info| {
        format!(
            "loop {} {} {} {:?}",
            info.id,
            info.class,
            info.state.word(),
            info.tid
        )
    });
    tasks.chain(threads).chain(loops).collect()
}
