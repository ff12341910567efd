//! What is read along with a loop's stack: the running task, and the counts that tell the turns
//! of a loop without a frame apart.

use asyncspy_model::{LoopKind, RemoteAddr};

use super::discovery::RunningLoopFound;
use super::opaque::OpaqueReading;
use super::task_reads::TaskReads;
use crate::aio::Caches;
use crate::aio::loop_turn::{LoopReads, Taken, TurnReading};
use crate::layout::uvloop;
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::object::Objects;
use crate::python::stack::Alongside;
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::Fields;

/// Ranges that are read along with the stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    context_version: Option<Wanted>,
    uv_time: Option<Wanted>,
    uv_count: Option<Wanted>,
}

/// What a loop sampler reads along with the stack of its loop's thread.
pub struct LoopAlongside<'a> {
    /// The target.
    pub python: &'a Python,
    /// The loop, and its thread.
    pub found: &'a RunningLoopFound,
    /// The running task.
    pub task: &'a TaskReads,
    /// The loop's own frame.
    pub reads: &'a mut LoopReads,
    /// Where the batch has it.
    pub wanted: &'a mut Extra,
    /// Types and code.
    pub caches: &'a mut Caches,
    /// What the loop's own frame has said: its position in the stack, and the turn if it can be
    /// told; `None` for a loop without a frame, or without that frame.
    pub turn: Option<(usize, Option<TurnReading>)>,
    /// How often a stock loop is looked at again because it was met at a moment that tells
    /// nothing, as between two turns.
    pub patience: usize,
}

impl Alongside for LoopAlongside<'_> {
    fn expect(&mut self, frames: &[RawFrame]) {
        self.reads.expect(frames);
    }

    fn anchor(&self) -> Option<RemoteAddr> {
        self.reads.frame()
    }

    fn between(&mut self, gather: &mut Gather) {
        self.task.plan(self.python, self.found, gather);
        *self.wanted = Extra::plan_turn(self.python, self.found, gather);
        self.reads.plan_turn(&self.python.layout, gather);
    }

    fn after(&mut self, gather: &mut Gather) {
        self.reads.plan_rest(gather);
    }

    fn settles(&mut self, gather: &Gather, frames: &[RawFrame]) -> bool {
        self.turn = None;
        if self.found.facts.kind != LoopKind::Asyncio {
            return true;
        }
        let python = self.python;
        let (memory, layout) = (&python.memory, &python.layout);
        let Some(at) = self.loop_frame(frames) else {
            return self.gives_up();
        };
        match self.reads.take(memory, layout, gather, (frames, at)) {
            Taken::Turn(reading) => self.turn = Some((at, Some(reading))),
            Taken::Untold if self.gives_up() => self.turn = Some((at, None)),
            Taken::Untold | Taken::Moved => return false,
        }
        true
    }
}

impl LoopAlongside<'_> {
    /// False as long as another look may tell more.
    const fn gives_up(&mut self) -> bool {
        let gives_up = self.patience == 0;
        self.patience = self.patience.saturating_sub(1);
        gives_up
    }

    /// The position of a stock loop's frame.
    pub fn loop_frame(&mut self, frames: &[RawFrame]) -> Option<usize> {
        if self.found.facts.kind != LoopKind::Asyncio {
            return None;
        }
        let python = self.python;
        let objects = Objects {
            view: &python.memory,
            layout: &python.layout,
        };
        // Without it the loop's turn is unknown, as the sample then says.
        let found = self.reads.find(objects, self.caches, frames);
        found.ok().flatten()
    }
}

impl Extra {
    /// Adds to a batch which turn of a loop without a frame it is.
    pub fn plan_turn(python: &Python, found: &RunningLoopFound, gather: &mut Gather) -> Self {
        let layout = &python.layout;
        let mut extra = Self::default();
        if found.facts.kind != LoopKind::Asyncio {
            let version = layout.thread.context_version;
            extra.context_version =
                Some(gather.want_within_group(found.thread.addr.offset(version), 8));
            let queues = &found.facts.queues;
            if !queues.uv_loop.is_null() {
                extra.uv_time = Some(gather.want(queues.uv_loop.offset(uvloop::TIME), 8));
                extra.uv_count = Some(gather.want(queues.uv_count, 8));
            }
        }
        extra
    }

    /// What the batch has read of a loop without a frame.
    #[must_use]
    pub fn opaque(&self, gather: &Gather) -> OpaqueReading {
        let value = |wanted: Option<Wanted>| {
            let fields: Option<Fields<'_>> = wanted.and_then(|wanted| gather.fields(wanted));
            fields.map_or(0, |fields| fields.u64(0))
        };
        OpaqueReading {
            context_version: value(self.context_version),
            uv_time: value(self.uv_time),
            uv_count: value(self.uv_count),
        }
    }
}
