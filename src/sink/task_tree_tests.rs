//! Golden trees, deadlocks, and trees of hostile depth.

use std::sync::Arc;

use asyncspy_model::{FaultKind, LoopState, Snapshot, TaskInfo, TaskState};

use super::fixtures::*;
use super::style::Style;
use super::task_tree::{TaskTreeOptions, write_task_tree};

fn options(width: usize) -> TaskTreeOptions {
    TaskTreeOptions {
        command: String::new(),
        all: false,
        width,
        style: Style::default(),
    }
}

fn tree(snapshot: &Snapshot, options: &TaskTreeOptions) -> String {
    let text = text(|out| write_task_tree(out, snapshot, options));
    let trees: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("deadlock: "))
        .collect();
    assert_fits(&trees.join("\n"), options.width);
    text
}

/// Tasks named A, B, … from who awaits each.
fn awaited(awaiters: &[&[u64]]) -> Snapshot {
    let tasks = (0_u64..).zip(awaiters).map(|(number, awaiters)| TaskInfo {
        awaited_by: awaiters.iter().map(|number| task_id(*number)).collect(),
        coroutine_stack: chain_of(&["step"]),
        waits_on: Some(wait("future", "Future")),
        ..task(
            number,
            &char::from(b'A' + u8::try_from(number).unwrap()).to_string(),
        )
    });
    let mut result = snapshot(vec![idle_loop(0, 7)], tasks.collect());
    result.loops[0].ready = None;
    result.loops[0].timers = None;
    result
}

/// A task group two deep with sixty equal leaves.
fn groups() -> Snapshot {
    let mut tasks = shop().tasks;
    tasks.truncate(2);
    tasks[1].awaited_by = vec![task_id(1)];
    for group in 0..2 {
        let parent = 200 + 100 * group;
        tasks.push(TaskInfo {
            awaited_by: vec![task_id(1)],
            coroutine_stack: waiting_in(
                &["sync_region"],
                ("TaskGroup.__aexit__", "taskgroups.py", 72),
            ),
            waits_on: Some(wait("TaskGroup", "Future")),
            ..task(parent, &format!("region-{group}"))
        });
        tasks.extend((1..=30).map(|number| TaskInfo {
            awaited_by: vec![task_id(parent)],
            ..task(parent + number, &format!("sync-{group}-{number}"))
        }));
    }
    let mut loop_info = idle_loop(0, 4242);
    loop_info.state = LoopState::Busy;
    loop_info.turn_ns = Some(3_100_000);
    loop_info.running = Some(task_id(7));
    loop_info.tasks = tasks.len() as u64;
    snapshot(vec![loop_info], tasks)
}

#[test]
fn shop_at_80_columns() {
    insta::assert_snapshot!(tree(&shop(), &options(80)));
}

#[test]
fn groups_at_80_columns() {
    insta::assert_snapshot!(tree(&groups(), &options(80)));
}

#[test]
fn groups_at_140_columns_in_ascii() {
    let mut options = options(140);
    options.style.ascii = true;
    insta::assert_snapshot!(tree(&groups(), &options));
}

#[test]
fn all_unfolds() {
    let mut options = options(80);
    options.all = true;
    let text = tree(&groups(), &options);
    assert_eq!(text.matches("sync-").count(), 60, "{text}");
}

#[test]
fn shared_tasks_are_written_once() {
    insta::assert_snapshot!(tree(&awaited(&[&[], &[], &[0, 1], &[2]]), &options(80)));
}

#[test]
fn deadlocks_are_named() {
    insta::assert_snapshot!(tree(
        &awaited(&[&[2], &[0], &[1, 3], &[], &[4]]),
        &options(80)
    ));
}

#[test]
fn a_cycle_read_while_it_changed_is_only_possible() {
    let mut target = awaited(&[&[1], &[0]]);
    target.tasks[1].torn = true;
    target.complete = false;
    target.faults.add(FaultKind::TaskTorn);
    insta::assert_snapshot!(tree(&target, &options(80)));
}

#[test]
fn equal_names_are_told_apart_by_id() {
    let mut target = awaited(&[&[1], &[0]]);
    target.tasks[0].name = "B".into();
    let text = tree(&target, &options(80));
    assert!(
        text.contains("deadlock: B (0000) → B (0110) → B (0000)"),
        "{text}"
    );
}

#[test]
fn unlisted_awaiters_and_loops_are_said() {
    let mut target = awaited(&[&[77]]);
    target.loops.clear();
    insta::assert_snapshot!(tree(&target, &options(80)), @r"
    pid 4242, Python 3.12.1, 1 task on 0 loops, read in 1.2 ms

    tasks of loop 0x7f3a20000000, which could not be read
    A  waiting: future, awaited by 1 task not listed
        step (/srv/app/shop/views.py:10)
    ");
}

#[test]
fn a_chain_of_100_000_stays_in_bounds() {
    let last = 99_999_u64;
    let chain = chain_of(&["step"]);
    let mut tasks: Vec<TaskInfo> = (0..=last)
        .map(|number| TaskInfo {
            awaited_by: number.checked_sub(1).map(task_id).into_iter().collect(),
            coroutine_stack: chain.clone(),
            ..task(number, &format!("Task-{number}"))
        })
        .collect();
    let deep = tree(
        &snapshot(vec![idle_loop(0, 7)], tasks.clone()),
        &options(80),
    );
    assert!(deep.len() < 30_000_000, "{}", deep.len());
    assert!(
        deep.contains("└── [depth 99999] Task-99999"),
        "the last is there"
    );
    tasks[0].awaited_by = vec![task_id(last)];
    let cycle = tree(&snapshot(vec![idle_loop(0, 7)], tasks), &options(80));
    let deadlock = cycle.lines().nth(1).unwrap();
    assert_eq!(
        deadlock,
        "deadlock: Task-0 → Task-1 → Task-2 → Task-3 → Task-4 → Task-5 → Task-6 → Task-7 → \
         … 99992 more … → Task-0"
    );
}

#[test]
fn a_deep_coroutine_chain_is_a_count() {
    let mut target = awaited(&[&[]]);
    target.tasks[0].coroutine_stack = std::iter::repeat_n(at("f", "/f.py", 1), 100_000).collect();
    assert!(tree(&target, &options(80)).contains("f (/f.py:1) and 99999 more"));
}

#[test]
fn hostile_and_empty_data_stay_in_bounds() {
    let mut target = awaited(&[&[1], &[0], &[0]]);
    target.tasks[2].state = TaskState::Running;
    for evil in &mut target.tasks {
        evil.name = format!("{HOSTILE}{}", "\u{301}漢".repeat(1_000_000)).into();
        evil.coroutine_stack = Arc::from([at(HOSTILE, HOSTILE, 1)]);
        evil.waits_on = Some(wait(HOSTILE, HOSTILE));
    }
    for width in [0, 1, 9, 40, 80, 200] {
        tree(&target, &options(width));
    }
    assert!(tree(&snapshot(vec![], vec![]), &options(80)).contains("no task was found"));
}

#[test]
fn a_closed_pipe_is_an_error_not_a_panic() {
    for bytes in (0..1500).step_by(101) {
        assert!(write_task_tree(&mut ClosedPipe(bytes), &shop(), &options(80)).is_err());
    }
}
