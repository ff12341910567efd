//! The stack of a running thread, predicted, read in one call, and proven.
//!
//! A thread that stalls or idles has the stack it had before. So the frames of the last stack are
//! read again in one vectored call, twice: if they are the same both times and link up from the
//! thread's innermost frame to its outermost, the stack stood there at the moment in between.
//! The first pass goes inwards and the second outwards: what is innermost moves most, so its two
//! reads are next to each other.
//! What has moved is followed frame by frame, and the whole is proven again.

use asyncspy_model::RemoteAddr;

use super::frame::{FrameChain, MAX_FRAMES, Owner, RawFrame};
use crate::layout::{FrameEntry, Layout};
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{MemoryError, MemoryView, MemoryViewExt, ProcessMemory};

/// How many stacks are remembered.
const MAX_RECENT: usize = 32;

/// Frames this close to each other are read as one range: a KiB costs about as much as a range.
const NEAR: u64 = 1024;

/// Deepest stack that is proven in one call: two reads of each frame fit the kernel's limit.
const MAX_PROVEN: usize = 400;

/// Reads one thread's stack again and again.
#[derive(Debug)]
pub struct StackReader {
    thread: RemoteAddr,
    /// Where the frames were last time, innermost first.
    predicted: Vec<RemoteAddr>,
    cframe: RemoteAddr,
    first: Plan,
    second: Plan,
    glance: Plan,
    glanced: Vec<RemoteAddr>,
    chain: FrameChain,
    previous_chain: Vec<RawFrame>,
    /// Stacks that were proven lately, the last one first: memory is reused, so a thread often
    /// stands again where it stood before.
    recent: Vec<Vec<RawFrame>>,
    ahead: Ahead,
}

/// How many frames that have returned are looked over for one that has not; a frame that is not
/// found costs a read.
const MOST_MOVED: usize = 64;

/// How many callers of a frame are read along with it.
const MOST_AHEAD: usize = 64;

/// What is read in one call with a stack.
pub trait Alongside {
    /// Takes notice of the frames that are expected there, innermost first.
    fn expect(&mut self, _frames: &[RawFrame]) {}

    /// Adds ranges that are read between the two passes: what they show was so while the stack
    /// stood. Few of them, since the stack moves on meanwhile.
    fn between(&mut self, _gather: &mut Gather) {}

    /// Adds ranges that are read after both.
    fn after(&mut self, _gather: &mut Gather) {}
}

/// The stack and nothing else.
impl Alongside for () {}

/// The parts of one pass in a batch.
#[derive(Debug, Default)]
struct Plan {
    entry: Option<Wanted>,
    cframe_entry: Option<Wanted>,
    /// For each frame the range that holds it, and its offset there.
    frames: Vec<(usize, usize)>,
    ranges: Vec<Wanted>,
    /// Where the ranges begin and end.
    bounds: Vec<(u64, u64)>,
}

/// Finds ranges that hold frames, in the order in which they were first met, and for each frame
/// the range that holds it.
fn merge_frames(
    frames: &[RemoteAddr],
    size: u64,
    ranges: &mut Vec<(u64, u64)>,
    held_by: &mut Vec<(usize, usize)>,
) {
    ranges.clear();
    held_by.clear();
    for frame in frames {
        let (start, end) = (frame.0, frame.0.saturating_add(size));
        // Frames of the data stack lie one below the other, those of coroutines anywhere.
        let recent = ranges.len().saturating_sub(4);
        let near = ranges[recent..].iter().position(|(low, high)| {
            start.saturating_add(NEAR) >= *low && end <= high.saturating_add(NEAR)
        });
        let at = match near {
            Some(at) => recent + at,
            None => {
                ranges.push((start, end));
                ranges.len() - 1
            }
        };
        ranges[at].0 = ranges[at].0.min(start);
        ranges[at].1 = ranges[at].1.max(end);
        held_by.push((at, 0));
    }
    for (frame, (range, offset)) in frames.iter().zip(held_by) {
        *offset = (frame.0 - ranges[*range].0) as usize;
    }
}

impl StackReader {
    /// A reader for the thread with this `PyThreadState`.
    #[must_use]
    pub fn new(thread: RemoteAddr) -> Self {
        Self {
            thread,
            predicted: Vec::new(),
            cframe: RemoteAddr::NULL,
            first: Plan::default(),
            second: Plan::default(),
            glance: Plan::default(),
            glanced: Vec::new(),
            chain: FrameChain::default(),
            previous_chain: Vec::new(),
            recent: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    /// The thread.
    #[must_use]
    pub const fn thread(&self) -> RemoteAddr {
        self.thread
    }

    /// The last stack that was read.
    #[must_use]
    pub const fn chain(&self) -> &FrameChain {
        &self.chain
    }

    /// Adds both passes over the predicted stack to a batch, and what shall be read with them.
    pub fn plan(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        let frames = &self.predicted[..self.predicted.len().min(MAX_PROVEN)];
        self.first.add_frames(layout, frames, true, gather);
        self.first
            .add_entry(layout, self.thread, self.cframe, gather);
        too.between(gather);
        self.second
            .add_entry(layout, self.thread, self.cframe, gather);
        self.second.add_frames(layout, frames, false, gather);
        too.after(gather);
    }

    /// Adds the innermost frames of the last stack to a batch, down to the one at `depth`.
    pub fn plan_glance(&mut self, layout: &Layout, depth: usize, gather: &mut Gather) {
        self.glanced.clear();
        let frames = self.chain.frames.iter().take(depth + 1);
        self.glanced.extend(frames.map(|frame| frame.addr));
        self.glance
            .add_entry(layout, self.thread, self.cframe, gather);
        self.glance.add_frames(layout, &self.glanced, false, gather);
    }

    /// True if that batch shows the thread in the same calls as the last stack, as far as it goes.
    pub fn stands_as_before(&self, layout: &Layout, gather: &Gather) -> bool {
        let entry = self.glance.innermost(layout, gather, self.cframe);
        let is_as_before = |(at, known): (usize, &RawFrame)| {
            let bytes = self.glance.frame(layout, gather, at);
            bytes.is_some_and(|bytes| {
                let frame = RawFrame::decode(layout, known.addr, bytes);
                same_frame(known, &frame, false)
            })
        };
        let frames = self.chain.frames.iter().take(self.glanced.len());
        entry == self.glanced.first().copied() && frames.enumerate().all(is_as_before)
    }

    /// Takes the stack out of a batch that holds both passes; true if it is proven. Otherwise
    /// [`follow`](Self::follow) finds what has moved.
    pub fn take(&mut self, layout: &Layout, gather: &Gather) -> bool {
        self.chain.proven = false;
        self.chain.frames.clear();
        let entries = (
            self.first.innermost(layout, gather, self.cframe),
            self.second.innermost(layout, gather, self.cframe),
        );
        let (Some(before), Some(after)) = entries else {
            return false;
        };
        // What was called may have returned meanwhile, and what has returned may have been called
        // again: the frames that were there both times stood alone at one of the two moments.
        let position = |entry| match self.predicted.iter().position(|addr| *addr == entry) {
            None if entry.is_null() => Some(self.predicted.len()),
            position => position,
        };
        let (Some(one), Some(two)) = (position(before), position(after)) else {
            return false;
        };
        let innermost = one.max(two);
        for (at, addr) in self.predicted.iter().enumerate().skip(innermost) {
            let read = |plan: &Plan| {
                Some(RawFrame::decode(
                    layout,
                    *addr,
                    plan.frame(layout, gather, at)?,
                ))
            };
            let (Some(one), Some(two)) = (read(&self.first), read(&self.second)) else {
                return false;
            };
            let next = self.predicted.get(at + 1).copied();
            let linked = two.previous == next.unwrap_or(RemoteAddr::NULL);
            if !linked || !same_frame(&one, &two, at == innermost) {
                return false;
            }
            self.chain.frames.push(two);
        }
        self.chain.proven = ends_at_thread(&self.chain.frames);
        self.chain.proven
    }

    /// Finds the stack of a thread that does not stand where it was predicted, and proves it;
    /// after the last attempt the outer frames that two reads agree on are kept, not proven.
    ///
    /// `too` adds what shall be read with it, knowing the frames.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn follow(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &mut Gather,
        attempts: usize,
        too: &mut dyn Alongside,
    ) -> Result<(), MemoryError> {
        let mut stable: Vec<RawFrame> = Vec::new();
        let mut before: Vec<RawFrame> = Vec::new();
        for attempt in 0..attempts {
            if attempt > 0 || !self.guess(layout, gather) {
                self.walk(memory, layout, gather)?;
            }
            gather.clear();
            too.expect(&self.previous_chain);
            self.plan(layout, too, gather);
            gather.run(memory)?;
            let walked = std::mem::take(&mut self.previous_chain);
            if self.predicted.len() <= MAX_PROVEN && self.take(layout, gather) {
                self.previous_chain = walked;
                self.remember();
                return Ok(());
            }
            stable = longest(stable, common_outer(&walked, &before));
            before.clone_from(&walked);
            self.previous_chain = walked;
            // It is too deep ever to be proven: two looks tell what they agree on.
            if self.predicted.len() > MAX_PROVEN && attempt > 0 {
                break;
            }
        }
        self.chain.frames = stable;
        self.chain.proven = false;
        Ok(())
    }

    /// Predicts a stack that was proven lately with the same innermost frame, or what stood below
    /// that frame when it had called others; false if there is none, or the last batch does not
    /// say where the thread stands.
    fn guess(&mut self, layout: &Layout, gather: &Gather) -> bool {
        let Some(entry) = self.second.innermost(layout, gather, self.cframe) else {
            return false;
        };
        let depth = |frames: &Vec<RawFrame>| frames.iter().position(|frame| frame.addr == entry);
        let known = self.recent.iter().enumerate();
        let known = known.filter_map(|(at, frames)| Some((depth(frames)?, at)));
        let Some((depth, at)) = known.min() else {
            return false;
        };
        let frames = self.recent.remove(at);
        let standing = &frames[depth..];
        self.predicted.clear();
        self.predicted
            .extend(standing.iter().map(|frame| frame.addr));
        self.previous_chain.clear();
        self.previous_chain.extend_from_slice(standing);
        self.recent.insert(0, frames);
        true
    }

    fn remember(&mut self) {
        let mut frames = if self.recent.len() < MAX_RECENT {
            Vec::new()
        } else {
            self.recent.pop().unwrap_or_default()
        };
        frames.clone_from(&self.chain.frames);
        let entry = frames.first().map(|frame| frame.addr);
        self.recent
            .retain(|known| known.first().map(|frame| frame.addr) != entry);
        self.recent.insert(0, frames);
    }

    /// Follows the chain, with what the last batch has already read, and makes it the prediction.
    fn walk(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &Gather,
    ) -> Result<(), MemoryError> {
        let view = memory.as_view();
        // The last batch has seen the entry a moment ago.
        let mut at = match self.second.innermost(layout, gather, self.cframe) {
            Some(innermost) => innermost,
            None => {
                let (cframe, innermost) = entry(view, layout, self.thread)?;
                self.cframe = cframe;
                innermost
            }
        };
        let mut walked = std::mem::take(&mut self.previous_chain);
        walked.clear();
        let mut seen = Cursor::default();
        self.ahead.frames.clear();
        // What is torn may lead in circles: a frame met again at the next power of two ends it.
        let mut landmark = at;
        while !at.is_null() && at.0.is_multiple_of(8) && walked.len() < MAX_FRAMES {
            let predicted = seen.find(&self.predicted, at);
            let bytes = predicted.and_then(|nth| self.second.frame(layout, gather, nth));
            let frame = match bytes {
                Some(bytes) => RawFrame::decode(layout, at, bytes),
                None => match self.ahead.read(memory, layout, at, &self.recent)? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            at = frame.previous;
            walked.push(frame);
            if at == landmark {
                break;
            }
            if walked.len().is_power_of_two() {
                landmark = at;
            }
        }
        self.predicted.clear();
        self.predicted.extend(walked.iter().map(|frame| frame.addr));
        self.previous_chain = walked;
        Ok(())
    }
}

/// A place in a list of frames that are met in its order, but for a few that were called or have
/// returned.
#[derive(Debug, Default)]
struct Cursor(usize);

impl Cursor {
    fn find(&mut self, frames: &[RemoteAddr], addr: RemoteAddr) -> Option<usize> {
        let near = frames.iter().skip(self.0).take(MOST_MOVED);
        let at = self.0 + near.copied().position(|frame| frame == addr)?;
        self.0 = at + 1;
        Some(at)
    }
}

/// Frames read along with one that was needed: those that called it when it was met last.
#[derive(Debug, Default)]
struct Ahead {
    frames: Vec<RemoteAddr>,
    cursor: Cursor,
    plan: Plan,
    gather: Gather,
}

impl Ahead {
    /// A frame; `None` if it cannot be read.
    fn read(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        addr: RemoteAddr,
        recent: &[Vec<RawFrame>],
    ) -> Result<Option<RawFrame>, MemoryError> {
        let decode = |bytes: &[u8]| RawFrame::decode(layout, addr, bytes);
        let found = self.cursor.find(&self.frames, addr);
        let found = found.and_then(|nth| self.plan.frame(layout, &self.gather, nth));
        if let Some(frame) = found.map(decode) {
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
        self.cursor = Cursor(1);
        self.gather.clear();
        self.plan
            .add_frames(layout, &self.frames, false, &mut self.gather);
        self.gather.run(memory)?;
        Ok(self.plan.frame(layout, &self.gather, 0).map(decode))
    }
}

impl Plan {
    fn add_entry(
        &mut self,
        layout: &Layout,
        thread: RemoteAddr,
        cframe: RemoteAddr,
        gather: &mut Gather,
    ) {
        self.cframe_entry = None;
        self.entry = Some(match layout.thread.frame {
            FrameEntry::Direct(offset) => gather.want(thread.offset(offset), 8),
            FrameEntry::CFrame { offset, current } => {
                if !cframe.is_null() {
                    self.cframe_entry = Some(gather.want(cframe.offset(current), 8));
                }
                gather.want(thread.offset(offset), 8)
            }
        });
    }

    /// Adds frames, given from the innermost on; `inwards` reads them in the other order.
    fn add_frames(
        &mut self,
        layout: &Layout,
        frames: &[RemoteAddr],
        inwards: bool,
        gather: &mut Gather,
    ) {
        let size = layout.frame.size;
        merge_frames(frames, size, &mut self.bounds, &mut self.frames);
        self.ranges.clear();
        let mut want = |(start, end): &(u64, u64)| {
            let wanted = gather.want(RemoteAddr(*start), (end - start) as usize);
            self.ranges.push(wanted);
        };
        if inwards {
            self.bounds.iter().rev().for_each(&mut want);
            self.ranges.reverse();
        } else {
            self.bounds.iter().for_each(&mut want);
        }
    }

    /// The bytes of a frame; `None` if it could not be read.
    fn frame<'g>(&self, layout: &Layout, gather: &'g Gather, at: usize) -> Option<&'g [u8]> {
        let (range, offset) = *self.frames.get(at)?;
        gather.part(*self.ranges.get(range)?, offset, layout.frame.size as usize)
    }

    /// The innermost frame, as this pass saw it; `None` when it is not where it was.
    fn innermost(
        &self,
        layout: &Layout,
        gather: &Gather,
        cframe: RemoteAddr,
    ) -> Option<RemoteAddr> {
        let entry = gather.fields(self.entry?)?.ptr(0);
        match layout.thread.frame {
            FrameEntry::Direct(_) => Some(entry),
            FrameEntry::CFrame { .. } if entry.is_null() => Some(entry),
            FrameEntry::CFrame { .. } => {
                let inside = gather.fields(self.cframe_entry?)?.ptr(0);
                (entry == cframe).then_some(inside)
            }
        }
    }
}

/// The thread's C frame, where there is one, and its innermost frame.
fn entry(
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
        FrameEntry::CFrame { offset, current } => {
            let cframe = or_null(view.read_ptr(thread.offset(offset)))?;
            if cframe.is_null() {
                return Ok((cframe, cframe));
            }
            let frame = or_null(view.read_ptr(cframe.offset(current)))?;
            Ok((cframe, frame))
        }
    }
}

/// The innermost frame's position moves with each instruction, the others' only when what they
/// call returns.
fn same_frame(one: &RawFrame, two: &RawFrame, innermost: bool) -> bool {
    one.code == two.code
        && one.previous == two.previous
        && one.owner == two.owner
        && (innermost || one.instruction == two.instruction)
}

/// A coroutine that has just been suspended has no calling frame: a chain that ends at one was
/// torn off its thread.
fn ends_at_thread(frames: &[RawFrame]) -> bool {
    frames
        .last()
        .is_none_or(|last| last.previous.is_null() && !matches!(last.owner, Owner::Generator(_)))
}

/// The outer frames that two reads agree on.
fn common_outer(one: &[RawFrame], two: &[RawFrame]) -> Vec<RawFrame> {
    if !ends_at_thread(one) || !ends_at_thread(two) {
        return Vec::new();
    }
    let pairs = one.iter().rev().zip(two.iter().rev());
    let mut frames: Vec<RawFrame> = pairs
        .take_while(|(a, b)| a.addr == b.addr && a.code == b.code && a.owner == b.owner)
        .map(|(a, _)| *a)
        .collect();
    frames.reverse();
    frames
}

fn longest(one: Vec<RawFrame>, two: Vec<RawFrame>) -> Vec<RawFrame> {
    if two.len() > one.len() { two } else { one }
}
