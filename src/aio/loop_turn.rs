//! The turn of a stock loop, as the frame of `BaseEventLoop._run_once` records it.
//!
//! That frame is new each turn. Its local `end_time` is set from the loop's clock directly after
//! the poll; until then it, `handle`, `i` and `ntodo` are unset (Lib/asyncio/base_events.py, 3.8
//! to 3.15).
//!
//! The frame and the objects its locals name are where they were in the last turn, as a rule:
//! memory is reused last in, first out. So they are read in the same call as the stack: the locals
//! with both passes that prove it, the objects between those. What they say was so while it stood.

use asyncspy_model::RemoteAddr;

use super::Caches;
use crate::layout::{IntFormat, Layout};
use crate::python::code::{CodeInfo, LocalNames};
use crate::python::frame::{Owner, RawFrame, untag};
use crate::python::object::Objects;
use crate::python::stack::Proven;
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{Fields, MemoryError, ProcessMemory};

/// Name of the function whose frame it is.
const RUN_ONCE: &str = "_run_once";

/// Bytes of a float or a small int.
const NUMBER_SIZE: usize = 32;

/// How often locals that name other objects at each look are tried.
const ATTEMPTS: usize = 3;

/// The locals of `_run_once` that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    PolledAt,
    CallbackBegan,
    Index,
    Total,
}

const NUMBERS: [Local; 4] = [
    Local::PolledAt,
    Local::CallbackBegan,
    Local::Index,
    Local::Total,
];

/// The turn of a loop, as its frame shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TurnReading {
    /// When the poll returned, in seconds of the target's clock; `None` while the loop polls.
    pub polled_at: Option<f64>,
    /// When the running callback began; only in debug mode.
    pub callback_began: Option<f64>,
    /// The Handle that runs.
    pub handle: RemoteAddr,
    /// The loop, as its frame names it: `self`.
    pub owner: RemoteAddr,
    /// The callback that runs, 0-based, and how many the turn has.
    pub callback: Option<(u32, u32)>,
}

impl TurnReading {
    /// True unless a callback runs whose number is not known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.callback.is_some() || self.handle.is_null()
    }
}

/// What a batch has shown of a turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Taken {
    /// All of it.
    Turn(TurnReading),
    /// That it has polled, but not when: the loop's clock gives no time, or what the frame names
    /// has just become something else.
    Untold,
    /// Not all of it, since it was elsewhere. The next plan knows better.
    Moved,
}

/// The code of a loop's own frame, and where in it is what tells the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOnceFacts {
    /// The code object.
    pub code: RemoteAddr,
    /// How many locals the frame has.
    pub count: usize,
    /// The slots of those that [`LoopReads::turn_of`] takes, in its order; the first is unset while
    /// the loop polls.
    pub slots: [Option<u64>; 4],
}

/// Reads one loop's frame again and again.
#[derive(Debug, Default)]
pub struct LoopReads {
    code: Option<RunOnce>,
    /// The code of `Handle._run`, which calls the callbacks; null before it was met.
    caller: RemoteAddr,
    frame: RemoteAddr,
    numbers: [RemoteAddr; 4],
    wanted_locals: Option<Wanted>,
    wanted_numbers: [Option<Wanted>; 4],
    small_ints: SmallInts,
    apart: Gather,
}

/// The code of `_run_once` and where its locals are.
#[derive(Debug)]
struct RunOnce {
    addr: RemoteAddr,
    count: usize,
    slots: [Option<u64>; 4],
    handle: Option<u64>,
    owner: Option<u64>,
}

impl RunOnce {
    fn new(addr: RemoteAddr, names: &LocalNames) -> Self {
        // From 3.15 on `now` is the exact moment; `end_time` adds the clock's resolution.
        let polled_at = names.slot("now").or_else(|| names.slot("end_time"));
        Self {
            addr,
            count: names.0.len(),
            slots: [
                polled_at,
                names.slot("t0"),
                names.slot("i"),
                names.slot("ntodo"),
            ],
            handle: names.slot("handle"),
            owner: names.slot("self"),
        }
    }
}

impl LoopReads {
    /// Adds to a batch which has the locals what else says which turn it is.
    pub fn plan_turn(&mut self, gather: &mut Gather) {
        self.wanted_numbers = [None; 4];
        self.plan_numbers(&[Local::PolledAt], gather);
    }

    /// Adds all that tells the turn, apart from the stack.
    fn plan_apart(&mut self, layout: &Layout, gather: &mut Gather) {
        self.plan_locals(layout, gather);
        self.plan_turn(gather);
        self.plan_rest(gather);
    }

    /// Adds what else is wanted of that turn: objects that do not change.
    pub fn plan_rest(&mut self, gather: &mut Gather) {
        self.plan_numbers(&NUMBERS[1..], gather);
    }

    fn plan_numbers(&mut self, numbers: &[Local], gather: &mut Gather) {
        for at in numbers.iter().map(|number| *number as usize) {
            let number = self.numbers[at];
            let is_known = number.is_null() || self.small_value(at, number).is_some();
            if self.frame().is_some() && !is_known {
                self.wanted_numbers[at] = Some(gather.want_within_group(number, NUMBER_SIZE));
            }
        }
    }

    /// Adds the locals alone, which tell whether the loop polls.
    pub fn plan_locals(&mut self, layout: &Layout, gather: &mut Gather) {
        let locals = self.locals(layout);
        self.wanted_locals = locals.map(|(locals, len)| gather.want_within_group(locals, len));
    }

    /// Where the locals are, and how many bytes they take; `None` before the frame was met.
    #[must_use]
    pub fn locals(&self, layout: &Layout) -> Option<(RemoteAddr, usize)> {
        let (code, frame) = (self.code.as_ref()?, self.frame()?);
        Some((frame.offset(layout.frame.localsplus), 8 * code.count))
    }

    /// True if a batch with the locals shows that the loop polls.
    pub fn polls(&self, layout: &Layout, gather: &Gather) -> bool {
        let pointers = self.read_pointers(layout, gather);
        pointers.is_some_and(|pointers| pointers.numbers[Local::PolledAt as usize].is_null())
    }

    /// The loop's frame, if it was met.
    #[must_use]
    pub fn frame(&self) -> Option<RemoteAddr> {
        Some(self.frame).filter(|frame| !frame.is_null())
    }

    /// What the loop's frame is known by; `None` before it was met.
    #[must_use]
    pub fn facts(&self) -> Option<RunOnceFacts> {
        let code = self.code.as_ref()?;
        Some(RunOnceFacts {
            code: code.addr,
            count: code.count,
            slots: code.slots,
        })
    }

    /// The turn, of the locals of the loop's frame and what those of the four slots name, as all of
    /// it was at one moment; `None` when it cannot be told.
    pub fn turn_of(
        &mut self,
        layout: &Layout,
        locals: Fields<'_>,
        numbers: [Fields<'_>; 4],
    ) -> Option<TurnReading> {
        let pointers = self.pointers(layout, locals);
        let is_there =
            |at: usize| !pointers.numbers[at].is_null() && pointers.numbers[at].0 & 3 == 0;
        let bytes = |local: Local| {
            let at = local as usize;
            is_there(at).then_some(numbers[at])
        };
        self.reading(layout, &pointers, bytes)
    }

    /// Takes notice of a stack that was just walked: its `_run_once` may be elsewhere.
    pub fn expect(&mut self, frames: &[RawFrame]) {
        if let Some(code) = &self.code
            && let Some(frame) = frames.iter().find(|frame| frame.code == code.addr)
        {
            self.frame = frame.addr;
        }
    }

    /// The position of the innermost `_run_once` in a stack: a loop that re-enters itself has
    /// several.
    ///
    /// # Errors
    /// When it is not found, and a code object of the stack could not be read.
    pub fn find(
        &mut self,
        objects: Objects<'_>,
        caches: &mut Caches,
        frames: &[RawFrame],
    ) -> Result<Option<usize>, MemoryError> {
        if let Some(code) = &self.code
            && let Some(at) = frames.iter().position(|frame| frame.code == code.addr)
        {
            if self.caller.is_null() {
                self.caller = caller_within(objects, caches, &frames[..at]);
            }
            return Ok(Some(at));
        }
        let mut unread = None;
        for (at, frame) in frames.iter().enumerate() {
            if frame.owner == Owner::Shim {
                continue;
            }
            match caches.codes.get(objects, frame.code) {
                Ok(code) if &*code.name == RUN_ONCE => {
                    self.code = Some(RunOnce::new(frame.code, code.local_names(objects)?));
                    return Ok(Some(at));
                }
                Ok(_) => {}
                Err(error) => unread = Some(error),
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// Where the locals of the loop's frame point, if they do so in both passes.
    #[must_use]
    pub fn seen_locals(
        &self,
        layout: &Layout,
        proven: Proven<'_>,
        frame: RemoteAddr,
    ) -> Option<Pointers> {
        let (_, len) = self.locals(layout)?;
        let both = proven.twice((frame.offset(layout.frame.localsplus), len))?;
        let [one, two] = both.map(|locals| self.pointers(layout, locals));
        (one == two).then_some(one)
    }

    /// Takes the turn out of a batch that was planned with it, and that has proven these frames.
    /// `at` is the position of the loop's frame.
    ///
    /// Of what was elsewhere than expected another look is taken. It tells if the frame has not
    /// gone on; the callback may have ended all the same, its number is unknown then.
    pub fn take(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        proven: Proven<'_>,
        (frames, at): (&[RawFrame], usize),
    ) -> Taken {
        let Some(frame) = frames.get(at) else {
            return Taken::Moved;
        };
        self.frame = frame.addr;
        let Some(both) = self.locals(layout).and_then(|range| proven.twice(range)) else {
            return Taken::Moved;
        };
        let [one, two] = both.map(|locals| self.pointers(layout, locals));
        let named = match one.still(&two) {
            // Where the loop's own code runs, its locals change while its place on the stack
            // says nothing of that.
            Some(named) if one == two || self.is_own(&frames[..at]) => named,
            _ => return Taken::Moved,
        };
        let moved = self.numbers_moved(&named);
        let taken = self.decode(layout, proven.gather(), &named);
        if !moved {
            return taken;
        }
        let mut again = std::mem::take(&mut self.apart);
        let looked = self.look_again(memory, layout, &mut again, frame);
        let still = looked.and_then(|(now, stands)| named.still(&now).filter(|_| stands));
        let taken = match still {
            Some(still) => self.decode(layout, &again, &still),
            None => taken,
        };
        self.apart = again;
        taken
    }

    /// True if these frames, called by the loop's, are none but what calls the callbacks.
    fn is_own(&self, called: &[RawFrame]) -> bool {
        let mut called = called.iter();
        called.all(|frame| frame.owner == Owner::Shim || frame.code == self.caller)
    }

    /// Where the locals point now, and whether the frame has not gone on since it was met.
    fn look_again(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &mut Gather,
        frame: &RawFrame,
    ) -> Option<(Pointers, bool)> {
        gather.clear();
        self.plan_apart(layout, gather);
        let head = gather.want(frame.addr, layout.frame.size as usize);
        gather.run(memory).ok()?;
        let head = gather.fields(head)?.0;
        let stands = RawFrame::decode(layout, frame.addr, head) == *frame;
        Some((self.read_pointers(layout, gather)?, stands))
    }

    /// Reads the turn on its own, at another moment than the stack; `None` when it cannot be told,
    /// as where it changes faster than it is read.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn read_apart(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        frame: &RawFrame,
    ) -> Result<Option<TurnReading>, MemoryError> {
        self.frame = frame.addr;
        let mut gather = std::mem::take(&mut self.apart);
        let mut reading = None;
        for _ in 0..ATTEMPTS {
            gather.clear();
            self.plan_apart(layout, &mut gather);
            gather.run(memory)?;
            let Some(named) = self.read_pointers(layout, &gather) else {
                break;
            };
            match self.decode(layout, &gather, &named) {
                Taken::Turn(turn) => reading = Some(turn),
                Taken::Untold => {}
                Taken::Moved => continue,
            }
            break;
        }
        self.apart = gather;
        Ok(reading)
    }

    /// The locals, as a batch has them; `None` when they could not be read.
    fn read_pointers(&self, layout: &Layout, gather: &Gather) -> Option<Pointers> {
        let locals = self
            .wanted_locals
            .and_then(|wanted| gather.fields(wanted))?;
        Some(self.pointers(layout, locals))
    }

    /// Where these locals point; nowhere before the frame was met.
    fn pointers(&self, layout: &Layout, fields: Fields<'_>) -> Pointers {
        let mut pointers = Pointers::default();
        let Some(code) = self.code.as_ref() else {
            return pointers;
        };
        let local = |slot: Option<u64>| {
            let value = slot.map_or(RemoteAddr::NULL, |slot| fields.ptr(8 * slot));
            // A tagged small int keeps its tag: it is the value itself.
            if layout.frame.tagged && value.0 & 3 != 3 {
                untag(value)
            } else {
                value
            }
        };
        for (number, slot) in pointers.numbers.iter_mut().zip(code.slots) {
            *number = local(slot);
        }
        pointers.handle = local(code.handle);
        pointers.owner = local(code.owner);
        pointers
    }

    /// True if a number is where nothing was read, and its address alone does not tell it.
    fn numbers_moved(&self, pointers: &Pointers) -> bool {
        let moved = |(at, now): (usize, &RemoteAddr)| {
            let is_object = !now.is_null() && now.0 & 3 == 0;
            is_object && self.small_value(at, *now).is_none() && *now != self.numbers[at]
        };
        pointers.numbers.iter().enumerate().any(moved)
    }

    /// The value of a number that its address alone tells.
    fn small_value(&self, at: usize, number: RemoteAddr) -> Option<u32> {
        let is_int = at >= Local::Index as usize;
        self.small_ints.value(number).filter(|_| is_int)
    }

    /// The turn, as far as its objects were where they were expected when the batch was planned.
    /// The next one expects them where they are.
    fn decode(&mut self, layout: &Layout, gather: &Gather, pointers: &Pointers) -> Taken {
        let (expected, wanted) = (self.numbers, self.wanted_numbers);
        for (known, now) in self.numbers.iter_mut().zip(pointers.numbers) {
            if now.0 & 3 == 0 && !now.is_null() {
                *known = now;
            }
        }
        let bytes = |local: Local| {
            let at = local as usize;
            let pointer = pointers.numbers[at];
            let is_there = !pointer.is_null() && pointer == expected[at];
            gather.fields(wanted[at].filter(|_| is_there)?)
        };
        let turn = Local::PolledAt as usize;
        match self.reading(layout, pointers, bytes) {
            Some(reading) => Taken::Turn(reading),
            None if pointers.numbers[turn] != expected[turn] => Taken::Moved,
            None => Taken::Untold,
        }
    }

    /// The turn that these locals tell with what they name; `None` if that is not a time.
    fn reading<'a>(
        &mut self,
        layout: &Layout,
        pointers: &Pointers,
        bytes: impl Fn(Local) -> Option<Fields<'a>>,
    ) -> Option<TurnReading> {
        let small_ints = self.small_ints;
        let seconds = |local| {
            let value = f64::from_bits(bytes(local)?.u64(16));
            (value.is_finite() && value > 0.0).then_some(value)
        };
        let count = |local: Local| {
            let pointer = pointers.numbers[local as usize];
            if layout.frame.tagged && pointer.0 & 3 == 3 {
                return u32::try_from(pointer.0 >> 2).ok();
            }
            let known = small_ints.value(pointer);
            known.or_else(|| small_int(layout, bytes(local)?))
        };
        let polled_at = seconds(Local::PolledAt);
        if polled_at.is_none() && !pointers.numbers[Local::PolledAt as usize].is_null() {
            return None;
        }
        let reading = TurnReading {
            polled_at,
            callback_began: seconds(Local::CallbackBegan),
            handle: pointers.handle,
            owner: pointers.owner,
            callback: count(Local::Index).zip(count(Local::Total)),
        };
        if let Some((index, _)) = reading.callback {
            let at = pointers.numbers[Local::Index as usize];
            self.small_ints.learn(layout, at, index);
        }
        Some(reading)
    }
}

/// The ints up to 256, which exist once each and lie one behind the other in versions that keep
/// them in one array: their address tells their value.
#[derive(Clone, Copy, Debug, Default)]
struct SmallInts {
    zero: RemoteAddr,
    /// Sightings that agree on it.
    sightings: u32,
}

impl SmallInts {
    /// `sizeof(PyLongObject)` with its padding.
    const SIZE: u64 = 32;
    const COUNT: u64 = 257;
    /// So many different numbers must agree before an address is trusted.
    const ENOUGH: u32 = 3;

    fn learn(&mut self, layout: &Layout, addr: RemoteAddr, value: u32) {
        if !layout.small_ints_in_array || u64::from(value) >= Self::COUNT || addr.0 & 3 != 0 {
            return;
        }
        let zero = addr.before(u64::from(value) * Self::SIZE);
        if zero == self.zero {
            self.sightings = self.sightings.saturating_add(1);
        } else {
            *self = Self { zero, sightings: 1 };
        }
    }

    fn value(&self, addr: RemoteAddr) -> Option<u32> {
        if self.sightings < Self::ENOUGH {
            return None;
        }
        let distance = addr.0.wrapping_sub(self.zero.0);
        let value = distance / Self::SIZE;
        let is_small = distance.is_multiple_of(Self::SIZE) && value < Self::COUNT;
        is_small.then_some(u32::try_from(value).ok()?)
    }
}

/// Where those locals of `_run_once` point that tell the turn and the callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    numbers: [RemoteAddr; 4],
    handle: RemoteAddr,
    owner: RemoteAddr,
}

impl Pointers {
    /// What another look at the same turn shows to be as it was; `None` for another turn.
    fn still(&self, now: &Self) -> Option<Self> {
        let turn = Local::PolledAt as usize;
        if self.numbers[turn] != now.numbers[turn] {
            return None;
        }
        let mut still = *self;
        for (number, now) in still.numbers.iter_mut().zip(now.numbers) {
            if *number != now {
                *number = RemoteAddr::NULL;
            }
        }
        if still.handle != now.handle {
            still.handle = RemoteAddr::NULL;
        }
        Some(still)
    }
}

/// True for `Handle._run`, through which a loop calls its callbacks (Lib/asyncio/events.py, 3.8 to
/// 3.15).
pub fn calls_callbacks(code: &CodeInfo) -> bool {
    &*code.name == "_run" && code.file.ends_with("/events.py")
}

/// The code of `Handle._run`, if it is what the loop's frame has called; else null.
fn caller_within(objects: Objects<'_>, caches: &mut Caches, called: &[RawFrame]) -> RemoteAddr {
    let mut outwards = called.iter().rev();
    let Some(frame) = outwards.find(|frame| frame.owner != Owner::Shim) else {
        return RemoteAddr::NULL;
    };
    match caches.codes.get(objects, frame.code) {
        Ok(code) if calls_callbacks(&code) => frame.code,
        _ => RemoteAddr::NULL,
    }
}

/// An int of at most one digit, not negative.
fn small_int(layout: &Layout, object: Fields<'_>) -> Option<u32> {
    let size = object.u64(16);
    let digits = match layout.int {
        IntFormat::ObSize => size,
        IntFormat::Tag if size & 3 == 1 => 0,
        IntFormat::Tag if size & 3 == 0 => size >> 3,
        IntFormat::Tag => return None,
    };
    match digits {
        0 => Some(0),
        1 => Some(object.i32(24).cast_unsigned()),
        _ => None,
    }
}

const _: () = assert!(NUMBERS.len() == 4 && Local::Total as usize == 3);
