//! A small builder of event streams for the tests of this module.

use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::sample::{EndReason, Interruption, LoopDefinition, Session};
use asyncspy_model::{
    BeganIs, Cause, Event, Faults, FrameKind, FrameLabel, Location, LoopActivity, LoopId, LoopInfo,
    LoopKind, LoopSample, LoopState, RemoteAddr, Sample, SamplingQuality, Snapshot, StackFrame,
    StackId, Stall, TaskDefinition, TaskId, TaskIndex, TaskInfo, TaskState, ThreadInfo, Turn,
    WaitsOn,
};

use super::conditions::{Conditions, Rules};
use super::pauses::Pauses;
use super::{Analysis, Finding, Settings};

pub const MS: u64 = 1_000_000;
/// When the test session begins: far from 0, as on a real machine.
pub const START: u64 = 1_000_000 * MS;

pub fn session(interval_ns: u64) -> Session {
    Session {
        pid: 42,
        command: "python app.py".into(),
        python: "3.12.1".into(),
        process_started_unix_ns: 1_600_000_000_000 * MS,
        began_monotonic_ns: START,
        began_unix_ns: 1_700_000_000_000 * MS,
        interval_ns,
    }
}

/// Conditions with a threshold of ten ticks.
pub fn conditions(interval_ns: u64, pauses: Pauses) -> Conditions {
    let settings = Settings {
        threshold_ns: interval_ns * 10,
        error_threshold_ns: interval_ns * 50,
        ..Settings::default()
    };
    Conditions {
        rules: Rules::new(&settings, interval_ns),
        pauses,
    }
}

pub fn loop_id(number: u64) -> LoopId {
    LoopId(RemoteAddr(0x1000 * number))
}

/// A turn of a stock loop whose first callback runs.
pub fn stock(identity: u64, began: u64) -> Turn {
    Turn {
        identity,
        began_monotonic_ns: Some(began),
        begun_by_monotonic_ns: None,
        callback_began_monotonic_ns: None,
        callback: Some((0, 1)),
        handle: RemoteAddr(0x77),
    }
}

/// What runs in a loop that does not record its turns.
pub fn opaque(identity: u64) -> Turn {
    Turn {
        identity,
        began_monotonic_ns: None,
        begun_by_monotonic_ns: None,
        callback_began_monotonic_ns: None,
        callback: None,
        handle: RemoteAddr(0x77),
    }
}

pub fn of_loop(number: u64, activity: LoopActivity) -> LoopSample {
    LoopSample {
        loop_id: loop_id(number),
        activity,
        task: None,
        stack: None,
        os_state: 'S',
        ready: 0,
        late_timers: 0,
        worst_late_ns: 0,
        torn: false,
        weight_ns: None,
    }
}

/// The first loop, held by this turn.
pub fn busy(turn: Turn) -> LoopSample {
    of_loop(1, LoopActivity::Busy(turn))
}

/// The first loop, idle.
pub fn idle() -> LoopSample {
    of_loop(1, LoopActivity::Idle)
}

pub fn place(function: &str, line: u32) -> Location {
    Location {
        function: function.into(),
        file: "/app/app.py".into(),
        line,
    }
}

/// Frames, innermost first, written `function:line`; `~` after it marks a coroutine or generator,
/// `!` the loop's machinery. The line may be left out.
pub fn stack(text: &str) -> Arc<[StackFrame]> {
    let frames = text.split_whitespace().map(|word| {
        let kind = match word.chars().last() {
            Some('~') => FrameKind::Coroutine,
            Some('!') => FrameKind::Machinery,
            _ => FrameKind::Sync,
        };
        let word = word.trim_end_matches(['~', '!']);
        let (function, line) = word.split_once(':').unwrap_or((word, "1"));
        StackFrame {
            location: place(function, line.parse().unwrap()),
            kind,
        }
    });
    frames.collect()
}

/// A stall of a coroutine `job` at this line.
pub fn stall(label: &str, line: u32, duration_ns: u64) -> Stall {
    Stall {
        number: 1,
        loop_id: loop_id(1),
        task: None,
        name: label.into(),
        label: label.into(),
        began_monotonic_ns: START,
        began_unix_ns: 0,
        began_is: BeganIs::Turn,
        duration_ns,
        uncertainty_ns: 0,
        ongoing: false,
        cause: Cause::Blocked,
        stack: Arc::new([]),
        coroutine_stack: Arc::new([place("job", line)]),
        awaiters: Vec::new(),
        samples: 1,
        callbacks: None,
        late_timers: 0,
        ready: 0,
    }
}

/// An analysis under test, with what it has found so far. Times are since [`START`].
pub struct Bench {
    pub analysis: Analysis,
    pub findings: Vec<Finding>,
    pub elapsed_ns: u64,
    samples: u64,
    stacks: u32,
    tasks: u32,
}

impl Bench {
    /// Ticks of 10 ms, a threshold of 100 ms and two stock loops.
    pub fn new() -> Self {
        Self::with(Settings::default(), 10 * MS)
    }

    pub fn with(settings: Settings, interval_ns: u64) -> Self {
        let mut bench = Self {
            analysis: Analysis::new(settings),
            findings: Vec::new(),
            elapsed_ns: 0,
            samples: 0,
            stacks: 0,
            tasks: 0,
        };
        bench.feed(&Event::Session(session(interval_ns)));
        for number in [1, 2] {
            bench.define_loop(number);
        }
        bench
    }

    pub fn feed(&mut self, event: &Event) {
        self.findings.extend(self.analysis.feed(event));
    }

    pub fn define_loop(&mut self, number: u64) {
        self.feed(&Event::Loop(LoopDefinition {
            id: loop_id(number),
            kind: LoopKind::Asyncio,
            class: "_UnixSelectorEventLoop".into(),
            tid: 42,
            thread_name: format!("thread-{number}").into(),
        }));
    }

    /// Defines a stack; see [`stack`] for how it is written.
    pub fn stack(&mut self, text: &str) -> Option<StackId> {
        let id = StackId(self.stacks);
        self.stacks += 1;
        self.feed(&Event::Stack {
            id,
            frames: stack(text),
        });
        Some(id)
    }

    /// Defines a task by its name and, nearest first, the labels of those who wait for it.
    pub fn task(&mut self, name: &str, awaiters: &[&str]) -> Option<TaskIndex> {
        let index = TaskIndex(self.tasks);
        self.tasks += 1;
        self.feed(&Event::Task(TaskDefinition {
            index,
            id: TaskId(RemoteAddr(0x9000 + u64::from(index.0) * 0x100)),
            name: name.into(),
            label: name.into(),
            awaiters: awaiters.iter().map(|&label| label.into()).collect(),
        }));
        Some(index)
    }

    /// A sample of these loops, done at this time.
    pub fn sample(&mut self, at: u64, loops: &[LoopSample]) {
        self.samples += 1;
        let quality = SamplingQuality {
            samples: self.samples,
            ..SamplingQuality::default()
        };
        self.feed(&Event::Sample(Sample {
            at_monotonic_ns: START + at,
            elapsed_ns: self.elapsed_ns,
            loops: loops.into(),
            quality,
        }));
    }

    /// Samples of the first loop at every 10 ms, from one to the other, both included.
    pub fn samples(&mut self, from_ms: u64, until_ms: u64, sample: LoopSample) {
        for at in (from_ms..=until_ms).step_by(10) {
            self.sample(at * MS, &[sample]);
        }
    }

    pub fn interrupt(&mut self, from_ms: u64, until_ms: u64) {
        self.interrupt_ns(from_ms * MS, until_ms * MS);
    }

    pub fn interrupt_ns(&mut self, from: u64, until: u64) {
        self.feed(&Event::Interruption {
            reason: Interruption::Frozen,
            from_monotonic_ns: START.saturating_add(from),
            until_monotonic_ns: START.saturating_add(until),
        });
    }

    pub fn end(&mut self, reason: EndReason, at: u64) {
        self.feed(&Event::End {
            reason,
            at_monotonic_ns: START + at,
            quality: SamplingQuality::default(),
        });
    }

    pub fn report(&self) -> Report {
        self.analysis.report().unwrap()
    }

    /// Stalls that were found to be over, oldest first.
    pub fn ended(&self) -> Vec<Arc<Stall>> {
        let ended = self.findings.iter().filter_map(|finding| match finding {
            Finding::StallEnded(stall) => Some(Arc::clone(stall)),
            Finding::StallPassedError(_) => None,
        });
        ended.collect()
    }
}

pub fn task_id(number: u64) -> TaskId {
    TaskId(RemoteAddr(0x9000 + number * 0x100))
}

/// A runnable task of the first loop, whose coroutine bears its name.
pub fn task_info(number: u64, name: &str) -> TaskInfo {
    TaskInfo {
        id: task_id(number),
        name: name.into(),
        class: "Task".into(),
        loop_id: loop_id(1),
        state: TaskState::Runnable,
        cancelling: false,
        coroutine_stack: Arc::new([place(name, 7)]),
        sync_stack: Arc::new([]),
        awaited_by: Vec::new(),
        waits_on: None,
        torn: false,
    }
}

/// The task, waiting in this call.
pub fn waiting(task: TaskInfo, kind: &str) -> TaskInfo {
    TaskInfo {
        state: TaskState::Waiting,
        waits_on: Some(WaitsOn {
            kind: kind.into(),
            leaf: "Future".into(),
            tasks: Vec::new(),
            detail: None,
        }),
        ..task
    }
}

pub fn task_definition(number: u64, name: &str) -> TaskDefinition {
    TaskDefinition {
        index: TaskIndex(0),
        id: task_id(number),
        name: name.into(),
        label: name.into(),
        awaiters: Vec::new(),
    }
}

/// A census at this millisecond, with one loop in a thread called `main`.
pub fn snapshot(at_ms: u64, tasks: Vec<TaskInfo>) -> Snapshot {
    Snapshot {
        schema: "asyncspy.ps".into(),
        schema_version: 1,
        pid: 42,
        python: "3.12.1".into(),
        complete: true,
        faults: Faults::default(),
        began_monotonic_ns: at_ms * MS,
        began_unix_ns: 0,
        elapsed_ns: 0,
        loops: vec![LoopInfo {
            id: loop_id(1),
            kind: LoopKind::Asyncio,
            class: "Loop".into(),
            tid: Some(42),
            interpreter: 0,
            state: LoopState::Idle,
            turn_ns: None,
            callback: None,
            ready: None,
            timers: Some(3),
            late_timers: None,
            worst_late_ns: 0,
            running: None,
            coroutine: None,
            tasks: tasks.len() as u64,
            debug: false,
        }],
        tasks,
        threads: vec![ThreadInfo {
            tid: 42,
            name: "main".into(),
            interpreter: 0,
            holds_gil: false,
            collects_garbage: false,
            os_state: 'S',
            loop_id: Some(loop_id(1)),
            stack: Arc::new([]),
            locals: Vec::new(),
            torn: false,
        }],
    }
}

/// A path, outermost label first, as `a > b > function:line`.
pub fn path_text(path: &[FrameLabel]) -> String {
    let labels = path.iter().map(|label| match label {
        FrameLabel::Plain(text) => text.to_string(),
        FrameLabel::Code(place) => format!("{}:{}", place.function, place.line),
    });
    labels.collect::<Vec<_>>().join(" > ")
}
