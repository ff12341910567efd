//! The reads that a stack is made of: passes over frames in a batch, and frames one by one.

use asyncspy_model::RemoteAddr;

use super::frame::RawFrame;
use crate::layout::{FrameEntry, Layout};
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{MemoryError, MemoryView, MemoryViewExt, ProcessMemory};
use crate::target::page_reads::PAGE;

/// Frames this close to each other are read as one range: a KiB costs about as much as a range.
const NEAR: u64 = 1024;

/// How much of the data stack is read beyond the innermost frame.
const CALLED: u64 = 1024;

/// How many callers of a frame are read along with it.
const MOST_AHEAD: usize = 64;

/// The parts of one pass in a batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    entry: Option<Wanted>,
    cframe_entry: Option<Wanted>,
    ranges: Vec<Wanted>,
    /// Where the ranges begin and end.
    bounds: Vec<(u64, u64)>,
}

/// Finds ranges that hold frames, in the order in which they were first met. The one that holds
/// `top`, the innermost frame of the data stack, goes on a little: whatever that frame calls lies
/// there.
fn merge_frames(
    frames: &[RemoteAddr],
    size: u64,
    top: Option<RemoteAddr>,
    ranges: &mut Vec<(u64, u64)>,
) {
    ranges.clear();
    for frame in frames {
        let (start, end) = (frame.0, frame.0.saturating_add(size));
        // Frames of the data stack lie one below the other, those of coroutines anywhere.
        let recent = ranges.len().saturating_sub(4);
        let near = ranges[recent..].iter_mut().find(|(low, high)| {
            start.saturating_add(NEAR) >= *low && end <= high.saturating_add(NEAR)
        });
        match near {
            Some(range) => *range = (range.0.min(start), range.1.max(end)),
            None => ranges.push((start, end)),
        }
    }
    let holds_top =
        |(low, high): &&mut (u64, u64)| top.is_some_and(|top| (*low..*high).contains(&top.0));
    if let Some((_, end)) = ranges.iter_mut().find(holds_top) {
        // No further than what is certainly mapped.
        *end = end.saturating_add(CALLED).min(end.next_multiple_of(PAGE));
    }
}

/// Frames read along with one that was needed: those that called it when it was met last.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    frames: Vec<RemoteAddr>,
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
        self.plan
            .add_frames(layout, &self.frames, None, false, &mut self.gather);
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
    pub fn add_frames(
        &mut self,
        layout: &Layout,
        frames: &[RemoteAddr],
        top: Option<RemoteAddr>,
        inwards: bool,
        gather: &mut Gather,
    ) {
        merge_frames(frames, layout.frame.size, top, &mut self.bounds);
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

    /// A frame, if it lies in one of the ranges and could be read. `hint` is the range where the
    /// last one was found: they are met in the same order.
    pub fn frame(
        &self,
        layout: &Layout,
        gather: &Gather,
        addr: RemoteAddr,
        hint: &mut usize,
    ) -> Option<RawFrame> {
        let (size, count) = (layout.frame.size, self.bounds.len());
        let mut near = (0..count).map(|nth| (*hint + nth) % count);
        let at = near.find(|at| {
            let (low, high) = self.bounds[*at];
            addr.0 >= low && addr.0.saturating_add(size) <= high
        })?;
        *hint = at;
        let offset = (addr.0 - self.bounds[at].0) as usize;
        let bytes = gather.part(*self.ranges.get(at)?, offset, size as usize)?;
        Some(RawFrame::decode(layout, addr, bytes))
    }

    /// The innermost frame, as this pass saw it; `None` when it is not where it was.
    pub fn innermost(
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
