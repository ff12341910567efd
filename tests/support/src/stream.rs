//! A made-up stream of samples: one busy loop with so many distinct stacks.

use std::sync::Arc;

use asyncspy_model::sample::{LoopDefinition, Session};
use asyncspy_model::{
    Event, FrameKind, Location, LoopActivity, LoopId, LoopKind, LoopSample, RemoteAddr, Sample,
    SamplingQuality, StackFrame, StackId, TaskDefinition, TaskId, TaskIndex, Turn,
};

/// Frames of each stack.
const DEPTH: u32 = 20;

/// Time between two samples.
const INTERVAL_NS: u64 = 1_000_000;

/// When the stream begins: far from 0, as on a real machine.
const BEGAN_NS: u64 = 1_000_000_000_000;

/// Odd and large, so that its multiples visit the stacks in no order.
const STRIDE: u64 = 2_654_435_761;

const LOOP: LoopId = LoopId(RemoteAddr(0x1000));

/// Makes samples, one after the other, for ever.
#[derive(Debug)]
pub struct MadeUpStream {
    stacks: u32,
    quality: SamplingQuality,
}

impl MadeUpStream {
    /// A stream with so many distinct stacks, at least one.
    #[must_use]
    pub fn new(stacks: u32) -> Self {
        Self {
            stacks: stacks.max(1),
            quality: SamplingQuality::default(),
        }
    }

    /// What comes before the samples: all that they refer to.
    pub fn opening(&self) -> impl Iterator<Item = Event> {
        let stacks = (0..self.stacks).map(|number| Event::Stack {
            id: StackId(number),
            frames: frames_of(number),
        });
        [Event::Session(session()), definition(), task()]
            .into_iter()
            .chain(stacks)
    }

    /// The next sample.
    pub fn sample(&mut self) -> Event {
        let number = self.quality.samples;
        self.quality.samples += 1;
        let at_monotonic_ns = BEGAN_NS + self.quality.samples * INTERVAL_NS;
        let stack = number.wrapping_mul(STRIDE) % u64::from(self.stacks);
        let turn = Turn {
            identity: number,
            began_monotonic_ns: Some(at_monotonic_ns - INTERVAL_NS / 2),
            begun_by_monotonic_ns: None,
            callback_began_monotonic_ns: None,
            callback: Some((0, 1)),
            handle: RemoteAddr(number),
        };
        let busy = LoopSample {
            loop_id: LOOP,
            activity: LoopActivity::Busy(turn),
            task: Some(TaskIndex(0)),
            stack: Some(StackId(stack as u32)),
            os_state: '?',
            ready: 0,
            late_timers: 0,
            worst_late_ns: 0,
            torn: false,
            weight_ns: None,
        };
        Event::Sample(Sample {
            at_monotonic_ns,
            elapsed_ns: INTERVAL_NS / 100,
            loops: [busy].into(),
            quality: self.quality,
        })
    }
}

/// The frames of a stack, innermost first. As in a program, outer ones are the same for many: all
/// stacks together are a tree that branches in two at each of its inner levels.
fn frames_of(number: u32) -> Arc<[StackFrame]> {
    let frame = |level: u32| {
        let branch = number >> level;
        let function = format!("Service.function_{level}_{branch}");
        StackFrame {
            location: Location {
                function: function.into(),
                file: format!("/srv/application/package/module_{level}.py").into(),
                line: 10 + branch % 100,
            },
            kind: FrameKind::Coroutine,
        }
    };
    (0..DEPTH).map(frame).collect()
}

/// The facts of the session that it tells of.
#[must_use]
pub fn session() -> Session {
    Session {
        pid: 42,
        command: "python app.py".into(),
        python: "3.15.0".into(),
        process_started_unix_ns: 0,
        began_monotonic_ns: BEGAN_NS,
        began_unix_ns: 0,
        interval_ns: INTERVAL_NS,
    }
}

fn definition() -> Event {
    Event::Loop(LoopDefinition {
        id: LOOP,
        kind: LoopKind::Asyncio,
        class: "_UnixSelectorEventLoop".into(),
        tid: 42,
        thread_name: "MainThread".into(),
    })
}

fn task() -> Event {
    Event::Task(TaskDefinition {
        index: TaskIndex(0),
        id: TaskId(RemoteAddr(0x2000)),
        name: "Task-1".into(),
        label: "main".into(),
        awaiters: Vec::new(),
    })
}
