//! One loop in one tick.

use std::hash::{Hash, Hasher};

use asyncspy_model::sample::LoopDefinition;
use asyncspy_model::{
    Event, LoopActivity, LoopId, LoopKind, LoopSample, RemoteAddr, StackId, TaskIndex, Turn,
};
use rustc_hash::FxHasher;

use super::discovery::RunningLoopFound;
use super::loop_reads::{LoopReads, TurnReading};
use super::os_state::OsThread;
use super::tables::StackTable;
use super::task_names::TaskTable;
use crate::aio::Caches;
use crate::aio::event_loop::{LoopLoad, seconds_to_ns};
use crate::layout::{RunningTask, uvloop};
use crate::python::Python;
use crate::python::frame::{Owner, RawFrame};
use crate::python::object::Objects;
use crate::python::stack::StackReader;
use crate::target::gather::{Gather, Gathered, Wanted};
use crate::target::memory::{Fields, MemoryError, MemoryView, MemoryViewExt};

/// How often a stack that moves is tried within one tick.
const ATTEMPTS: usize = 8;

/// The queues of a loop change slowly compared with ticks: how often they are looked at.
const LOAD_EVERY_NS: u64 = 50_000_000;

/// The same while the loop idles.
const IDLE_LOAD_EVERY_NS: u64 = 250_000_000;

/// Bytes of a dict object, and where its keys are.
const DICT_SIZE: usize = 48;
const DICT_KEYS: u64 = 32;

/// Bytes of the keys of a dict with up to eight slots, in any version.
const KEYS_SIZE: usize = 256;

/// Bytes that tell names apart.
const NAME_HEAD: usize = 64;

/// While one callback goes on, the thread's scheduling state is read at each tick of so many.
const STATE_EVERY: u32 = 4;

/// While the loop idles, at each of so many: only a stop of more than a moment is worth a word.
const STATE_EVERY_IDLE: u32 = 16;

/// What a loop sampler shares with the others of its session.
pub struct Shared<'a> {
    /// The target.
    pub python: &'a Python,
    /// Types and code.
    pub caches: &'a mut Caches,
    /// Stacks by number.
    pub stacks: &'a mut StackTable,
    /// Tasks by number.
    pub tasks: &'a mut TaskTable,
    /// Receives definitions.
    pub events: &'a mut Vec<Event>,
    /// When the tick happens, on our CLOCK_MONOTONIC.
    pub now_ns: u64,
}

/// Samples one loop.
#[derive(Debug)]
pub struct LoopSampler {
    found: RunningLoopFound,
    stack: StackReader,
    reads: LoopReads,
    gather: Gather,
    wanted: Extra,
    os: OsThread,
    /// Frames of the loop's own thread while it idles, for loops without a frame of their own.
    idle_frames: Vec<RemoteAddr>,
    last_frames: Vec<RawFrame>,
    last_stack: Option<StackId>,
    step: Step,
    opaque: OpaqueTurn,
    same_turn_ticks: u32,
    idle_ticks: u32,
    last_identity: u64,
    watches_state: bool,
    /// The task that ran last, and where the dict of running tasks had its keys.
    last_task: RemoteAddr,
    current_keys: RemoteAddr,
    load: LoopLoad,
    load_at_ns: u64,
}

/// Ranges that are read along with the stack.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    context_version: Option<Wanted>,
    uv_time: Option<Wanted>,
    uv_count: Option<Wanted>,
}

/// The task whose step runs, as long as nothing says that it has changed.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    key: (u64, u32, RemoteAddr),
    task: Option<TaskIndex>,
}

/// What tells the callbacks apart of a loop that does not record its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OpaqueTurn {
    identity: u64,
    what: u64,
    context_version: u64,
    uv_time: u64,
    uv_count: u64,
    /// True if a callback of it was seen.
    has_run: bool,
}

impl LoopSampler {
    /// A sampler for a loop.
    #[must_use]
    pub fn new(python: &Python, found: RunningLoopFound) -> Self {
        Self {
            stack: StackReader::new(found.thread.addr),
            reads: LoopReads::default(),
            gather: Gather::default(),
            wanted: Extra::default(),
            os: OsThread::open(python.facts.pid, found.tid),
            idle_frames: Vec::new(),
            last_frames: Vec::new(),
            last_stack: None,
            step: Step::default(),
            opaque: OpaqueTurn::default(),
            same_turn_ticks: 0,
            idle_ticks: 0,
            last_identity: 0,
            watches_state: false,
            last_task: RemoteAddr::NULL,
            current_keys: RemoteAddr::NULL,
            load: LoopLoad::default(),
            load_at_ns: 0,
            found,
        }
    }

    /// The loop that is sampled.
    #[must_use]
    pub const fn found(&self) -> &RunningLoopFound {
        &self.found
    }

    /// How the stream names the loop.
    #[must_use]
    pub fn definition(&self) -> LoopDefinition {
        LoopDefinition {
            id: LoopId(self.found.facts.addr),
            kind: self.found.facts.kind,
            class: self.found.facts.class.clone(),
            tid: self.found.tid,
            thread_name: self.found.thread_name.clone(),
        }
    }

    /// For how many ticks in a row the present turn has been seen.
    #[must_use]
    pub const fn same_turn_ticks(&self) -> u32 {
        self.same_turn_ticks
    }

    /// Whether to read the thread's scheduling state at each tick: while the target is stopped.
    pub const fn watch_state(&mut self, at_each_tick: bool) {
        self.watches_state = at_each_tick;
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn sample(&mut self, shared: &mut Shared<'_>) -> Result<LoopSample, MemoryError> {
        self.read_stack(shared.python, shared.tasks)?;
        let reading = self.read_turn(shared)?;
        let mut sample = LoopSample {
            loop_id: LoopId(self.found.facts.addr),
            activity: LoopActivity::Unknown,
            task: None,
            stack: None,
            os_state: '?',
            ready: 0,
            late_timers: 0,
            worst_late_ns: 0,
            torn: !self.stack.chain().proven,
        };
        let frames = &self.stack.chain().frames;
        match reading {
            Some((_, reading)) if reading.polled_at.is_none() => {
                sample.activity = LoopActivity::Idle;
                sample.torn = false;
            }
            Some((at, reading)) => {
                let inner = at - self.machinery_frames(shared, at);
                let turn = self.stock_turn(shared.python, &reading);
                self.fill_busy(shared, &mut sample, inner, turn);
            }
            None if self.found.facts.kind == LoopKind::Asyncio || frames.is_empty() => {}
            None if self.is_polling() => {
                let frames = &self.stack.chain().frames;
                self.idle_frames.clear();
                self.idle_frames.extend(frames.iter().map(|f| f.addr));
                sample.activity = LoopActivity::Idle;
                sample.torn = false;
            }
            None => {
                let inner = self.opaque_inner_frames(shared);
                let turn = self.opaque_turn(shared.now_ns, inner);
                self.fill_busy(shared, &mut sample, inner, turn);
            }
        }
        self.idle_ticks = match sample.activity {
            LoopActivity::Idle => self.idle_ticks.saturating_add(1),
            _ => 0,
        };
        if sample.activity == LoopActivity::Idle {
            if self.watches_state || self.idle_ticks.is_multiple_of(STATE_EVERY_IDLE) {
                sample.os_state = self.os.state();
            }
            self.same_turn_ticks = 0;
            self.last_identity = 0;
        }
        self.fill_load(shared, &mut sample);
        Ok(sample)
    }

    fn read_stack(&mut self, python: &Python, tasks: &TaskTable) -> Result<(), MemoryError> {
        let (layout, memory) = (&python.layout, &python.memory);
        let (stack, reads, gather) = (&mut self.stack, &mut self.reads, &mut self.gather);
        let mut plan = ExtraPlan {
            python,
            found: &self.found,
            tasks,
            task: self.last_task,
            current_keys: self.current_keys,
        };
        gather.clear();
        stack.plan_first(layout, gather);
        self.wanted = Extra::plan(&plan, gather);
        reads.plan(layout, gather);
        stack.plan_second(layout, gather);
        gather.run(memory)?;
        if stack.take(layout, gather) {
            return Ok(());
        }
        // The task may be another one; the batch has seen which.
        let view = Gathered::new(gather, memory);
        if let Some(task) = task_address(python, &self.found, &view) {
            plan.task = task;
        }
        let wanted = &mut self.wanted;
        stack.follow(memory, layout, gather, ATTEMPTS, &mut |frames, gather| {
            *wanted = Extra::plan(&plan, gather);
            reads.plan_for(layout, frames, gather);
        })
    }

    /// The turn of a stock loop, and the position of its frame; `None` for other loops.
    fn read_turn(
        &mut self,
        shared: &mut Shared<'_>,
    ) -> Result<Option<(usize, TurnReading)>, MemoryError> {
        if self.found.facts.kind != LoopKind::Asyncio {
            return Ok(None);
        }
        let python = shared.python;
        let objects = objects(python);
        let frames = &self.stack.chain().frames;
        let Some(at) = self.reads.find(objects, shared.caches, frames) else {
            return Ok(None);
        };
        let frame = frames[at];
        let reading = self
            .reads
            .take(&python.memory, &python.layout, &self.gather, &frame)?;
        Ok(Some((at, reading)))
    }

    /// How many of the frames just above the loop's belong to it: `Handle._run`.
    fn machinery_frames(&self, shared: &mut Shared<'_>, loop_at: usize) -> usize {
        let frames = &self.stack.chain().frames[..loop_at];
        let mut count = 0;
        for frame in frames.iter().rev() {
            let is_machinery = frame.owner == Owner::Shim
                || shared
                    .caches
                    .codes
                    .get(objects(shared.python), frame.code)
                    .is_ok_and(|code| &*code.name == "_run" && code.file.ends_with("/events.py"));
            if !is_machinery {
                break;
            }
            count += 1;
        }
        count
    }

    fn stock_turn(&self, python: &Python, reading: &TurnReading) -> Turn {
        let began = |seconds: f64| python.facts.to_our_monotonic(seconds_to_ns(seconds));
        Turn {
            identity: reading.polled_at.map_or(0, f64::to_bits),
            began_monotonic_ns: reading.polled_at.map(began),
            callback_began_monotonic_ns: reading
                .callback_began
                .filter(|at| Some(*at) >= reading.polled_at)
                .map(began),
            callback: reading.callback,
            handle: reading.handle,
        }
    }

    /// True if the thread of a loop without a frame of its own waits in the loop's poll.
    fn is_polling(&self) -> bool {
        let frames = &self.stack.chain().frames;
        let runs_task = frames
            .iter()
            .any(|frame| matches!(frame.owner, Owner::Generator(_)));
        if runs_task {
            return false;
        }
        let call = self.os.system_call();
        match self.found.facts.kind {
            LoopKind::Uvloop => call.polls(self.found.facts.poll_fd),
            _ => call.polls_anything(),
        }
    }

    /// How many of the innermost frames are not the loop's own, for loops without a frame.
    fn opaque_inner_frames(&self, shared: &mut Shared<'_>) -> usize {
        let frames = &self.stack.chain().frames;
        let idle = self.idle_frames.iter().rev();
        let common = frames
            .iter()
            .rev()
            .zip(idle)
            .take_while(|(frame, idle)| frame.addr == **idle)
            .count();
        if common > 0 {
            return frames.len() - common;
        }
        // Never seen idle: whatever is outside the outermost coroutine has started the loop.
        self.outermost_coroutine(shared, frames.len())
            .map_or(frames.len(), |(at, _)| at + 1)
    }

    /// uvloop counts its turns. Without that count, two looks are at the same turn if the same
    /// runs, and no context was entered or left in between, or if uvloop has not polled in between.
    fn opaque_turn(&mut self, now_ns: u64, inner: usize) -> Turn {
        let frames = &self.stack.chain().frames[..inner];
        let mut hasher = FxHasher::default();
        let mut coroutines = frames.iter().filter_map(|frame| match frame.owner {
            Owner::Generator(generator) => Some(generator),
            _ => None,
        });
        let coroutine = coroutines.next_back();
        coroutine.hash(&mut hasher);
        let outermost = frames.last();
        outermost
            .map(|frame| (frame.addr, frame.code))
            .hash(&mut hasher);
        let mut turn = OpaqueTurn {
            what: hasher.finish(),
            ..OpaqueTurn::default()
        };
        self.wanted.resolve(&self.gather, &mut turn);
        let before = self.opaque;
        // uvloop notes the time whenever it has polled: callbacks between which it has not are
        // one turn. A look may fall between two of them; where none was seen at all, something
        // else keeps the thread from its poll.
        let has_not_polled = turn.uv_time != 0 && turn.uv_time == before.uv_time;
        let goes_on = outermost.is_some()
            && turn.what == before.what
            && turn.context_version == before.context_version;
        let same = if turn.uv_count != 0 {
            turn.uv_count == before.uv_count
        } else {
            goes_on || (has_not_polled && (outermost.is_some() || before.has_run))
        };
        turn.identity = if same { before.identity } else { now_ns };
        turn.has_run = outermost.is_some() || same;
        self.opaque = turn;
        // One plain callback often lies where the last one lay; each runs in a context of its own.
        let version = if coroutine.is_some() {
            0
        } else {
            turn.context_version
        };
        Turn {
            identity: turn.identity,
            began_monotonic_ns: None,
            callback_began_monotonic_ns: None,
            callback: None,
            handle: RemoteAddr(turn.what ^ version),
        }
    }

    fn fill_busy(
        &mut self,
        shared: &mut Shared<'_>,
        sample: &mut LoopSample,
        inner: usize,
        turn: Turn,
    ) {
        sample.activity = LoopActivity::Busy(turn);
        self.same_turn_ticks = if turn.identity == self.last_identity {
            self.same_turn_ticks.saturating_add(1)
        } else {
            0
        };
        self.last_identity = turn.identity;
        if self.watches_state || self.same_turn_ticks % STATE_EVERY == 1 {
            sample.os_state = self.os.state();
        }
        let frames = &self.stack.chain().frames[..inner];
        if self.last_frames != frames {
            self.last_frames.clear();
            self.last_frames.extend_from_slice(frames);
            self.last_stack = shared.stacks.intern(
                objects(shared.python),
                shared.caches,
                &self.last_frames,
                shared.events,
            );
        }
        sample.stack = self.last_stack;
        sample.task = self.running_task(shared, inner, &turn);
    }

    /// The outermost coroutine among the innermost frames: the one that the task runs.
    fn outermost_coroutine(
        &self,
        shared: &mut Shared<'_>,
        inner: usize,
    ) -> Option<(usize, RemoteAddr)> {
        let frames = &self.stack.chain().frames[..inner];
        frames.iter().enumerate().rev().find_map(|(at, frame)| {
            let Owner::Generator(generator) = frame.owner else {
                return None;
            };
            let code = shared.caches.codes.get(objects(shared.python), frame.code);
            code.is_ok_and(|code| code.is_awaitable)
                .then_some((at, generator))
        })
    }

    fn running_task(
        &mut self,
        shared: &mut Shared<'_>,
        inner: usize,
        turn: &Turn,
    ) -> Option<TaskIndex> {
        let (at, coro) = self.outermost_coroutine(shared, inner)?;
        let callback = turn.callback.map_or(u32::MAX, |(index, _)| index);
        let key = (turn.identity, callback, coro);
        if self.step.key == key && self.step.task.is_some() {
            return self.step.task;
        }
        let python = shared.python;
        let view = Gathered::new(&self.gather, &python.memory);
        let objects = Objects {
            view: &view,
            layout: &python.layout,
        };
        let address = task_address(python, &self.found, &view);
        self.last_task = address.unwrap_or(RemoteAddr::NULL);
        if python.layout.running_task == RunningTask::CurrentTasks {
            let keys = self.found.current_tasks.offset(DICT_KEYS);
            self.current_keys = view.read_ptr(keys).unwrap_or(RemoteAddr::NULL);
        }
        let task = address.and_then(|task| {
            let (caches, events) = (&mut *shared.caches, &mut *shared.events);
            shared
                .tasks
                .resolve(&python.memory, objects, caches, task, coro, events)
        });
        // What could not be resolved is tried again at the next tick: the first look may have come
        // just before the loop noted whose step it runs.
        self.step = Step { key, task };
        task.or_else(|| {
            // It has gone on, or is stepped by hand: the function is what is known for sure.
            let frame = self.stack.chain().frames[at];
            let code = shared.caches.codes.get(objects, frame.code).ok()?;
            Some(shared.tasks.stand_in(&code.function, shared.events))
        })
    }

    fn fill_load(&mut self, shared: &Shared<'_>, sample: &mut LoopSample) {
        let every = match sample.activity {
            LoopActivity::Idle => IDLE_LOAD_EVERY_NS,
            _ => LOAD_EVERY_NS,
        };
        if shared.now_ns.saturating_sub(self.load_at_ns) >= every {
            let shift = shared.python.facts.monotonic_shift_ns;
            let target_ns = shared.now_ns.saturating_add_signed(shift);
            #[expect(clippy::cast_precision_loss, reason = "a loop's clock is a float too")]
            let now = target_ns as f64 / 1e9;
            self.load = self.found.facts.load(objects(shared.python), now);
            self.load_at_ns = shared.now_ns;
        }
        let small = |count: Option<u64>| u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
        sample.ready = small(self.load.ready);
        sample.late_timers = small(self.load.late_timers);
        sample.worst_late_ns = self.load.worst_late_ns;
    }
}

/// What is known of the running task before it is read.
struct ExtraPlan<'a> {
    python: &'a Python,
    found: &'a RunningLoopFound,
    tasks: &'a TaskTable,
    /// The task that ran last.
    task: RemoteAddr,
    /// Keys of the dict of running tasks.
    current_keys: RemoteAddr,
}

impl Extra {
    fn plan(plan: &ExtraPlan<'_>, gather: &mut Gather) -> Self {
        let (python, found) = (plan.python, plan.found);
        let layout = &python.layout;
        let mut extra = Self::default();
        match layout.running_task {
            RunningTask::Field(offset) => {
                gather.want(found.thread.addr.offset(offset), 8);
            }
            RunningTask::CurrentTasks if !plan.current_keys.is_null() => {
                gather.want(found.current_tasks, DICT_SIZE);
                gather.want(plan.current_keys, KEYS_SIZE);
            }
            RunningTask::CurrentTasks => {}
        }
        if !plan.task.is_null() {
            gather.want(plan.task, layout.task.size as usize);
            if let Some(name) = plan.tasks.name_of(plan.task) {
                gather.want(name, NAME_HEAD);
            }
        }
        if found.facts.kind != LoopKind::Asyncio {
            let version = layout.thread.context_version;
            extra.context_version = Some(gather.want(found.thread.addr.offset(version), 8));
            let queues = &found.facts.queues;
            if !queues.uv_loop.is_null() {
                extra.uv_time = Some(gather.want(queues.uv_loop.offset(uvloop::TIME), 8));
                extra.uv_count = Some(gather.want(queues.uv_count, 8));
            }
        }
        extra
    }

    fn resolve(&self, gather: &Gather, turn: &mut OpaqueTurn) {
        let value = |wanted: Option<Wanted>| {
            let fields: Option<Fields<'_>> = wanted.and_then(|wanted| gather.fields(wanted));
            fields.map_or(0, |fields| fields.u64(0))
        };
        turn.context_version = value(self.context_version);
        turn.uv_time = value(self.uv_time);
        turn.uv_count = value(self.uv_count);
    }
}

/// The task that the loop's thread runs; `None` when none does.
fn task_address(
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

fn objects(python: &Python) -> Objects<'_> {
    Objects {
        view: &python.memory,
        layout: &python.layout,
    }
}
