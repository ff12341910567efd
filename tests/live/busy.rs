//! A loop that never rests: tasks come and go while they are read, and the target is not paused.
//!
//! Each of the program's permanent tasks must be in every snapshot that calls itself complete;
//! nearly all snapshots must be complete.

use std::collections::BTreeSet;
use std::time::Duration;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy_model::{Faults, Snapshot, TaskId};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::catalogue::trial_alone;

/// The versions that the bar names: WeakSets, lists in C, lists with more of the layout published.
const MINORS: [&str; 3] = ["3.12", "3.14", "3.15"];

/// Request tasks; up to three times as many tasks exist.
const SIZES: [usize; 5] = [30, 100, 270, 800, 3000];

/// Snapshots of each series, unless ASYNCSPY_TEST_SNAPSHOTS says otherwise.
const SNAPSHOTS: usize = 40;

/// Snapshots of the stopped process to compare with.
const STOPPED_READS: usize = 5;

/// Share of the snapshots that may call themselves incomplete, in hundredths.
const FLAGGED_PERCENT: usize = 1;

/// What `churn.py` says that must always be there.
#[derive(Deserialize)]
struct Permanent {
    permanent: Vec<PermanentTask>,
}

#[derive(Deserialize)]
struct PermanentTask {
    id: TaskId,
    name: String,
}

/// What a series of snapshots has shown.
#[derive(Default)]
struct Series {
    counts: Vec<usize>,
    elapsed_us: Vec<u64>,
    flagged: usize,
    faults: Faults,
    short: Vec<String>,
}

/// Three versions with five sizes.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in interpreters {
        if !MINORS.contains(&interpreter.name.as_str()) {
            continue;
        }
        for size in SIZES {
            let each = interpreter.clone();
            let name = format!("busy::{}::{size:04}", each.name);
            trials.push(trial_alone(name, move || busy(&each, size)));
        }
    }
    trials
}

fn busy(interpreter: &Interpreter, size: usize) -> Outcome {
    let wanted = std::env::var("ASYNCSPY_TEST_SNAPSHOTS").ok();
    let wanted = wanted
        .and_then(|text| text.parse().ok())
        .unwrap_or(SNAPSHOTS);
    let mut target = Target::start(interpreter, "churn.py", &[&size.to_string()])?;
    let truth: Permanent = serde_json::from_str(&target.ask("truth")?)?;
    let python = Python::attach(target.pid)?;
    let mut snapshooter = Snapshooter::default();
    let mut series = Series::default();
    for _ in 0..wanted {
        let snapshot = snapshooter.take(&python, SnapshotOptions::default())?;
        series.add(&truth, &snapshot);
    }
    let stopped = stopped_counts(&target, &python)?;
    series.report(interpreter, size, &stopped);
    series.judge(wanted, &stopped)
}

/// How many tasks there are in a process that is stopped while it is read.
fn stopped_counts(target: &Target, python: &Python) -> Outcome<Vec<usize>> {
    let mut counts = Vec::new();
    for _ in 0..STOPPED_READS {
        target.stop()?;
        let snapshot = Snapshooter::default().take(python, SnapshotOptions::default());
        target.go_on()?;
        let snapshot = snapshot?;
        // A process may be stopped in the middle of a change, which then never ends.
        if snapshot.complete {
            counts.push(snapshot.tasks.len());
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    Ok(counts)
}

impl Series {
    fn add(&mut self, truth: &Permanent, snapshot: &Snapshot) {
        self.counts.push(snapshot.tasks.len());
        self.elapsed_us.push(snapshot.elapsed_ns / 1000);
        self.faults.merge(&snapshot.faults);
        if !snapshot.complete {
            self.flagged += 1;
            return;
        }
        let read: BTreeSet<(TaskId, &str)> = snapshot
            .tasks
            .iter()
            .map(|task| (task.id, &*task.name))
            .collect();
        let missing = truth
            .permanent
            .iter()
            .filter(|task| !read.contains(&(task.id, task.name.as_str())));
        let missing: Vec<&str> = missing.map(|task| task.name.as_str()).collect();
        if !missing.is_empty() {
            let (count, first) = (missing.len(), &missing[..missing.len().min(5)]);
            self.short
                .push(format!("{count} missing, such as {first:?}"));
        }
        let torn = snapshot.tasks.iter().filter(|task| task.torn).count();
        if torn > 0 || read.len() != snapshot.tasks.len() {
            self.short.push(format!("{torn} torn or listed twice"));
        }
    }

    fn report(&self, interpreter: &Interpreter, size: usize, stopped: &[usize]) {
        let (mut counts, mut elapsed) = (self.counts.clone(), self.elapsed_us.clone());
        counts.sort_unstable();
        elapsed.sort_unstable();
        let middle = counts.len() / 2;
        println!(
            "busy::{}::{size}: {} of {} complete, {} short; tasks {}..{}, median {}, \
             stopped {stopped:?}; median {} us, worst {} us; {:?}",
            interpreter.name,
            counts.len() - self.flagged,
            counts.len(),
            self.short.len(),
            counts.first().unwrap_or(&0),
            counts.last().unwrap_or(&0),
            counts.get(middle).unwrap_or(&0),
            elapsed.get(middle).unwrap_or(&0),
            elapsed.last().unwrap_or(&0),
            self.faults.0,
        );
    }

    fn judge(&self, wanted: usize, stopped: &[usize]) -> Outcome {
        if let Some(first) = self.short.first() {
            return Err(format!("{} snapshots silently short: {first}", self.short.len()).into());
        }
        // A hundredth of a short series is less than one snapshot.
        let allowed = (wanted * FLAGGED_PERCENT / 100).max(1);
        if self.flagged > allowed {
            return Err(format!("{} of {wanted} flagged: {:?}", self.flagged, self.faults).into());
        }
        // A live read takes longer than a moment, so it may see tasks of several moments; but it
        // cannot see many fewer than there are at any.
        let (Some(least), Some(read)) = (stopped.iter().min(), self.counts.iter().max()) else {
            return Err("nothing to compare with".into());
        };
        if read * 10 < least * 7 {
            return Err(format!("at most {read} tasks, but {stopped:?} when stopped").into());
        }
        Ok(())
    }
}
