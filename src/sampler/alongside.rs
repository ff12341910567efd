//! What is read along with a loop's stack: the running task, and the counts that tell the turns
//! of a loop without a frame apart.

use asyncspy_model::{LoopKind, RemoteAddr};

use super::discovery::RunningLoopFound;
use super::opaque::OpaqueReading;
use super::task_reads::TaskReads;
use crate::aio::Caches;
use crate::aio::loop_turn::{LoopReads, Pointers, Taken, TurnReading};
use crate::layout::{Layout, uvloop};
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::object::Objects;
use crate::python::stack::{Alongside, Proven};
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::Fields;

/// Ranges that are read along with the stack, besides frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    context_version: Option<Wanted>,
    uv_time: Option<Wanted>,
    uv_count: Option<Wanted>,
}

/// A turn that was told while a callback ran, and what stays the same until that one has ended.
#[derive(Clone, Copy, Debug)]
pub struct SeenTurn {
    context_version: u64,
    locals: Pointers,
    reading: TurnReading,
}

/// Whether the thread's count of contexts tells callbacks apart, as it does where each runs in a
/// context of its own. CPython does not publish where the count is, so this is found out.
#[derive(Debug, Default)]
pub struct Contexts {
    last: Option<(u64, TurnReading)>,
    /// How often it was another with another callback.
    told: u32,
    /// How often it was not.
    untold: u32,
}

impl Contexts {
    /// So many callbacks must have been told apart.
    const ENOUGH: u32 = 8;

    /// What it may miss, as of an exception handler that runs when the callback has ended: one of
    /// so many.
    const SHARE: u32 = 64;

    fn note(&mut self, version: u64, reading: &TurnReading) {
        if let Some((before, last)) = self.last.replace((version, *reading))
            && last != *reading
        {
            let count = match before == version {
                true => &mut self.untold,
                false => &mut self.told,
            };
            *count = count.saturating_add(1);
        }
    }

    const fn are_told(&self) -> bool {
        self.told >= Self::ENOUGH && self.untold <= self.told / Self::SHARE
    }
}

/// True if there is more on the stack than the loop's own frame, at this position, and that of the
/// `Handle` that it runs.
const fn runs_callback(at: usize) -> bool {
    at >= 2
}

/// What a loop sampler reads along with the stack of its loop's thread.
pub struct LoopAlongside<'a> {
    /// The target.
    pub python: &'a Python,
    /// The loop, and its thread.
    pub found: &'a RunningLoopFound,
    /// The running task; `None` while it is known.
    pub task: Option<&'a TaskReads>,
    /// The loop's own frame.
    pub reads: &'a mut LoopReads,
    /// Where the batch has it.
    pub wanted: &'a mut Extra,
    /// Types and code.
    pub caches: &'a mut Caches,
    /// What the loop's own frame has said: its position in the stack, and the turn if it can be
    /// told; `None` for a loop without a frame, or without that frame.
    pub turn: Option<(usize, Option<TurnReading>)>,
    /// The turn at the last look, if that was just now.
    pub seen: Option<SeenTurn>,
    /// Whether callbacks are told apart by their contexts.
    pub contexts: &'a mut Contexts,
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

    fn within(&self, layout: &Layout) -> Option<(RemoteAddr, usize)> {
        self.reads.locals(layout)
    }

    fn between(&mut self, gather: &mut Gather) {
        TaskReads::plan_field(self.python, self.found, gather);
        if let Some(task) = self.task {
            task.plan(self.python, self.found, gather);
        }
        *self.wanted = Extra::plan_turn(self.python, self.found, gather);
        if self.seen.is_none() {
            self.reads.plan_turn(gather);
        }
    }

    fn after(&mut self, gather: &mut Gather) {
        if self.seen.is_none() {
            self.reads.plan_rest(gather);
        }
    }

    fn settles(&mut self, proven: Proven<'_>, frames: &[RawFrame]) -> bool {
        self.turn = None;
        if self.found.facts.kind != LoopKind::Asyncio {
            return true;
        }
        let python = self.python;
        let (memory, layout) = (&python.memory, &python.layout);
        let Some(at) = self.loop_frame(frames) else {
            return self.gives_up();
        };
        let version = self.wanted.opaque(proven.gather()).context_version;
        let locals = self.reads.seen_locals(layout, proven, frames[at].addr);
        if let Some(seen) = self.seen {
            if runs_callback(at) && seen.context_version == version && locals == Some(seen.locals) {
                self.turn = Some((at, Some(seen.reading)));
                return true;
            }
            // The next look reads the turn.
            self.seen = None;
            return false;
        }
        match self.reads.take(memory, layout, proven, (frames, at)) {
            Taken::Turn(reading) => {
                self.turn = Some((at, Some(reading)));
                if let Some(locals) = locals.filter(|_| runs_callback(at)) {
                    self.contexts.note(version, &reading);
                    self.seen = self.contexts.are_told().then_some(SeenTurn {
                        context_version: version,
                        locals,
                        reading,
                    });
                }
            }
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
    /// Adds to a batch what tells callbacks apart, and turns of a loop without a frame.
    pub fn plan_turn(python: &Python, found: &RunningLoopFound, gather: &mut Gather) -> Self {
        let version = found
            .thread
            .addr
            .offset(python.layout.thread.context_version);
        let mut extra = Self {
            context_version: Some(gather.want_within_group(version, 8)),
            ..Self::default()
        };
        if found.facts.kind != LoopKind::Asyncio {
            let queues = &found.facts.queues;
            if !queues.uv_loop.is_null() {
                extra.uv_time = Some(gather.want(queues.uv_loop.offset(uvloop::TIME), 8));
                extra.uv_count = Some(gather.want(queues.uv_count, 8));
            }
        }
        extra
    }

    /// What the batch has read.
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
