//! Snapshots made by hand for the tests of the sinks.

use std::sync::Arc;

use asyncspy_model::{
    Faults, Location, LoopId, LoopInfo, LoopKind, LoopState, RemoteAddr, Snapshot, TaskId,
    TaskInfo, TaskState, ThreadInfo, WaitsOn,
};

/// A text that tries everything on a terminal.
pub(super) const HOSTILE: &str = "evil\x1b[2J\x1b]0;pwned\x07\n\u{202e}gnp.exe\u{9b}31m";

pub(super) fn at(function: &str, file: &str, line: u32) -> Location {
    Location {
        function: function.into(),
        file: file.into(),
        line,
    }
}

/// A chain of functions, given outermost first, all in one file.
pub(super) fn chain_of(functions: &[&str]) -> Arc<[Location]> {
    let file: Arc<str> = "/srv/app/shop/views.py".into();
    let links = functions
        .iter()
        .enumerate()
        .rev()
        .map(|(index, function)| Location {
            function: (*function).into(),
            file: file.clone(),
            line: 10 * (u32::try_from(index).unwrap() + 1),
        });
    links.collect()
}

/// A chain that ends in the standard library: `functions` outermost first, then `inner`.
pub(super) fn waiting_in(functions: &[&str], inner: (&str, &str, u32)) -> Arc<[Location]> {
    let library = at(
        inner.0,
        &format!("/usr/lib/python3.12/asyncio/{}", inner.1),
        inner.2,
    );
    std::iter::once(library)
        .chain(chain_of(functions).iter().cloned())
        .collect()
}

pub(super) fn task_id(number: u64) -> TaskId {
    TaskId(RemoteAddr(0x7f3a_1c00_0000 + number * 0x110))
}

pub(super) fn loop_id(number: u64) -> LoopId {
    LoopId(RemoteAddr(0x7f3a_2000_0000 + number * 0x1000))
}

pub(super) fn task(number: u64, name: &str) -> TaskInfo {
    TaskInfo {
        id: task_id(number),
        name: name.into(),
        class: "Task".into(),
        loop_id: loop_id(0),
        state: TaskState::Waiting,
        cancelling: false,
        coroutine_stack: waiting_in(&["handle"], ("sleep", "tasks.py", 665)),
        sync_stack: Arc::from([]),
        awaited_by: Vec::new(),
        waits_on: Some(wait("sleep", "Future")),
        torn: false,
    }
}

pub(super) fn wait(kind: &str, leaf: &str) -> WaitsOn {
    WaitsOn {
        kind: kind.into(),
        leaf: leaf.into(),
        tasks: Vec::new(),
        detail: None,
    }
}

pub(super) fn idle_loop(number: u64, tid: i32) -> LoopInfo {
    LoopInfo {
        id: loop_id(number),
        kind: LoopKind::Asyncio,
        class: "_UnixSelectorEventLoop".into(),
        tid: Some(tid),
        interpreter: 0,
        state: LoopState::Idle,
        turn_ns: None,
        callback: None,
        ready: Some(0),
        timers: Some(3),
        late_timers: Some(0),
        worst_late_ns: 0,
        running: None,
        coroutine: None,
        tasks: 0,
        debug: false,
    }
}

pub(super) fn thread(tid: i32, name: &str) -> ThreadInfo {
    ThreadInfo {
        tid,
        name: name.into(),
        interpreter: 0,
        holds_gil: false,
        collects_garbage: false,
        os_state: 'S',
        loop_id: None,
        stack: Arc::from([]),
        locals: Vec::new(),
        torn: false,
    }
}

pub(super) fn snapshot(loops: Vec<LoopInfo>, tasks: Vec<TaskInfo>) -> Snapshot {
    Snapshot {
        schema: "asyncspy.ps".into(),
        schema_version: 1,
        pid: 4242,
        python: "3.12.1".into(),
        complete: true,
        faults: Faults::default(),
        began_monotonic_ns: 86_400_000_000_000,
        began_unix_ns: 1_795_305_600_118_000_000,
        elapsed_ns: 1_240_000,
        loops,
        tasks,
        threads: Vec::new(),
    }
}

/// A web shop at its worst: one loop held by a handler for 1.24 s, forty equal workers, a gather,
/// a lock convoy, and a quiet second loop in another thread.
pub(super) fn shop() -> Snapshot {
    let mut tasks = vec![main_task(), stalled_task()];
    tasks.extend((0..40).map(|number| {
        let mut worker = task(100 + number, &format!("worker-{}", number + 1));
        worker.coroutine_stack = waiting_in(&["worker"], ("Queue.get", "queues.py", 158));
        worker.waits_on = Some(wait("Queue.get", "Future"));
        worker
    }));
    tasks.extend(gather_tasks());
    tasks.extend(lock_tasks());
    tasks.push(second_loop_task());
    let count = tasks.len() as u64 - 1;
    let mut result = snapshot(vec![stalled_loop(count), second_loop()], tasks);
    result.threads = vec![stalled_thread(), quiet_thread()];
    result
}

fn stalled_loop(tasks: u64) -> LoopInfo {
    LoopInfo {
        state: LoopState::Busy,
        turn_ns: Some(1_240_000_000),
        callback: Some((2, 17)),
        ready: Some(12),
        timers: Some(40),
        late_timers: Some(7),
        worst_late_ns: 1_100_000_000,
        running: Some(task_id(7)),
        tasks,
        ..idle_loop(0, 4242)
    }
}

fn second_loop() -> LoopInfo {
    LoopInfo {
        kind: LoopKind::Uvloop,
        class: "Loop".into(),
        ready: None,
        timers: None,
        late_timers: None,
        tasks: 1,
        ..idle_loop(1, 4250)
    }
}

fn stalled_thread() -> ThreadInfo {
    let stalled = stalled_task();
    let machinery = [
        at("Handle._run", "/usr/lib/python3.12/asyncio/events.py", 88),
        at(
            "BaseEventLoop._run_once",
            "/usr/lib/python3.12/asyncio/base_events.py",
            1987,
        ),
        at(
            "BaseEventLoop.run_forever",
            "/usr/lib/python3.12/asyncio/base_events.py",
            641,
        ),
        at("run", "/usr/lib/python3.12/asyncio/runners.py", 194),
        at("<module>", "/srv/app/shop/__main__.py", 9),
    ];
    let frames = stalled
        .sync_stack
        .iter()
        .chain(stalled.coroutine_stack.iter());
    ThreadInfo {
        holds_gil: false,
        loop_id: Some(loop_id(0)),
        stack: frames.cloned().chain(machinery).collect(),
        ..thread(4242, "MainThread")
    }
}

fn quiet_thread() -> ThreadInfo {
    ThreadInfo {
        loop_id: Some(loop_id(1)),
        stack: Arc::from([at("run_loop", "/srv/app/shop/background.py", 31)]),
        ..thread(4250, "background-loop")
    }
}

fn main_task() -> TaskInfo {
    TaskInfo {
        coroutine_stack: waiting_in(
            &["main", "serve"],
            ("Server.serve_forever", "base_events.py", 366),
        ),
        waits_on: Some(wait("future", "Future")),
        ..task(1, "Task-1")
    }
}

fn stalled_task() -> TaskInfo {
    TaskInfo {
        state: TaskState::Running,
        coroutine_stack: chain_of(&["dispatch", "checkout", "charge_card"]),
        sync_stack: Arc::from([
            at("SSLSocket.read", "/usr/lib/python3.12/ssl.py", 1103),
            at("Client.post", "/srv/app/shop/payments/client.py", 118),
        ]),
        waits_on: None,
        ..task(7, "POST /checkout")
    }
}

fn gather_tasks() -> Vec<TaskInfo> {
    let parent = TaskInfo {
        coroutine_stack: chain_of(&["dispatch", "product_page"]),
        waits_on: Some(WaitsOn {
            tasks: vec![task_id(21), task_id(22)],
            ..wait("gather", "_GatheringFuture")
        }),
        ..task(20, "GET /product/17")
    };
    let child = |number, name: &str, function: &str| TaskInfo {
        coroutine_stack: waiting_in(&[function], ("StreamReader.read", "streams.py", 713)),
        waits_on: Some(wait("StreamReader.read", "Future")),
        awaited_by: vec![task_id(20)],
        ..task(number, name)
    };
    let mut late = child(22, "Task-22", "fetch_reviews");
    late.cancelling = true;
    vec![parent, child(21, "Task-21", "fetch_price"), late]
}

fn lock_tasks() -> Vec<TaskInfo> {
    let convoy = |number: u64| TaskInfo {
        coroutine_stack: waiting_in(
            &["dispatch", "add_to_cart", "Cart.save"],
            ("Lock.acquire", "locks.py", 113),
        ),
        waits_on: Some(wait("Lock.acquire", "Future")),
        ..task(number, &format!("PUT /cart/{number}"))
    };
    let mut tasks: Vec<TaskInfo> = (31..34).map(convoy).collect();
    tasks.push(TaskInfo {
        state: TaskState::Runnable,
        waits_on: None,
        coroutine_stack: chain_of(&["flush_metrics"]),
        ..task(35, "flush")
    });
    tasks
}

fn second_loop_task() -> TaskInfo {
    let mut only = task(60, "heartbeat");
    only.loop_id = loop_id(1);
    only.waits_on = Some(WaitsOn {
        detail: Some("30".into()),
        ..wait("sleep", "Future")
    });
    only
}

/// What a sink wrote, as text.
pub(super) fn text(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A writer like a closed pipe: takes so many bytes, then fails.
pub(super) struct ClosedPipe(pub(super) usize);

impl std::io::Write for ClosedPipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Checks that a text output may go to a terminal: no control character but the line ends, and
/// no line wider than `width`.
pub(super) fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(
            !line.chars().any(char::is_control),
            "control character in {line:?}"
        );
        assert!(
            super::escape::width(line) <= width,
            "wider than {width}: {line}"
        );
    }
}
