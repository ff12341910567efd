//! What is read along with a loop's stack: the running task, and the counts that tell the turns
//! of a loop without a frame apart.

use asyncspy_model::{LoopKind, RemoteAddr};

use super::discovery::RunningLoopFound;
use super::opaque::OpaqueReading;
use super::task_names::{NameHead, TaskTable};
use crate::aio::Caches;
use crate::aio::loop_turn::{LoopReads, Taken, TurnReading};
use crate::layout::{RunningTask, uvloop};
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::object::Objects;
use crate::python::stack::Alongside;
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{Fields, MemoryView, MemoryViewExt};

/// Bytes of a dict object.
const DICT_SIZE: usize = 48;

/// Where a dict object has its keys.
pub const DICT_KEYS: u64 = 32;

/// Bytes of the keys of a dict with up to eight slots, in any version.
const KEYS_SIZE: usize = 256;

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
    pub plan: ExtraPlan<'a>,
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
        *self.wanted = Extra::plan_turn(&self.plan, gather);
        self.reads.plan_turn(&self.plan.python.layout, gather);
    }

    fn after(&mut self, gather: &mut Gather) {
        self.reads.plan_rest(gather);
        self.plan.plan_rest(gather);
    }

    fn settles(&mut self, gather: &Gather, frames: &[RawFrame]) -> bool {
        self.turn = None;
        if self.plan.found.facts.kind != LoopKind::Asyncio {
            return true;
        }
        let python = self.plan.python;
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
        if self.plan.found.facts.kind != LoopKind::Asyncio {
            return None;
        }
        let python = self.plan.python;
        let objects = Objects {
            view: &python.memory,
            layout: &python.layout,
        };
        // Without it the loop's turn is unknown, as the sample then says.
        let found = self.reads.find(objects, self.caches, frames);
        found.ok().flatten()
    }
}

/// What is known of the running task before it is read.
pub struct ExtraPlan<'a> {
    /// The target.
    pub python: &'a Python,
    /// The loop, and its thread.
    pub found: &'a RunningLoopFound,
    /// The tasks that are known.
    pub tasks: &'a TaskTable,
    /// The task that ran last.
    pub task: RemoteAddr,
    /// Keys of the dict of running tasks.
    pub current_keys: RemoteAddr,
}

impl ExtraPlan<'_> {
    /// Adds the task that ran last, in case that it still does.
    pub fn plan_rest(&self, gather: &mut Gather) {
        if self.task.is_null() {
            return;
        }
        gather.want(self.task, self.python.layout.task.size as usize);
        if let Some(name) = self.tasks.name_of(self.task) {
            gather.want(name, size_of::<NameHead>());
        }
    }
}

impl Extra {
    /// Adds to a batch which task runs, and which turn of a loop without a frame it is.
    pub fn plan_turn(plan: &ExtraPlan<'_>, gather: &mut Gather) -> Self {
        let (python, found) = (plan.python, plan.found);
        let layout = &python.layout;
        let mut extra = Self::default();
        match layout.running_task {
            RunningTask::Field(offset) => {
                gather.want_within_group(found.thread.addr.offset(offset), 8);
            }
            RunningTask::CurrentTasks if !plan.current_keys.is_null() => {
                gather.want(found.current_tasks, DICT_SIZE);
                gather.want(plan.current_keys, KEYS_SIZE);
            }
            RunningTask::CurrentTasks => {}
        }
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

/// The task that the loop's thread runs; `None` when none does.
#[must_use]
pub fn task_address(
    python: &Python,
    found: &RunningLoopFound,
    view: &dyn MemoryView,
) -> Option<RemoteAddr> {
    let task = match python.layout.running_task {
        RunningTask::Field(offset) => view.read_ptr(found.thread.addr.offset(offset)).ok(),
        RunningTask::CurrentTasks => {
            let objects = Objects {
                view,
                layout: &python.layout,
            };
            let running = objects.dict_items(found.current_tasks).ok()?;
            let of_loop = running
                .into_iter()
                .find(|(loop_addr, _)| *loop_addr == found.facts.addr);
            of_loop.map(|(_, task)| task)
        }
    };
    task.filter(|task| !task.is_null())
}
