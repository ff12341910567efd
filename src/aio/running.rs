//! What each thread executes: its frames, its loop, the tasks whose steps are on its stack.

use std::sync::Arc;

use asyncspy_model::RemoteAddr;
use asyncspy_model::stack::Chain;

use super::Caches;
use super::chain::{Place, read_place};
use super::generator_names::qualname;
use super::loop_turn::{LoopReads, Taken, TurnReading};
use crate::layout::{Layout, RunningLoop};
use crate::python::frame::{FrameChain, Owner, RawFrame};
use crate::python::object::Objects;
use crate::python::stack::{Alongside, Proven, StackReader};
use crate::python::thread::Thread;
use crate::target::gather::Gather;
use crate::target::image::PageImage;
use crate::target::memory::{MemoryError, MemoryViewExt};

/// How often the stack of a running thread is tried until it is proven.
const ATTEMPTS: usize = 1000;

/// How often another moment is looked at because the turn or the callback's number cannot be told.
const PATIENCE: usize = 16;

/// Reads the turn of a stock loop with the stack of the thread that runs it.
struct TurnAlongside<'a> {
    /// What the stack leads to, as it was when the stack had been proven.
    image: PageImage<'a>,
    layout: &'a Layout,
    caches: &'a mut Caches,
    reads: LoopReads,
    turn: Option<TurnReading>,
    /// True if it cannot be told whether there is a stock loop's frame.
    is_unread: bool,
    /// How many more moments are let go of which not all can be told.
    patience: usize,
}

impl Alongside for TurnAlongside<'_> {
    fn expect(&mut self, frames: &[RawFrame]) {
        self.reads.expect(frames);
    }

    fn within(&self, layout: &Layout) -> Option<(RemoteAddr, usize)> {
        self.reads.locals(layout)
    }

    fn between(&mut self, gather: &mut Gather) {
        self.reads.plan_turn(gather);
        self.reads.plan_rest(gather);
    }

    fn settles(&mut self, proven: Proven<'_>, frames: &[RawFrame]) -> bool {
        self.image.clear();
        let objects = Objects {
            view: &self.image,
            layout: self.layout,
        };
        self.turn = None;
        if self.reads.frame().is_none() {
            let codes = frames.iter().map(|frame| frame.code);
            // What cannot be read is told when its place is asked for.
            let _ = self.caches.codes.expect(objects, codes);
        }
        let at = match self.reads.find(objects, self.caches, frames) {
            Ok(Some(at)) => at,
            found => {
                self.is_unread = found.is_err();
                return true;
            }
        };
        match self
            .reads
            .take(self.image.memory(), self.layout, proven, (frames, at))
        {
            Taken::Turn(turn) => {
                self.turn = Some(turn);
                turn.is_whole() || self.gives_up()
            }
            Taken::Untold => self.gives_up(),
            Taken::Moved => false,
        }
    }
}

impl TurnAlongside<'_> {
    /// False as long as another moment may tell more.
    const fn gives_up(&mut self) -> bool {
        let gives_up = self.patience == 0;
        self.patience = self.patience.saturating_sub(1);
        gives_up
    }
}

/// A thread at one moment.
#[derive(Debug)]
pub struct ThreadActivity {
    /// The thread.
    pub thread: Thread,
    /// Its frames, shims included.
    pub chain: FrameChain,
    /// The places of its frames, in the same order; `None` for a shim or where the code could
    /// not be read.
    pub places: Vec<Option<Place>>,
    /// The loop that it runs; null when none.
    pub loop_addr: RemoteAddr,
    /// The turn of a stock loop that stood with these frames.
    pub turn: Option<TurnReading>,
    /// True if the stack is proven and all that it leads to could be read.
    pub proven: bool,
}

impl ThreadActivity {
    /// Reads a thread while it may run. `inner_pid` is its process's id as that process sees it.
    ///
    /// # Errors
    /// When the thread state cannot be read.
    pub fn read(
        image: &PageImage<'_>,
        layout: &Layout,
        caches: &mut Caches,
        thread: &Thread,
        inner_pid: i32,
    ) -> Result<Self, MemoryError> {
        let memory = image.memory();
        let mut reader = StackReader::new(thread.addr);
        let mut too = TurnAlongside {
            image: PageImage::new(memory),
            layout,
            caches,
            reads: LoopReads::default(),
            turn: None,
            is_unread: false,
            patience: PATIENCE,
        };
        let mut gather = Gather::default();
        let settled = reader.follow(memory, layout, &mut gather, ATTEMPTS, &mut too)?;
        let (turn, is_unread) = (too.turn.filter(|_| settled), too.is_unread);
        let chain = reader.chain().clone();
        if !settled {
            too.image.clear();
        }
        let objects = Objects {
            view: &too.image,
            layout,
        };
        let caches = too.caches;
        let codes = chain.frames.iter().map(|frame| frame.code);
        caches.codes.expect(objects, codes)?;
        let mut activity = Self {
            thread: *thread,
            proven: settled && !is_unread,
            places: Vec::with_capacity(chain.frames.len()),
            chain,
            loop_addr: RemoteAddr::NULL,
            turn,
        };
        for at in 0..activity.chain.frames.len() {
            let place = place_of(objects, caches, &activity.chain.frames[at]);
            let place = activity.note(place)?;
            activity.places.push(place.flatten());
        }
        let loop_addr = running_loop(objects, thread, inner_pid);
        activity.loop_addr = activity.note(loop_addr)?.unwrap_or(RemoteAddr::NULL);
        Ok(activity)
    }

    /// What was read; what could not be read leaves the activity unproven.
    fn note<T>(&mut self, read: Result<T, MemoryError>) -> Result<Option<T>, MemoryError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_final() => Err(error),
            Err(_) => {
                self.proven = false;
                Ok(None)
            }
        }
    }

    /// True if its frames are proven but what they lead to could not be read, as for one whose
    /// frame was just being cleared: another read is likely to succeed.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.chain.proven && !self.proven
    }

    /// The locations of all Python frames, innermost first.
    #[must_use]
    pub fn stack(&self, caches: &mut Caches) -> Chain {
        let places: Vec<Place> = self.places.iter().flatten().cloned().collect();
        caches.chains.intern(&places)
    }

    /// The function of the outermost coroutine on this stack.
    #[must_use]
    pub fn outermost_coroutine(&self) -> Option<Arc<str>> {
        let frames = self.chain.frames.iter().zip(&self.places).rev();
        let mut coroutines = frames.filter(|(frame, place)| {
            matches!(frame.owner, Owner::Generator(_)) && is_awaited(place.as_ref())
        });
        let (_, place) = coroutines.next()?;
        place.as_ref().map(|place| place.function.clone())
    }

    /// The tasks whose steps are on this stack, the one that runs first: position of the
    /// outermost coroutine's frame, and that coroutine.
    pub fn coroutines(&self) -> impl Iterator<Item = (usize, RemoteAddr)> {
        self.chain
            .frames
            .iter()
            .enumerate()
            .filter_map(|(depth, frame)| match frame.owner {
                Owner::Generator(generator) => Some((depth, generator)),
                _ => None,
            })
    }
}

/// The frames of one task's step on a thread's stack.
#[derive(Debug)]
pub struct RunningStep {
    /// Its coroutines, innermost first.
    pub coroutines: Chain,
    /// The frames above them, innermost first.
    pub sync: Chain,
}

/// Cuts a task's step out of a thread's stack: from `outermost`, the position of its coroutine's
/// frame, up to `innermost`, where another task's step or the stack's top begins.
#[must_use]
pub fn running_step(
    caches: &mut Caches,
    activity: &ThreadActivity,
    innermost: usize,
    outermost: usize,
) -> RunningStep {
    // Going up from the task's own coroutine, whatever it awaits is a coroutine too; the first
    // frame that is none was called, and all above it belong to that call.
    let mut boundary = outermost;
    for depth in (innermost..outermost).rev() {
        match activity.chain.frames[depth].owner {
            Owner::Shim => {}
            Owner::Generator(_) if is_awaited(activity.places[depth].as_ref()) => {
                boundary = depth;
            }
            _ => break,
        }
    }
    let places = |from: usize, upto: usize| -> Vec<Place> {
        let range = activity.places.get(from..upto).unwrap_or_default();
        range.iter().flatten().cloned().collect()
    };
    RunningStep {
        coroutines: caches.chains.intern(&places(boundary, outermost + 1)),
        sync: caches.chains.intern(&places(innermost, boundary)),
    }
}

/// True for a frame that stands in an await chain, false for a generator that is merely iterated.
fn is_awaited(place: Option<&Place>) -> bool {
    place.is_some_and(|place| place.code.is_awaitable)
}

/// `None` for a shim, which has no place.
fn place_of(
    objects: Objects<'_>,
    caches: &mut Caches,
    frame: &RawFrame,
) -> Result<Option<Place>, MemoryError> {
    if frame.owner == Owner::Shim {
        return Ok(None);
    }
    let name = qualname(objects, frame)?;
    read_place(objects, caches, frame, name).map(Some)
}

/// The loop that a thread runs; null when it runs none. `pid` is the target's id as it sees it
/// itself.
///
/// # Errors
/// When the thread's record of it cannot be read.
pub fn running_loop(
    objects: Objects<'_>,
    thread: &Thread,
    inner_pid: i32,
) -> Result<RemoteAddr, MemoryError> {
    const KEY: &str = "__asyncio_running_event_loop__";
    match objects.layout.running_loop {
        RunningLoop::Field(offset) => objects.view.read_ptr(thread.addr.offset(offset)),
        RunningLoop::Unpublished => Ok(RemoteAddr::NULL),
        RunningLoop::Dict | RunningLoop::DictHolder if thread.dict.is_null() => {
            Ok(RemoteAddr::NULL)
        }
        RunningLoop::Dict => {
            let found = objects.dict_get(thread.dict, KEY)?;
            objects.not_none(found.unwrap_or(RemoteAddr::NULL))
        }
        RunningLoop::DictHolder => {
            let Some(holder) = objects.dict_get(thread.dict, KEY)? else {
                return Ok(RemoteAddr::NULL);
            };
            // A forked child inherits its parent's entry.
            if objects.view.read_u32(holder.offset(24))?.cast_signed() != inner_pid {
                return Ok(RemoteAddr::NULL);
            }
            objects.not_none(objects.view.read_ptr(holder.offset(16))?)
        }
    }
}
