//! Recorded memory, one small process of each minor version: the real readers without a process.
//!
//! The recordings are made by `ASYNCSPY_TEST_RECORD=1 cargo test --release --test live -- record`,
//! which also checks them against what the process said of itself. With the same variable this
//! test writes what it reads as what is expected from then on.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy::python::recording::Recording;
use asyncspy_model::Snapshot;
use asyncspy_test_support::Outcome;
use asyncspy_test_support::golden::timeless;

const MINORS: std::ops::RangeInclusive<u8> = 8..=15;

fn recorded(minor: u8, ending: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    folder.join(format!("3.{minor}.{ending}"))
}

fn open(minor: u8) -> Outcome<Python> {
    let file = File::open(recorded(minor, "memory"))?;
    Ok(Recording::read_from(BufReader::new(file))?.open()?)
}

fn take(python: &Python) -> Outcome<Snapshot> {
    let options = SnapshotOptions { locals: true };
    Ok(timeless(Snapshooter::default().take(python, options)?))
}

#[test]
fn each_recording_shows_what_its_process_was_doing() -> Outcome {
    for minor in MINORS {
        let python = open(minor)?;
        assert_eq!(python.layout.version.minor, minor);
        let text = serde_json::to_string_pretty(&take(&python)?)? + "\n";
        let path = recorded(minor, "json");
        if std::env::var_os("ASYNCSPY_TEST_RECORD").is_some() {
            fs::write(&path, &text)?;
        }
        let expected = fs::read_to_string(&path)?;
        let differs = text
            .lines()
            .zip(expected.lines())
            .find(|(one, two)| one != two);
        assert!(text == expected, "3.{minor}: {differs:?}");
    }
    Ok(())
}

#[test]
fn each_recording_has_every_kind_of_task() -> Outcome {
    for minor in MINORS {
        let snapshot = take(&open(minor)?)?;
        assert!(snapshot.complete, "3.{minor}: {:?}", snapshot.faults);
        assert_eq!(snapshot.loops.len(), 2, "3.{minor}");
        for name in [
            "stall",
            "not-started",
            "consumer",
            "traced",
            "python-task",
            "second",
        ] {
            let second = name == "second";
            let found = snapshot.tasks.iter().any(|task| match second {
                true => task
                    .coroutine_stack
                    .iter()
                    .any(|place| &*place.function == name),
                false => &*task.name == name,
            });
            assert!(found, "3.{minor}: {name}");
        }
        let held = snapshot.loops.iter().filter(|info| info.running.is_some());
        assert_eq!(held.count(), 1, "3.{minor}");
    }
    Ok(())
}

#[test]
fn a_second_snapshot_of_the_same_memory_is_the_same() -> Outcome {
    for minor in MINORS {
        let python = open(minor)?;
        let mut snapshooter = Snapshooter::default();
        let first = snapshooter.take(&python, SnapshotOptions::default())?;
        let second = snapshooter.take(&python, SnapshotOptions::default())?;
        assert_eq!(timeless(first), timeless(second), "3.{minor}");
    }
    Ok(())
}
