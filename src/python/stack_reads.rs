//! The reads that a stack is made of: passes over frames in a batch, and frames one by one.

use std::cmp::Reverse;

use asyncspy_model::RemoteAddr;

use super::frame::{Owner, RawFrame};
use super::haunts::{Haunt, HauntKind, Haunts};
use crate::layout::{FrameEntry, Layout};
use crate::target::gather::{GAP, Gather, Wanted};
use crate::target::memory::{Fields, MemoryError, MemoryView, MemoryViewExt, ProcessMemory};
use crate::target::page_reads::PAGE;

/// Frames this close to each other are read as one range: what lies between costs no more than a range.
const NEAR: u64 = GAP;

/// How much of the data stack is read beyond the innermost frame.
const CALLED: u64 = 1024;

/// How much of the data stack is read below a frame whose callers are not known.
const CALLERS: u64 = 2048;

/// How many ranges are read for haunts, besides those of the frames.
const MORE_RANGES: usize = 2;

/// How many callers of a frame are read along with it.
const MOST_AHEAD: usize = 64;

/// What tells the innermost frame of a thread, in a batch.
#[derive(Debug, Default)]
pub(super) struct EntryPlan {
    thread: RemoteAddr,
    entry: Option<Wanted>,
    /// The C frame that is expected, and what it says.
    cframe: RemoteAddr,
    cframe_entry: Option<Wanted>,
}

/// The ranges of one pass in a batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    wanted: Vec<Wanted>,
    ranges: Vec<Range>,
}

/// A range of a pass.
#[derive(Clone, Copy, Debug)]
struct Range {
    /// Where it begins and ends.
    bounds: (u64, u64),
    /// Where the batch has it; `None` until it was read, or if it could not be.
    place: Option<usize>,
}

/// Ranges of memory that hold frames, those of the innermost frames first.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    bounds: Vec<(u64, u64)>,
    /// Where there are nothing but shims.
    shims: Vec<(u64, u64)>,
    /// How far from the outermost frame each range goes.
    heights: Vec<usize>,
    sorted: Vec<(RemoteAddr, Haunt)>,
}

/// A frame that is expected somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Where.
    pub addr: RemoteAddr,
    /// True if it was a shim when it was met last.
    pub is_shim: bool,
}

impl Expected {
    /// The same, to be read with each pass whatever it is.
    pub const fn read_twice(self) -> Self {
        Self {
            is_shim: false,
            ..self
        }
    }
}

impl From<&RawFrame> for Expected {
    fn from(frame: &RawFrame) -> Self {
        Self {
            addr: frame.addr,
            is_shim: frame.owner == Owner::Shim,
        }
    }
}

impl Ranges {
    /// Takes frames, given from the innermost on, and another range to be read with them. The
    /// range that holds `top`, the innermost frame of the data stack, goes on a little: whatever
    /// that frame calls lies there.
    pub fn take_frames(
        &mut self,
        layout: &Layout,
        frames: impl Iterator<Item = Expected>,
        top: Option<RemoteAddr>,
        within: Option<(RemoteAddr, usize)>,
    ) {
        self.bounds.clear();
        self.shims.clear();
        for frame in frames {
            let addr = frame.addr.0;
            let range = (addr, addr.saturating_add(layout.frame.size));
            let ranges = match frame.is_shim {
                true => &mut self.shims,
                false => &mut self.bounds,
            };
            add_range(ranges, range);
        }
        self.add(within);
        self.join_neighbours();
        self.take_in_shims();
        self.extend(top);
    }

    /// Reads shims with the frames that they lie next to.
    fn take_in_shims(&mut self) {
        let (bounds, shims) = (&mut self.bounds, &mut self.shims);
        shims.retain(|shim| {
            let near = bounds.iter_mut().find(|range| is_near(shim, range));
            let is_apart = near.is_none();
            if let Some(range) = near {
                *range = joined(*range, *shim);
            }
            is_apart
        });
    }

    fn add(&mut self, within: Option<(RemoteAddr, usize)>) {
        if let Some((start, len)) = within {
            let range = (start.0, start.0.saturating_add(len as u64));
            match self.bounds.iter_mut().find(|known| is_near(known, &range)) {
                Some(known) => *known = joined(*known, range),
                None => self.bounds.push(range),
            }
        }
    }

    /// The ranges that hold nothing but shims, apart from the others.
    pub fn shims(&self) -> &[(u64, u64)] {
        &self.shims
    }

    /// The other ranges.
    pub fn bounds(&self) -> &[(u64, u64)] {
        &self.bounds
    }

    /// Makes one of ranges that were apart until what lies between them was added.
    fn join_neighbours(&mut self) {
        let mut first = 0;
        while first < self.bounds.len() {
            let range = self.bounds[first];
            let mut rest = self.bounds[first + 1..].iter();
            match rest.position(|other| is_near(other, &range)) {
                Some(nth) => {
                    let other = self.bounds.remove(first + 1 + nth);
                    self.bounds[first] = joined(range, other);
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
    pub fn take_haunts(
        &mut self,
        layout: &Layout,
        haunts: &Haunts,
        top: Option<RemoteAddr>,
        within: Option<(RemoteAddr, usize)>,
    ) {
        self.bounds.clear();
        self.shims.clear();
        self.heights.clear();
        self.sorted.clear();
        self.sorted.extend(haunts.iter());
        self.sorted.sort_unstable_by_key(|(addr, _)| *addr);
        for (addr, haunt) in &self.sorted {
            let (start, end) = (addr.0, addr.0.saturating_add(layout.frame.size));
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
        order.sort_unstable_by_key(|(height, _)| Reverse(*height));
        self.bounds
            .extend(order.into_iter().map(|(_, bounds)| bounds));
        self.add(within);
    }

    /// Takes in haunts, so that all of a stack that moves is read; of those that lie apart from
    /// these ranges a few.
    pub fn take_in_haunts(&mut self, layout: &Layout, haunts: &Haunts) {
        let more = |ranges: &Vec<_>| ranges.len() + MORE_RANGES;
        let (most, most_shims) = (more(&self.bounds), more(&self.shims));
        for (addr, haunt) in haunts.iter() {
            let range = (addr.0, addr.0.saturating_add(layout.frame.size));
            let (ranges, most) = match haunt.kind {
                HauntKind::Shim => (&mut self.shims, most_shims),
                _ => (&mut self.bounds, most),
            };
            let has_room = ranges.len() < most;
            match ranges.iter_mut().find(|known| is_near(known, &range)) {
                Some(known) => *known = joined(*known, range),
                None if has_room => ranges.push(range),
                None => {}
            }
        }
        self.join_neighbours();
        self.take_in_shims();
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

/// Adds a range to those that were added lately, or as one of its own. Frames of the data stack lie
/// one below the other, those of coroutines anywhere.
fn add_range(ranges: &mut Vec<(u64, u64)>, range: (u64, u64)) {
    let recent = ranges.len().saturating_sub(4);
    let near = ranges[recent..]
        .iter_mut()
        .find(|known| is_near(known, &range));
    match near {
        Some(known) => *known = joined(*known, range),
        None => ranges.push(range),
    }
}

/// True if two ranges are read as one.
const fn is_near(one: &(u64, u64), two: &(u64, u64)) -> bool {
    one.0 <= two.1.saturating_add(NEAR) && two.0 <= one.1.saturating_add(NEAR)
}

/// The range that holds both.
fn joined(one: (u64, u64), two: (u64, u64)) -> (u64, u64) {
    (one.0.min(two.0), one.1.max(two.1))
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
        let frames = self.frames.iter().map(|addr| Expected {
            addr: *addr,
            is_shim: false,
        });
        self.ranges.take_frames(layout, frames, None, None);
        if self.frames.len() == 1 && layout.has_data_stack() {
            self.ranges.add_callers();
        }
        self.plan
            .add_ranges(self.ranges.bounds(), false, &mut self.gather);
        self.gather.run(memory)?;
        self.plan.arrive(&self.gather);
        Ok(self.plan.frame(layout, &self.gather, addr, &mut 0))
    }
}

impl EntryPlan {
    /// Adds what tells the innermost frame of a thread to the present group of a batch.
    pub fn add(
        &mut self,
        layout: &Layout,
        thread: RemoteAddr,
        cframe: RemoteAddr,
        gather: &mut Gather,
    ) {
        self.thread = thread;
        (self.cframe, self.cframe_entry) = (cframe, None);
        self.entry = Some(match layout.thread.frame {
            FrameEntry::Direct(offset) => gather.want_within_group(thread.offset(offset), 8),
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

    /// The C frame, where there is one, and the innermost frame; `None` when that is where
    /// nothing was read. One that was not expected is asked of `read`.
    pub fn innermost<'a>(
        &self,
        layout: &Layout,
        gather: &'a Gather,
        read: impl FnOnce(RemoteAddr) -> Option<Fields<'a>>,
    ) -> Option<(RemoteAddr, RemoteAddr)> {
        let entry = gather.fields(self.entry?)?.ptr(0);
        let FrameEntry::CFrame { current, root, .. } = layout.thread.frame else {
            return Some((RemoteAddr::NULL, entry));
        };
        if entry.is_null() {
            return Some((entry, entry));
        }
        let inside = match self.cframe_entry {
            Some(wanted) if entry == self.cframe => gather.fields(wanted)?,
            _ => read(entry.offset(current))?,
        };
        let innermost = inside.ptr(0);
        let is_root = entry == self.thread.offset(root);
        (is_root || !innermost.is_null()).then_some((entry, innermost))
    }
}

impl Plan {
    /// Adds ranges; `inwards` reads those of the outermost frames first.
    pub fn add_ranges(&mut self, bounds: &[(u64, u64)], inwards: bool, gather: &mut Gather) {
        let unread = |bounds: &(u64, u64)| Range {
            bounds: *bounds,
            place: None,
        };
        self.ranges.clear();
        self.ranges.extend(bounds.iter().map(unread));
        self.wanted.clear();
        let mut want = |(start, end): &(u64, u64)| {
            let wanted = gather.want_within_group(RemoteAddr(*start), (end - start) as usize);
            self.wanted.push(wanted);
        };
        if inwards {
            bounds.iter().rev().for_each(&mut want);
            self.wanted.reverse();
        } else {
            bounds.iter().for_each(&mut want);
        }
    }

    /// Takes notice of what the batch has read.
    pub fn arrive(&mut self, gather: &Gather) {
        for (range, wanted) in self.ranges.iter_mut().zip(&self.wanted) {
            range.place = gather.place(*wanted);
        }
    }

    /// The ranges that could not be read: beginning, end.
    pub fn unread(&self) -> impl Iterator<Item = (u64, u64)> {
        let unread = self.ranges.iter().filter(|range| range.place.is_none());
        unread.map(|range| range.bounds)
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

    /// Any bytes, as [`frame`](Self::frame) finds them.
    #[inline]
    pub fn bytes<'g>(
        &self,
        gather: &'g Gather,
        addr: RemoteAddr,
        size: u64,
        hint: &mut usize,
    ) -> Option<&'g [u8]> {
        let end = addr.0.saturating_add(size);
        let holds = |range: &Range| addr.0 >= range.bounds.0 && end <= range.bounds.1;
        if !self.ranges.get(*hint).is_some_and(holds) {
            *hint = self.ranges.iter().position(holds)?;
        }
        let range = self.ranges.get(*hint)?;
        let start = range.place? + (addr.0 - range.bounds.0) as usize;
        gather.bytes().get(start..start.checked_add(size as usize)?)
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
