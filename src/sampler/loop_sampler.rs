//! One loop in one tick.

use asyncspy_model::sample::LoopDefinition;
use asyncspy_model::{LoopActivity, LoopId, LoopKind, LoopSample, RemoteAddr, TaskIndex, Turn};

use super::alongside::{Contexts, Extra, LoopAlongside, SeenTurn};
use super::discovery::RunningLoopFound;
use super::in_kernel::record::Record;
use super::last_stack::LastStack;
use super::load::LoadWatch;
use super::opaque::OpaqueLoop;
use super::os_state::OsThread;
use super::running_step::RunningStep;
use super::shared::{Shared, objects};
use super::task_reads::{Range, SeenStep};
use crate::aio::event_loop::seconds_to_ns;
use crate::aio::loop_turn::{LoopReads, TurnReading, calls_callbacks};
use crate::python::Python;
use crate::python::frame::Owner;
use crate::python::stack::StackReader;
use crate::target::gather::Gather;
use crate::target::memory::MemoryError;
use crate::target::process::monotonic_now_ns;

mod recorded;

/// How often a stack that moves is tried within one tick, at least and at most.
const ATTEMPTS: std::ops::RangeInclusive<u64> = 8..=32;

/// How often all of this is done as long as it does not even tell whether the loop is busy, as
/// while it enters and leaves one call after the other.
const TRIES_FOR_ANYTHING: usize = 4;

/// How often a stock loop is looked at again because it was met at a moment that tells nothing.
const PATIENCE: usize = 3;

/// What one such attempt may take, in nanoseconds.
const ATTEMPT_NS: u64 = 15_000;

/// What a look has read counts as the first pass of the next one for so long: about as long as it
/// takes to read both at once.
const AGAIN_WITHIN_NS: u64 = 10_000;

/// So many looks may find frames where nothing is read: what is torn leads anywhere, and another
/// look costs far less than to follow a stack that moves.
const MISSES: usize = 2;

/// While one callback goes on, the thread's scheduling state is read at each tick of so many.
const STATE_EVERY: u32 = 4;

/// But no more often than this: it takes half as long as a sample.
const STATE_EVERY_NS: u64 = 1_000_000;

/// While the loop idles it is read so often: only a stop of more than a moment is worth a word.
const IDLE_STATE_EVERY_NS: u64 = 150_000_000;

/// How often a stack that moves is tried at ticks of this length: for a twentieth of it, as far as
/// the bounds allow.
#[must_use]
fn attempts_within(interval_ns: u64) -> usize {
    let attempts = interval_ns / 20 / ATTEMPT_NS;
    attempts.clamp(*ATTEMPTS.start(), *ATTEMPTS.end()) as usize
}

/// Samples one loop.
#[derive(Debug)]
pub struct LoopSampler {
    found: RunningLoopFound,
    stack: StackReader,
    reads: LoopReads,
    gather: Gather,
    /// The batch before that one.
    before: Gather,
    wanted: Extra,
    seen: Option<SeenTurn>,
    contexts: Contexts,
    os: OsThread,
    shape: Option<Shape>,
    last_stack: LastStack,
    step: RunningStep,
    opaque: OpaqueLoop,
    same_turn_ticks: u32,
    /// Where in the last stack the frame of the stock loop is that polled there.
    idles_at: Option<usize>,
    last_identity: u64,
    watches_state: bool,
    state_at_ns: u64,
    load: LoadWatch,
    read_at_ns: u64,
    /// True if the stack is of a record, and the batch what that has of the running task.
    is_recorded: bool,
    /// The loop whose frame was read last.
    owner: RemoteAddr,
    /// True if the frame names another one though this one runs.
    is_owner_hidden: bool,
    /// When the last record was, and its sample.
    recorded: Option<(u64, LoopSample)>,
}

/// The position of a stock loop's frame, and its turn if that could be told.
type StockTurn = Option<(usize, Option<TurnReading>)>;

/// What a stack is made of, as long as it stands.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// How many of its innermost frames are not the loop's own.
    inner: usize,
    /// The coroutine that the task runs: its position in the stack, and itself.
    task: Option<(usize, RemoteAddr)>,
}

impl LoopSampler {
    /// A sampler for a loop.
    #[must_use]
    pub fn new(python: &Python, found: RunningLoopFound) -> Self {
        Self {
            stack: StackReader::new(found.thread.addr),
            reads: LoopReads::default(),
            gather: Gather::default(),
            before: Gather::default(),
            wanted: Extra::default(),
            seen: None,
            contexts: Contexts::default(),
            os: OsThread::open(python.facts.pid, found.tid),
            shape: None,
            last_stack: LastStack::default(),
            step: RunningStep::default(),
            opaque: OpaqueLoop::default(),
            same_turn_ticks: 0,
            idles_at: None,
            last_identity: 0,
            watches_state: false,
            state_at_ns: 0,
            load: LoadWatch::default(),
            read_at_ns: 0,
            is_recorded: false,
            owner: RemoteAddr::NULL,
            is_owner_hidden: false,
            recorded: None,
            found,
        }
    }

    /// The loop that is sampled.
    #[must_use]
    pub const fn found(&self) -> &RunningLoopFound {
        &self.found
    }

    /// Takes notice of what has changed of the loop: its timers move to another list, at times.
    pub fn renew(&mut self, found: RunningLoopFound) {
        self.found = found;
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

    /// When all was read that the last sample's activity and stack are told from. To find out what
    /// they are called takes longer.
    #[must_use]
    pub const fn read_at_ns(&self) -> u64 {
        self.read_at_ns
    }

    /// True if the last sample was of another loop, which has taken this one's place in its thread.
    #[must_use]
    pub fn has_been_replaced(&self) -> bool {
        let is_other = !self.owner.is_null() && self.owner != self.found.facts.addr;
        is_other && !self.is_owner_hidden
    }

    /// Takes notice that this loop runs, whatever its frame says.
    pub fn note_running(&mut self) {
        self.is_owner_hidden |= self.has_been_replaced();
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
        if self.still_idles(shared.python)? {
            let mut sample = self.empty_sample();
            self.fill_idle(&mut sample);
            self.note_state(shared.now_ns, &mut sample);
            self.load.fill(shared, &self.found.facts, &mut sample);
            return Ok(sample);
        }
        let shape = self.shape.take();
        let (turn, proven) = self.read_stack(shared)?;
        let has_moved = self.stack.has_moved();
        self.shape = shape.filter(|_| proven && !has_moved);
        self.read_at_ns = monotonic_now_ns();
        let mut sample = self.tell(shared, turn, (proven, None));
        self.note_state(shared.now_ns, &mut sample);
        self.load.fill(shared, &self.found.facts, &mut sample);
        Ok(sample)
    }

    /// The sample that a stack is, with the turn that was read with it, and the kernel's record if
    /// it is of one.
    fn tell(
        &mut self,
        shared: &mut Shared<'_>,
        turn: StockTurn,
        (proven, record): (bool, Option<Record<'_>>),
    ) -> LoopSample {
        let mut sample = self.empty_sample();
        sample.torn = !proven;
        let frames = &self.stack.chain().frames;
        self.owner = match turn {
            Some((_, Some(reading))) if proven => reading.owner,
            _ => RemoteAddr::NULL,
        };
        match turn {
            // Whether it polls could not be told.
            Some((_, None)) => {}
            Some((at, Some(reading))) if reading.polled_at.is_none() => {
                self.fill_idle(&mut sample);
                self.idles_at = proven.then_some(at);
            }
            Some((at, Some(reading))) => {
                let inner = match self.shape {
                    Some(shape) => shape.inner,
                    None => at - self.machinery_frames(shared, at),
                };
                let turn = self.stock_turn(shared.python, &reading);
                self.fill_busy(shared, &mut sample, inner, turn);
            }
            None if self.found.facts.kind == LoopKind::Asyncio || frames.is_empty() => {}
            None if self.is_polling(record) => {
                let frames = &self.stack.chain().frames;
                self.opaque.note_idle(frames);
                self.fill_idle(&mut sample);
            }
            None => {
                let inner = self.opaque_inner_frames(shared);
                let reading = match record {
                    Some(record) => record.opaque(),
                    None => self.wanted.opaque(&self.gather),
                };
                let frames = &self.stack.chain().frames[..inner];
                let mut turn = self.opaque.turn(shared.now_ns, frames, reading);
                // Its callbacks run when it has noted when the poll returned.
                let begun_by = reading.polled_by_ns().filter(|_| proven && inner > 0);
                turn.begun_by_monotonic_ns =
                    begun_by.map(|at| shared.python.facts.to_our_monotonic(at));
                self.fill_busy(shared, &mut sample, inner, turn);
            }
        }
        sample
    }

    const fn empty_sample(&self) -> LoopSample {
        LoopSample {
            loop_id: LoopId(self.found.facts.addr),
            activity: LoopActivity::Unknown,
            task: None,
            stack: None,
            os_state: '?',
            ready: 0,
            late_timers: 0,
            worst_late_ns: 0,
            torn: false,
            weight_ns: None,
        }
    }

    /// Reads the thread's scheduling state for a sample, when it is time.
    fn note_state(&mut self, now_ns: u64, sample: &mut LoopSample) {
        let age_ns = now_ns.saturating_sub(self.state_at_ns);
        let is_due = match sample.activity {
            LoopActivity::Idle => age_ns >= IDLE_STATE_EVERY_NS,
            LoopActivity::Busy(_) => {
                self.same_turn_ticks % STATE_EVERY == 1 && age_ns >= STATE_EVERY_NS
            }
            LoopActivity::Unknown => return,
        };
        if self.watches_state || is_due {
            sample.os_state = self.os.state();
            self.state_at_ns = now_ns;
        }
    }

    fn fill_idle(&mut self, sample: &mut LoopSample) {
        sample.activity = LoopActivity::Idle;
        sample.torn = false;
        self.same_turn_ticks = 0;
        self.last_identity = 0;
    }

    /// True if a loop that polled at the last tick does so still: its frame and those that it
    /// calls stand as they did. That takes less than the whole stack and the running task.
    fn still_idles(&mut self, python: &Python) -> Result<bool, MemoryError> {
        let Some(at) = self.idles_at.take() else {
            return Ok(false);
        };
        let (layout, gather) = (&python.layout, &mut self.gather);
        gather.clear();
        self.stack.plan_glance(layout, at, gather);
        self.reads.plan_locals(layout, gather);
        gather.run(&python.memory)?;
        self.read_at_ns = monotonic_now_ns();
        let still = self.stack.stands_as_before(layout, gather) && self.reads.polls(layout, gather);
        self.idles_at = still.then_some(at);
        Ok(still)
    }

    /// Reads the stack with the turn. Returns the position of a stock loop's frame, and its turn
    /// if it could be told; `None` for other loops. The second value tells whether all of it is
    /// proven to be of one moment.
    fn read_stack(&mut self, shared: &mut Shared<'_>) -> Result<(StockTurn, bool), MemoryError> {
        let python = shared.python;
        let (layout, memory) = (&python.layout, &python.memory);
        let (stack, gather) = (&mut self.stack, &mut self.gather);
        let attempts = attempts_within(shared.interval_ns);
        let age_ns = shared.now_ns.saturating_sub(self.read_at_ns);
        let is_recent = age_ns <= AGAIN_WITHIN_NS && stack.has_pass();
        let mut too = LoopAlongside {
            python,
            found: &self.found,
            task: self.step.expected(),
            reads: &mut self.reads,
            wanted: &mut self.wanted,
            caches: shared.caches,
            turn: None,
            seen: self.seen.take().filter(|_| is_recent),
            contexts: &mut self.contexts,
            patience: PATIENCE,
        };
        if is_recent {
            // Where it does not stand as it did, the next pass may show it where this one has.
            let mut misses = 0;
            for _ in 0..attempts {
                std::mem::swap(gather, &mut self.before);
                gather.clear();
                stack.plan_again(layout, &mut too, gather);
                gather.run(memory)?;
                if stack.take_again(layout, &mut too, &self.before, gather) {
                    self.seen = too.seen;
                    return Ok((too.turn, true));
                }
                misses += usize::from(!stack.moves_within());
                if misses > MISSES {
                    break;
                }
            }
        } else if stack.look(memory, layout, gather, &mut too)? {
            self.seen = too.seen;
            return Ok((too.turn, true));
        }
        too.seen = None;
        for _ in 0..TRIES_FOR_ANYTHING {
            if stack.follow(memory, layout, gather, attempts, &mut too)? {
                return Ok((too.turn, true));
            }
            let frames = &stack.chain().frames;
            if let Some(at) = too.loop_frame(frames) {
                let reading = too.reads.read_apart(memory, layout, &frames[at])?;
                return Ok((Some((at, reading)), false));
            }
            if too.found.facts.kind != LoopKind::Asyncio && !frames.is_empty() {
                break;
            }
        }
        Ok((None, false))
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
                    .is_ok_and(|code| calls_callbacks(&code));
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
            begun_by_monotonic_ns: None,
            callback_began_monotonic_ns: reading
                .callback_began
                .filter(|at| Some(*at) >= reading.polled_at)
                .map(began),
            callback: reading.callback,
            handle: reading.handle,
        }
    }

    /// True if the thread of a loop without a frame of its own waits in the loop's poll.
    fn is_polling(&mut self, record: Option<Record<'_>>) -> bool {
        let frames = &self.stack.chain().frames;
        let runs_task = frames
            .iter()
            .any(|frame| matches!(frame.owner, Owner::Generator(_)));
        if runs_task {
            return false;
        }
        let call = match record {
            Some(record) => record.system_call(),
            None => self.os.system_call(),
        };
        self.read_at_ns = monotonic_now_ns();
        match self.found.facts.kind {
            LoopKind::Uvloop => call.polls(self.found.facts.poll_fd),
            _ => call.polls_anything(),
        }
    }

    /// How many of the innermost frames are not the loop's own, for loops without a frame.
    fn opaque_inner_frames(&self, shared: &mut Shared<'_>) -> usize {
        let frames = &self.stack.chain().frames;
        if let Some(inner) = self.opaque.inner_frames(frames) {
            return inner;
        }
        // Never seen idle: whatever is outside the outermost coroutine has started the loop.
        self.outermost_coroutine(shared, frames.len())
            .map_or(frames.len(), |(at, _)| at + 1)
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
        self.shape = self.shape.filter(|shape| shape.inner == inner);
        let frames = &self.stack.chain().frames[..inner];
        let (is_same, is_new_turn) = (self.shape.is_some(), self.same_turn_ticks == 0);
        sample.stack = self.last_stack.id(shared, frames, is_same, is_new_turn);
        let task = match self.shape {
            Some(shape) => shape.task,
            None => self.outermost_coroutine(shared, inner),
        };
        sample.task = task.and_then(|task| self.running_task(shared, task, &turn));
        self.shape = Some(Shape { inner, task });
    }

    fn running_task(
        &mut self,
        shared: &mut Shared<'_>,
        (at, coro): (usize, RemoteAddr),
        turn: &Turn,
    ) -> Option<TaskIndex> {
        let seen = SeenStep {
            batch: &self.gather,
            marks: self.step_marks(shared.python),
            frame: &self.stack.chain().frames[at],
            is_innermost: at == 0,
            is_whole: self.is_recorded,
        };
        self.step.task(shared, &self.found, (seen, coro), turn)
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

    /// What changes with each callback of the loop.
    fn step_marks(&self, python: &Python) -> Option<[Range; 2]> {
        let facts = &self.found.facts;
        if facts.kind == LoopKind::Asyncio {
            return self.reads.locals(&python.layout).map(|range| [range; 2]);
        }
        let version = python.layout.thread.context_version;
        let version = (self.found.thread.addr.offset(version), 8);
        let count = Some(facts.queues.uv_count).filter(|count| !count.is_null());
        Some([version, count.map_or(version, |count| (count, 8))])
    }
}
