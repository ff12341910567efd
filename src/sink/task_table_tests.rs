//! Golden tables, and tables of hostile data.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use asyncspy_model::{FaultKind, Snapshot, TaskState};

use super::fixtures::*;
use super::style::Style;
use super::task_table::{SortKey, TaskTableOptions, write_task_table};

fn options(width: usize) -> TaskTableOptions {
    TaskTableOptions {
        command: "/usr/bin/python3 -m shop --port 8000".to_owned(),
        all: false,
        sort: None,
        filter: None,
        width,
        style: Style::default(),
    }
}

fn table(snapshot: &Snapshot, options: &TaskTableOptions) -> String {
    let text = text(|out| write_task_table(out, snapshot, options));
    assert_fits(&text, options.width);
    text
}

#[test]
fn shop_at_80_columns() {
    insta::assert_snapshot!(table(&shop(), &options(80)));
}

#[test]
fn shop_at_140_columns() {
    insta::assert_snapshot!(table(&shop(), &options(140)));
}

#[test]
fn shop_at_40_columns() {
    insta::assert_snapshot!(table(&shop(), &options(40)));
}

#[test]
fn shop_in_colour() {
    let mut options = options(100);
    options.style.color = true;
    let text = text(|out| write_task_table(out, &shop(), &options));
    insta::assert_snapshot!(text.replace('\x1b', "ESC"));
}

#[test]
fn filtered_table_says_how_many_of_how_many() {
    let mut options = options(80);
    options.filter = Some(regex::Regex::new("lock|price").unwrap());
    insta::assert_snapshot!(table(&shop(), &options));
}

#[test]
fn filter_looks_at_every_column() {
    let cases = [
        ("flush$", 1),
        ("^cancelling$", 1),
        ("^gather", 1),
        ("client.py:118", 1),
        ("add_to_cart > Cart.save", 3),
        ("no such", 0),
    ];
    for (pattern, count) in cases {
        let mut options = options(80);
        options.filter = Some(regex::Regex::new(pattern).unwrap());
        let text = table(&shop(), &options);
        assert!(
            text.contains(&format!("{count} of 50 match")),
            "{pattern}: {text}"
        );
    }
}

#[test]
fn sorted_as_asked() {
    let cases = [
        (SortKey::Name, "GET /product/17"),
        (SortKey::State, "POST /checkout"),
        (SortKey::Waiting, "POST /checkout"),
        (SortKey::Where, "POST /checkout"),
        (SortKey::Id, "Task-1"),
        (SortKey::Chain, "PUT /cart/31"),
    ];
    for (key, first) in cases {
        let mut options = options(140);
        options.sort = Some(key);
        let text = table(&shop(), &options);
        let row = text
            .lines()
            .skip_while(|line| !line.starts_with("ID"))
            .nth(1);
        assert!(row.unwrap().contains(first), "{key:?}: {text}");
    }
}

#[test]
fn equal_tasks_fold_from_twenty_on() {
    let tasks = |count| (0..count).map(|n| task(n, &format!("Task-{n}"))).collect();
    let rows = |snapshot: &Snapshot, all: bool| {
        let mut options = options(80);
        options.all = all;
        table(snapshot, &options)
            .lines()
            .filter(|line| line.contains("waiting"))
            .count()
    };
    let just_below = snapshot(vec![idle_loop(0, 1)], tasks(19));
    let enough = snapshot(vec![idle_loop(0, 1)], tasks(20));
    assert_eq!(
        (
            rows(&just_below, false),
            rows(&enough, false),
            rows(&enough, true)
        ),
        (19, 1, 20)
    );
}

#[test]
fn what_is_lacking_comes_last() {
    let mut shop = shop();
    shop.complete = false;
    shop.faults.add_many(FaultKind::TaskTorn, 3);
    shop.faults.add(FaultKind::TasksUnreachable);
    shop.faults.add_many(FaultKind::TextCut, 9);
    shop.tasks[3].torn = true;
    shop.loops.pop();
    insta::assert_snapshot!(text(|out| write_task_table(out, &shop, &options(80))));
    shop.faults.0.clear();
    let text = table(&shop, &options(80));
    assert!(
        text.lines().last().unwrap().starts_with("incomplete: "),
        "{text}"
    );
}

#[test]
fn empty_snapshots_say_so() {
    insta::assert_snapshot!(table(&snapshot(vec![], vec![]), &options(80)), @r"
    pid 4242, Python 3.12.1, 0 tasks on 0 loops, read in 1.2 ms
    /usr/bin/python3 -m shop --port 8000
    no event loop and no task was found
    ");
    insta::assert_snapshot!(table(&snapshot(vec![idle_loop(0, 7)], vec![]), &options(80)), @r"
    pid 4242, Python 3.12.1, 0 tasks on 1 loop, read in 1.2 ms
    /usr/bin/python3 -m shop --port 8000

    idle  asyncio _UnixSelectorEventLoop, thread 7, 0 tasks
      0 ready, 3 timers
    ");
}

#[test]
fn hostile_names_stay_on_their_line() {
    let mut evil = task(1, HOSTILE);
    evil.coroutine_stack = Arc::from([at(HOSTILE, HOSTILE, u32::MAX)]);
    evil.waits_on = Some(wait(HOSTILE, HOSTILE));
    let mut target = snapshot(
        vec![idle_loop(0, 7)],
        vec![evil, task(2, &"\u{301}漢".repeat(1_000_000))],
    );
    target.python = HOSTILE.into();
    target.loops[0].class = HOSTILE.into();
    for width in [0, 1, 10, 40, 80, 200] {
        let options = TaskTableOptions {
            command: HOSTILE.to_owned(),
            ..options(width)
        };
        table(&target, &options);
    }
    insta::assert_snapshot!(table(&target, &options(80)));
}

#[test]
fn huge_names_are_cut_quickly() {
    let huge = "x".repeat(10_000_000);
    let mut tasks: Vec<_> = (0..30).map(|number| task(number, &huge)).collect();
    tasks[0].state = TaskState::Running;
    let started = Instant::now();
    let text = table(&snapshot(vec![idle_loop(0, 7)], tasks), &options(200));
    assert!(text.len() < 10_000, "{}", text.len());
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn a_closed_pipe_is_an_error_not_a_panic() {
    let whole = table(&shop(), &options(80)).len();
    for bytes in (0..whole).step_by(97) {
        let error = write_task_table(&mut ClosedPipe(bytes), &shop(), &options(80)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
