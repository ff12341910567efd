//! The census of the made-up service.

use std::collections::BTreeMap;
use std::sync::Arc;

use asyncspy_model::report::{Report, TaskHistory};
use asyncspy_model::{
    Faults, Location, LoopId, LoopInfo, LoopKind, LoopState, RemoteAddr, Snapshot, TaskId,
    TaskInfo, TaskState, ThreadInfo, WaitsOn,
};

use super::{HOSTILE, MAIN_LOOP, SIDE_LOOP, culprit, library, location, report_at};

fn id(number: u64) -> TaskId {
    TaskId(RemoteAddr(0x7f00_1000_0000 + number * 0x100))
}

fn own(function: &str, file: &str, line: u32) -> Location {
    location(function, &format!("/srv/shop/{file}"), line)
}

fn task(number: u64, name: &str, state: TaskState, chain: Vec<Location>) -> TaskInfo {
    TaskInfo {
        id: id(number),
        name: name.into(),
        class: "Task".into(),
        loop_id: MAIN_LOOP,
        state,
        cancelling: false,
        coroutine_stack: chain.into(),
        sync_stack: Vec::new().into(),
        awaited_by: Vec::new(),
        waits_on: None,
        torn: false,
    }
}

fn waiting(number: u64, name: &str, kind: &str, chain: Vec<Location>) -> TaskInfo {
    let waits_on = WaitsOn {
        kind: kind.into(),
        leaf: "Future".into(),
        tasks: Vec::new(),
        detail: None,
    };
    TaskInfo {
        waits_on: Some(waits_on),
        ..task(number, name, TaskState::Waiting, chain)
    }
}

/// Makes `parent` wait for `children`.
fn awaits(tasks: &mut [TaskInfo], parent: u64, children: &[u64]) {
    for task in tasks.iter_mut() {
        if task.id == id(parent) {
            if let Some(waits) = &mut task.waits_on {
                waits.tasks = children.iter().map(|number| id(*number)).collect();
            }
        } else if children.iter().any(|number| task.id == id(*number)) {
            task.awaited_by.push(id(parent));
        }
    }
}

/// Threads, loops and tasks at a moment.
pub fn snapshot(at: u64) -> Snapshot {
    let tasks = all_tasks();
    let count = |loop_id| tasks.iter().filter(|task| task.loop_id == loop_id).count() as u64;
    Snapshot {
        schema: "asyncspy.ps".into(),
        schema_version: 1,
        pid: 4242,
        python: "3.12.1".into(),
        complete: true,
        faults: Faults::default(),
        began_monotonic_ns: at,
        began_unix_ns: 0,
        elapsed_ns: 900_000,
        loops: vec![
            loop_info(
                MAIN_LOOP,
                LoopKind::Asyncio,
                LoopState::Busy,
                4242,
                count(MAIN_LOOP),
            ),
            loop_info(
                SIDE_LOOP,
                LoopKind::Uvloop,
                LoopState::Idle,
                4250,
                count(SIDE_LOOP),
            ),
        ],
        threads: threads(),
        tasks,
    }
}

fn loop_info(id: LoopId, kind: LoopKind, state: LoopState, tid: i32, tasks: u64) -> LoopInfo {
    LoopInfo {
        id,
        kind,
        class: "Loop".into(),
        tid: Some(tid),
        interpreter: 0,
        state,
        turn_ns: None,
        callback: None,
        ready: Some(14),
        timers: Some(20),
        late_timers: Some(3),
        worst_late_ns: 0,
        running: None,
        coroutine: None,
        tasks,
        debug: false,
    }
}

fn all_tasks() -> Vec<TaskInfo> {
    let mut tasks = first_tasks();
    tasks.extend(odd_tasks());
    tasks.extend((10..22).map(queue_worker));
    tasks.extend((22..32).map(connection));
    let drain = vec![own("drain", "app.py", 150)];
    let cancelled = waiting(32, "old-connection", "sleep", drain);
    tasks.push(TaskInfo {
        cancelling: true,
        ..cancelled
    });
    tasks.extend((33..36).map(pusher));
    awaits(
        &mut tasks,
        0,
        &[2, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
    );
    awaits(&mut tasks, 2, &[1]);
    awaits(&mut tasks, 4, &[5]);
    awaits(&mut tasks, 5, &[4]);
    tasks
}

fn first_tasks() -> Vec<TaskInfo> {
    let blocker = vec![own("blocker", "app.py", 40), own("serve", "app.py", 12)];
    let acquire = library("Lock.acquire", "asyncio/locks.py", 113);
    vec![
        waiting(0, "main", "gather", vec![own("main", "app.py", 88)]),
        TaskInfo {
            sync_stack: vec![culprit()].into(),
            ..task(1, "blocker", TaskState::Running, blocker)
        },
        waiting(
            2,
            "Task-2",
            "task",
            vec![own("serve_forever", "app.py", 31)],
        ),
        waiting(
            3,
            "transfer-a",
            "Lock.acquire",
            vec![acquire, own("transfer", "bank.py", 23)],
        ),
    ]
}

/// Two that wait for each other, two that wait for the loop, two with odd names.
fn odd_tasks() -> Vec<TaskInfo> {
    let render = vec![own("Report.render", "report.py", 121)];
    let tick = vec![own("Ticker._tick", "ticker.py", 9)];
    let evil = vec![location(HOSTILE, "/tmp/\x1b]0;owned\x07/日本語.py", 7)];
    vec![
        waiting(4, "left", "task", vec![own("left", "circle.py", 5)]),
        waiting(5, "right", "task", vec![own("right", "circle.py", 9)]),
        task(6, "Task-7", TaskState::Runnable, render),
        task(7, "ticker", TaskState::Runnable, tick),
        waiting(8, HOSTILE, "sleep", evil),
        waiting(
            9,
            "注文処理-東京",
            "Event.wait",
            vec![own("order", "orders.py", 77)],
        ),
    ]
}

/// A task of the second loop.
fn pusher(number: u64) -> TaskInfo {
    let chain = vec![
        library("sleep", "asyncio/tasks.py", 665),
        own("push", "metrics.py", 30),
    ];
    let sleeping = waiting(number, &format!("metrics-{number}"), "sleep", chain);
    TaskInfo {
        loop_id: SIDE_LOOP,
        torn: number == 35,
        ..sleeping
    }
}

fn queue_worker(number: u64) -> TaskInfo {
    let chain = vec![
        library("Queue.get", "asyncio/queues.py", 158),
        own("Worker.run", "worker.py", 17),
    ];
    waiting(
        number,
        &format!("worker-{}", number - 9),
        "Queue.get",
        chain,
    )
}

fn connection(number: u64) -> TaskInfo {
    let chain = vec![
        library("StreamReader._wait_for_data", "asyncio/streams.py", 522),
        library("StreamReader.readline", "asyncio/streams.py", 568),
        own("Connection.serve", "connection.py", 64),
    ];
    let mut connection = waiting(
        number,
        &format!("Task-{}", number + 100),
        "StreamReader.readline",
        chain,
    );
    if let Some(waits) = &mut connection.waits_on {
        waits.detail = Some(format!("fd {}", number + 6).into());
    }
    connection
}

fn thread(tid: i32, name: &str, os_state: char, stack: Vec<Location>) -> ThreadInfo {
    ThreadInfo {
        tid,
        name: name.into(),
        interpreter: 0,
        holds_gil: false,
        collects_garbage: false,
        os_state,
        loop_id: None,
        stack: stack.into(),
        locals: Vec::new(),
        torn: false,
    }
}

fn threads() -> Vec<ThreadInfo> {
    let mut threads = loop_threads();
    threads.extend(worker_threads());
    threads
}

fn thread_run() -> Location {
    library("Thread.run", "threading.py", 1010)
}

fn loop_threads() -> Vec<ThreadInfo> {
    let forever = library("BaseEventLoop.run_forever", "asyncio/base_events.py", 639);
    let main = vec![culprit(), own("serve", "app.py", 12), forever];
    let side = vec![
        library("Runner.run", "asyncio/runners.py", 118),
        thread_run(),
    ];
    vec![
        ThreadInfo {
            loop_id: Some(MAIN_LOOP),
            ..thread(4242, "MainThread", 'S', main)
        },
        ThreadInfo {
            loop_id: Some(SIDE_LOOP),
            ..thread(4250, "metrics-loop", 'S', side)
        },
    ]
}

fn worker_threads() -> Vec<ThreadInfo> {
    let worker = || library("_worker", "concurrent/futures/thread.py", 90);
    let item = || library("_WorkItem.run", "concurrent/futures/thread.py", 58);
    let compress = vec![
        own("compress", "images.py", 33),
        item(),
        worker(),
        thread_run(),
    ];
    let read = vec![
        own("read_all", "disk.py", 8),
        item(),
        worker(),
        thread_run(),
    ];
    let watch = vec![own("Watcher.run", "watch.py", 19), thread_run()];
    vec![
        ThreadInfo {
            holds_gil: true,
            ..thread(4251, "asyncio_0", 'R', compress)
        },
        thread(4252, "asyncio_1", 'S', vec![worker(), thread_run()]),
        ThreadInfo {
            torn: true,
            ..thread(4253, "ThreadPoolExecutor-1_0", 'D', read)
        },
        ThreadInfo {
            collects_garbage: true,
            ..thread(4254, HOSTILE, 'S', watch)
        },
    ]
}

/// A report with so many tasks, for measuring.
pub fn many_tasks(count: u64) -> Report {
    let mut report = report_at(126_240);
    let mut snapshot = snapshot(report.at_monotonic_ns);
    snapshot.tasks = (10..10 + count).map(queue_worker).collect();
    let at = report.at_monotonic_ns;
    let history = |(position, task): (u64, &TaskInfo)| {
        let history = TaskHistory {
            first_seen_monotonic_ns: at - position % 5_000 * 1_000_000,
            waiting_since_monotonic_ns: at - position % 3_000 * 1_000_000,
            held_ns: position * 7_919 % 1_000_003,
        };
        (task.id, history)
    };
    let histories: BTreeMap<TaskId, TaskHistory> =
        (0..count).zip(&snapshot.tasks).map(history).collect();
    report.task_history = Arc::new(histories);
    report.snapshot = Some(Arc::new(snapshot));
    report
}
