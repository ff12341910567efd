//! The reads that a stack is made of: passes over frames in a batch, and frames one by one.

use asyncspy_model::RemoteAddr;

use super::frame::{Owner, RawFrame};
use crate::layout::{FrameEntry, Layout};
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{Fields, MemoryError, MemoryView, MemoryViewExt, ProcessMemory};
use crate::target::page_reads::PAGE;

/// Frames this close to each other are read as one range: what lies between costs no more than a range.
const NEAR: u64 = 2048;

/// How much of the data stack is read beyond the innermost frame.
const CALLED: u64 = 1024;

/// How much of the data stack is read below a frame whose callers are not known.
const CALLERS: u64 = 2048;

/// How many haunts are known, besides those of the last stack.
const MOST_HAUNTS: usize = 96;

/// How many callers of a frame are read along with it.
const MOST_AHEAD: usize = 64;

/// The parts of one pass in a batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    thread: RemoteAddr,
    entry: Option<Wanted>,
    /// The C frame that is expected, and what it says.
    cframe: RemoteAddr,
    cframe_entry: Option<Wanted>,
    ranges: Vec<Wanted>,
    /// Where the ranges begin and end.
    bounds: Vec<(u64, u64)>,
}

/// Ranges of memory that hold frames, those of the innermost frames first.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    bounds: Vec<(u64, u64)>,
    /// How far from the outermost frame each range goes.
    heights: Vec<usize>,
}

impl Ranges {
    /// Takes frames, given from the innermost on. The range that holds `top`, the innermost frame
    /// of the data stack, goes on a little: whatever that frame calls lies there.
    pub fn take_frames(
        &mut self,
        layout: &Layout,
        frames: impl Iterator<Item = RemoteAddr>,
        top: Option<RemoteAddr>,
    ) {
        self.bounds.clear();
        for frame in frames {
            let (start, end) = (frame.0, frame.0.saturating_add(layout.frame.size));
            // Frames of the data stack lie one below the other, those of coroutines anywhere.
            let recent = self.bounds.len().saturating_sub(4);
            let near = self.bounds[recent..].iter_mut().find(|(low, high)| {
                start.saturating_add(NEAR) >= *low && end <= high.saturating_add(NEAR)
            });
            match near {
                Some(range) => *range = (range.0.min(start), range.1.max(end)),
                None => self.bounds.push((start, end)),
            }
        }
        self.join_neighbours();
        self.extend(top);
    }

    /// Makes one of ranges that were apart until what lies between them was added.
    fn join_neighbours(&mut self) {
        let mut first = 0;
        while first < self.bounds.len() {
            let (low, high) = self.bounds[first];
            let mut rest = self.bounds[first + 1..].iter();
            let near = |(start, end): &(u64, u64)| {
                *start <= high.saturating_add(NEAR) && low <= end.saturating_add(NEAR)
            };
            match rest.position(near) {
                Some(nth) => {
                    let (start, end) = self.bounds.remove(first + 1 + nth);
                    self.bounds[first] = (low.min(start), high.max(end));
                }
                None => first += 1,
            }
        }
    }

    /// Goes on below the only frame, where its callers lie if it is one of the data stack.
    fn add_callers(&mut self) {
        if let [(start, _)] = self.bounds.as_mut_slice() {
            // No further than what is certainly mapped.
            *start = start.saturating_sub(CALLERS).max(*start / PAGE * PAGE);
        }
    }

    /// Takes the haunts of frames, all of them.
    pub fn take_haunts(&mut self, layout: &Layout, haunts: &mut Haunts, top: Option<RemoteAddr>) {
        self.bounds.clear();
        self.heights.clear();
        haunts.known.sort_unstable_by_key(|haunt| haunt.addr);
        for haunt in &haunts.known {
            let (start, end) = (haunt.addr.0, haunt.addr.0.saturating_add(layout.frame.size));
            match (self.bounds.last_mut(), self.heights.last_mut()) {
                (Some((_, high)), Some(height)) if start <= high.saturating_add(NEAR) => {
                    *high = end.max(*high);
                    *height = haunt.height.max(*height);
                }
                _ => {
                    self.bounds.push((start, end));
                    self.heights.push(haunt.height);
                }
            }
        }
        self.extend(top);
        let mut order: Vec<_> = self.heights.drain(..).zip(self.bounds.drain(..)).collect();
        order.sort_unstable_by_key(|(height, _)| std::cmp::Reverse(*height));
        self.bounds
            .extend(order.into_iter().map(|(_, bounds)| bounds));
    }

    fn extend(&mut self, top: Option<RemoteAddr>) {
        let holds_top =
            |(low, high): &&mut (u64, u64)| top.is_some_and(|top| (*low..*high).contains(&top.0));
        if let Some((_, end)) = self.bounds.iter_mut().find(holds_top) {
            // No further than what is certainly mapped.
            *end = end.saturating_add(CALLED).min(end.next_multiple_of(PAGE));
        }
    }
}

/// Where frames of a thread were met lately. Memory is used again, so frames come back to where
/// others were.
#[derive(Debug, Default)]
pub(super) struct Haunts {
    known: Vec<Haunt>,
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Haunt {
    addr: RemoteAddr,
    /// How far from the outermost frame.
    height: usize,
    /// True if it was a coroutine's or generator's.
    is_generator: bool,
    seen: u64,
}

impl Haunts {
    /// True if none are known.
    pub const fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes notice of a stack, innermost frame first.
    pub fn note(&mut self, frames: &[RawFrame]) {
        self.now += 1;
        for (nth, frame) in frames.iter().enumerate() {
            let is_generator = matches!(frame.owner, Owner::Generator(_));
            self.note_one(frame.addr, frames.len() - nth, is_generator);
        }
        if self.known.len() > MOST_HAUNTS + frames.len().min(MOST_HAUNTS) {
            self.known
                .sort_unstable_by_key(|haunt| std::cmp::Reverse(haunt.seen));
            self.known.truncate(MOST_HAUNTS);
        }
    }

    /// Takes notice of what leads to the innermost frame.
    pub fn note_entry(&mut self, cframe: RemoteAddr) {
        if !cframe.is_null() {
            self.note_one(cframe, usize::MAX, false);
        }
    }

    /// Forgets those of a pass that could not be read: their memory is gone.
    pub fn forget_unread(&mut self, pass: &Plan, gather: &Gather) {
        let ranges = pass.ranges.iter().zip(&pass.bounds);
        for (_, (low, high)) in ranges.filter(|(wanted, _)| gather.fields(**wanted).is_none()) {
            self.known
                .retain(|haunt| !(*low..*high).contains(&haunt.addr.0));
        }
    }

    /// Where generators were, those that were innermost first.
    pub fn generators(&mut self) -> impl Iterator<Item = RemoteAddr> {
        self.known
            .sort_unstable_by_key(|haunt| std::cmp::Reverse(haunt.height));
        let generators = self.known.iter().filter(|haunt| haunt.is_generator);
        generators.map(|haunt| haunt.addr)
    }

    fn note_one(&mut self, addr: RemoteAddr, height: usize, is_generator: bool) {
        let now = Haunt {
            addr,
            height,
            is_generator,
            seen: self.now,
        };
        match self.known.iter_mut().find(|haunt| haunt.addr == addr) {
            Some(known) => *known = now,
            None => self.known.push(now),
        }
    }
}

/// Frames read along with one that was needed: those that called it when it was met last, or what
/// lies where its callers are as a rule.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    frames: Vec<RemoteAddr>,
    ranges: Ranges,
    plan: Plan,
    gather: Gather,
}

impl Ahead {
    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// A frame; `None` if it cannot be read.
    pub fn read(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        addr: RemoteAddr,
        recent: &[Vec<RawFrame>],
    ) -> Result<Option<RawFrame>, MemoryError> {
        if !self.frames.is_empty()
            && let Some(frame) = self.plan.frame(layout, &self.gather, addr, &mut 0)
        {
            return Ok(Some(frame));
        }
        let callers = recent.iter().find_map(|frames| {
            let at = frames.iter().position(|frame| frame.addr == addr)?;
            frames.get(at + 1..)
        });
        let callers = callers.unwrap_or_default().iter().take(MOST_AHEAD);
        self.frames.clear();
        self.frames.push(addr);
        self.frames.extend(callers.map(|frame| frame.addr));
        self.gather.clear();
        let frames = self.frames.iter().copied();
        self.ranges.take_frames(layout, frames, None);
        if self.frames.len() == 1 && layout.has_data_stack() {
            self.ranges.add_callers();
        }
        self.plan.add_ranges(&self.ranges, false, &mut self.gather);
        self.gather.run(memory)?;
        Ok(self.plan.frame(layout, &self.gather, addr, &mut 0))
    }
}

impl Plan {
    /// Adds what tells the innermost frame of a thread.
    pub fn add_entry(
        &mut self,
        layout: &Layout,
        thread: RemoteAddr,
        cframe: RemoteAddr,
        gather: &mut Gather,
    ) {
        self.thread = thread;
        (self.cframe, self.cframe_entry) = (cframe, None);
        self.entry = Some(match layout.thread.frame {
            FrameEntry::Direct(offset) => gather.want(thread.offset(offset), 8),
            FrameEntry::CFrame {
                offset, current, ..
            } => {
                if !cframe.is_null() {
                    self.cframe_entry = Some(gather.want(cframe.offset(current), 8));
                }
                gather.want(thread.offset(offset), 8)
            }
        });
    }

    /// Adds ranges; `inwards` reads those of the outermost frames first.
    pub fn add_ranges(&mut self, ranges: &Ranges, inwards: bool, gather: &mut Gather) {
        self.bounds.clone_from(&ranges.bounds);
        self.ranges.clear();
        let mut want = |(start, end): &(u64, u64)| {
            let wanted = gather.want_within_group(RemoteAddr(*start), (end - start) as usize);
            self.ranges.push(wanted);
        };
        if inwards {
            self.bounds.iter().rev().for_each(&mut want);
            self.ranges.reverse();
        } else {
            self.bounds.iter().for_each(&mut want);
        }
    }

    /// A frame, if it lies in one of the ranges and could be read. `hint` is the range where the
    /// last one was found: they are met in the same order.
    pub fn frame(
        &self,
        layout: &Layout,
        gather: &Gather,
        addr: RemoteAddr,
        hint: &mut usize,
    ) -> Option<RawFrame> {
        let size = layout.frame.size;
        let bytes = self.bytes(gather, addr, size, hint)?;
        Some(RawFrame::decode(layout, addr, bytes))
    }

    fn bytes<'g>(
        &self,
        gather: &'g Gather,
        addr: RemoteAddr,
        size: u64,
        hint: &mut usize,
    ) -> Option<&'g [u8]> {
        let count = self.bounds.len();
        let mut near = (0..count).map(|nth| (*hint + nth) % count);
        let at = near.find(|at| {
            let (low, high) = self.bounds[*at];
            addr.0 >= low && addr.0.saturating_add(size) <= high
        })?;
        *hint = at;
        let offset = (addr.0 - self.bounds[at].0) as usize;
        gather.part(*self.ranges.get(at)?, offset, size as usize)
    }

    /// The C frame, where there is one, and the innermost frame, as this pass saw them; `None`
    /// when they are where nothing was read.
    pub fn innermost(&self, layout: &Layout, gather: &Gather) -> Option<(RemoteAddr, RemoteAddr)> {
        let entry = gather.fields(self.entry?)?.ptr(0);
        let FrameEntry::CFrame { current, root, .. } = layout.thread.frame else {
            return Some((RemoteAddr::NULL, entry));
        };
        if entry.is_null() {
            return Some((entry, entry));
        }
        let inside = match self.cframe_entry {
            Some(wanted) if entry == self.cframe => gather.fields(wanted)?,
            _ => Fields(self.bytes(gather, entry.offset(current), 8, &mut 0)?),
        };
        let innermost = inside.ptr(0);
        let is_root = entry == self.thread.offset(root);
        (is_root || !innermost.is_null()).then_some((entry, innermost))
    }
}

/// The thread's C frame, where there is one, and its innermost frame.
pub(super) fn entry(
    view: &dyn MemoryView,
    layout: &Layout,
    thread: RemoteAddr,
) -> Result<(RemoteAddr, RemoteAddr), MemoryError> {
    let or_null = |read: Result<RemoteAddr, MemoryError>| match read {
        Err(error) if error.is_final() => Err(error),
        other => Ok(other.unwrap_or(RemoteAddr::NULL)),
    };
    match layout.thread.frame {
        FrameEntry::Direct(offset) => {
            let frame = or_null(view.read_ptr(thread.offset(offset)))?;
            Ok((RemoteAddr::NULL, frame))
        }
        FrameEntry::CFrame {
            offset, current, ..
        } => {
            let cframe = or_null(view.read_ptr(thread.offset(offset)))?;
            if cframe.is_null() {
                return Ok((cframe, cframe));
            }
            let frame = or_null(view.read_ptr(cframe.offset(current)))?;
            Ok((cframe, frame))
        }
    }
}
