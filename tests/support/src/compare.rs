//! How what was read from outside differs from what the program says of itself.

use std::collections::BTreeMap;

use asyncspy_model::stack::Chain;
use asyncspy_model::{LoopInfo, Snapshot, TaskId, TaskInfo, TaskState};

use crate::Outcome;
use crate::truth::{Entry, LoopTruth, TaskTruth, Truth};

/// Most differences that are shown of one comparison.
const MAX_SHOWN: usize = 12;

/// Everything in which a snapshot differs from the truth, a line each. Empty is the aim.
#[must_use]
pub fn differences(truth: &Truth, snapshot: &Snapshot) -> Vec<String> {
    let mut found = Differences::default();
    if !snapshot.complete {
        found.add(format!("not complete: {:?}", snapshot.faults));
    }
    found.compare_tasks(truth, snapshot);
    for each in truths(truth) {
        for expected in &each.loops {
            found.compare_loop(expected, snapshot);
        }
    }
    found.compare_threads(truth, snapshot);
    found.lines
}

/// Fails with the differences, if there are any.
///
/// # Errors
/// When there are.
pub fn assert_equal(what: &str, truth: &Truth, snapshot: &Snapshot) -> Outcome {
    let lines = differences(truth, snapshot);
    if lines.is_empty() {
        return Ok(());
    }
    let shown = lines[..lines.len().min(MAX_SHOWN)].join("\n  ");
    Err(format!("{what}: {} differences\n  {shown}", lines.len()).into())
}

/// The truth of the main interpreter and of all others.
fn truths(truth: &Truth) -> impl Iterator<Item = &Truth> {
    std::iter::once(truth).chain(&truth.subinterpreters)
}

#[derive(Default)]
struct Differences {
    lines: Vec<String>,
}

impl Differences {
    fn add(&mut self, line: String) {
        self.lines.push(line);
    }

    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, read: &T) {
        if expected != read {
            self.add(format!(
                "{what}\n    true: {expected:?}\n    read: {read:?}"
            ));
        }
    }

    fn compare_tasks(&mut self, truth: &Truth, snapshot: &Snapshot) {
        let expected: BTreeMap<TaskId, &TaskTruth> = truths(truth)
            .flat_map(|each| &each.tasks)
            .map(|task| (task.id, task))
            .collect();
        let read: BTreeMap<TaskId, &TaskInfo> =
            snapshot.tasks.iter().map(|task| (task.id, task)).collect();
        if read.len() != snapshot.tasks.len() {
            self.add("a task is listed twice".to_owned());
        }
        for (id, task) in &expected {
            match read.get(id) {
                Some(info) => self.compare_task(task, info),
                None => self.add(format!("task {:?} is missing", task.name)),
            }
        }
        for (id, info) in &read {
            if !expected.contains_key(id) {
                let place = info.coroutine_stack.first();
                self.add(format!("task {:?} is too many: {place:?}", info.name));
            }
        }
    }

    fn compare_task(&mut self, task: &TaskTruth, info: &TaskInfo) {
        let name: String = task.name.chars().take(60).collect();
        let of = |what: &str| format!("{what} of task {name:?}");
        self.check(&of("name"), &task.name.as_str(), &&*info.name);
        self.check(&of("class"), &task.class.as_str(), &&*info.class);
        self.check(&of("loop"), &task.loop_id, &info.loop_id);
        self.check(&of("state"), &task.state.as_str(), &info.state.word());
        self.check(
            &of("coroutine stack"),
            &task.stack,
            &entries(&info.coroutine_stack),
        );
        if let Some(all) = &task.sync_stack {
            let mut joined = entries(&info.sync_stack);
            joined.extend(entries(&info.coroutine_stack));
            self.check(&of("stack"), all, &joined);
        }
        let leaf = info.waits_on.as_ref().map(|waits_on| &*waits_on.leaf);
        if info.state == TaskState::Waiting {
            self.check(&of("leaf"), &task.leaf.as_deref(), &leaf);
        } else {
            self.check(&of("leaf"), &None, &leaf);
        }
        let mut awaited_by = info.awaited_by.clone();
        awaited_by.sort_unstable();
        let mut expected = task.awaited_by.clone();
        expected.sort_unstable();
        self.check(&of("awaiters"), &expected, &awaited_by);
    }

    fn compare_loop(&mut self, expected: &LoopTruth, snapshot: &Snapshot) {
        let of = |what: &str| format!("{what} of loop {}", expected.id);
        let Some(info) = find_loop(expected, snapshot) else {
            self.add(of("everything"));
            return;
        };
        self.check(&of("class"), &expected.class.as_str(), &&*info.class);
        if expected.ready.is_some() {
            self.check(&of("ready callbacks"), &expected.ready, &info.ready);
        }
        if expected.timers.is_some() {
            self.check(&of("timers"), &expected.timers, &info.timers);
        }
        self.check(&of("thread"), &Some(expected.thread), &info.tid);
        let tasks = snapshot
            .tasks
            .iter()
            .filter(|task| task.loop_id == expected.id);
        self.check(&of("number of tasks"), &(tasks.count() as u64), &info.tasks);
    }

    fn compare_threads(&mut self, truth: &Truth, snapshot: &Snapshot) {
        let mut expected: Vec<(i32, &str)> = truths(truth)
            .flat_map(|each| &each.threads)
            .map(|thread| (thread.native_id, thread.name.as_str()))
            .collect();
        let threads = snapshot.threads.iter();
        let mut read: Vec<(i32, &str)> =
            threads.map(|thread| (thread.tid, &*thread.name)).collect();
        expected.sort_unstable();
        read.sort_unstable();
        // From 3.13 on `threading` of a second interpreter knows the thread that runs it by two
        // names, of which one thread state can show but one.
        let dummies: Vec<i32> = expected
            .iter()
            .filter(|(_, name)| name.starts_with("Dummy-"))
            .map(|(tid, _)| *tid)
            .collect();
        expected.retain(|(tid, name)| *name != "MainThread" || !dummies.contains(tid));
        self.check("threads", &expected, &read);
    }
}

fn find_loop<'s>(expected: &LoopTruth, snapshot: &'s Snapshot) -> Option<&'s LoopInfo> {
    snapshot.loops.iter().find(|info| info.id == expected.id)
}

fn entries(chain: &Chain) -> Vec<Entry> {
    let entry = |location: &asyncspy_model::Location| {
        let (function, file) = (location.function.to_string(), location.file.to_string());
        (function, file, location.line)
    };
    chain.iter().map(entry).collect()
}
