//! Two passes over the frames of a thread, and what they prove.
//!
//! If frames are the same in both, and link up from what was the thread's innermost frame in
//! between to its outermost, the stack stood there at that moment.

use asyncspy_model::RemoteAddr;

use super::frame::{Owner, RawFrame};
use super::stack_reads::{EntryPlan, Plan};
use crate::layout::Layout;
use crate::target::gather::Gather;
use crate::target::memory::Fields;

/// Deepest stack that is proven: four times what Python allows unless told otherwise. Where its
/// frames are too many ranges for one call, several follow each other in the same order.
pub(super) const MAX_PROVEN: usize = 4_000;

/// What is planned of two passes.
#[derive(Debug, Default)]
pub(super) struct Passes {
    /// The one before.
    pub first: Plan,
    /// The one after.
    pub second: Plan,
    /// Shims, read once in between where they are in none of the two.
    pub shims: Plan,
    /// The thread's innermost frame, read after the first.
    pub entry: EntryPlan,
    /// The same, read again before the second, unless little is read in between.
    pub entry_again: Option<EntryPlan>,
}

impl Passes {
    /// Both passes as they were read, the first with an earlier batch or with the same.
    pub const fn read<'a>(
        &'a self,
        layout: &'a Layout,
        before: &'a Gather,
        gather: &'a Gather,
    ) -> Looks<'a> {
        Looks {
            layout,
            passes: self,
            first: Pass {
                plan: &self.first,
                gather: before,
            },
            second: Pass {
                plan: &self.second,
                gather,
            },
        }
    }
}

/// A pass as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    plan: &'a Plan,
    gather: &'a Gather,
}

impl<'a> Pass<'a> {
    fn bytes(&self, addr: RemoteAddr, size: u64, hint: &mut usize) -> Option<&'a [u8]> {
        self.plan.bytes(self.gather, addr, size, hint)
    }
}

/// Both passes as they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks<'a> {
    layout: &'a Layout,
    passes: &'a Passes,
    /// The one before.
    pub first: Pass<'a>,
    /// The one after.
    pub second: Pass<'a>,
}

impl<'a> Looks<'a> {
    /// The C frame, where there is one, and the innermost frame after the first pass; `None` when
    /// that is where the pass has read nothing.
    pub fn innermost_before(&self) -> Option<(RemoteAddr, RemoteAddr)> {
        self.innermost_of(&self.passes.entry, self.first)
    }

    /// The same before the second pass.
    pub fn innermost(&self) -> Option<(RemoteAddr, RemoteAddr)> {
        let passes = self.passes;
        let entry = passes.entry_again.as_ref().unwrap_or(&passes.entry);
        self.innermost_of(entry, self.second)
    }

    fn innermost_of(&self, entry: &EntryPlan, pass: Pass<'_>) -> Option<(RemoteAddr, RemoteAddr)> {
        let inside = |addr| pass.bytes(addr, 8, &mut 0).map(Fields);
        entry.innermost(self.layout, self.second.gather, inside)
    }

    /// A frame as this pass has read it, or a shim. `hint` is where the last one was found.
    pub fn frame(&self, pass: Pass<'_>, addr: RemoteAddr, hint: &mut usize) -> Option<RawFrame> {
        let (layout, size) = (self.layout, self.layout.frame.size);
        if let Some(bytes) = pass.bytes(addr, size, hint) {
            return Some(RawFrame::decode(layout, addr, bytes));
        }
        let bytes = self.shim_bytes(addr)?;
        let frame = RawFrame::decode(layout, addr, bytes);
        // Another kind of frame is to be read twice.
        (frame.owner == Owner::Shim).then_some(frame)
    }

    fn shim_bytes(&self, addr: RemoteAddr) -> Option<&'a [u8]> {
        let (gather, size) = (self.second.gather, self.layout.frame.size);
        self.passes.shims.bytes(gather, addr, size, &mut 0)
    }

    /// Collects the frames from this one outwards; true if all of them were read.
    pub fn chase_from(
        &self,
        pass: Pass<'_>,
        innermost: RemoteAddr,
        frames: &mut Vec<RawFrame>,
    ) -> bool {
        frames.clear();
        let mut at = innermost;
        let mut hint = 0;
        // What is torn may lead in circles: a frame met again at the next power of two ends it.
        let mut landmark = at;
        while !at.is_null() && frames.len() <= MAX_PROVEN {
            let Some(frame) = self.frame(pass, at, &mut hint) else {
                return false;
            };
            at = frame.previous;
            frames.push(frame);
            if at == landmark {
                return false;
            }
            if frames.len().is_power_of_two() {
                landmark = at;
            }
        }
        at.is_null() && ends_at_thread(frames)
    }

    /// True if this pass has read these frames in the same calls, innermost first.
    pub fn has(&self, pass: Pass<'_>, frames: &[RawFrame]) -> bool {
        self.has_all(pass, frames, |frame| {
            let shim = self.shim_bytes(frame.addr);
            shim.is_some_and(|bytes| frame.is_still(self.layout, bytes, false))
        })
    }

    /// The same, but for shims, which stand as long as what was called through them.
    pub fn has_called(&self, pass: Pass<'_>, frames: &[RawFrame]) -> bool {
        let is_called = frames
            .first()
            .is_some_and(|frame| frame.owner != Owner::Shim);
        is_called && self.has_all(pass, frames, |_| true)
    }

    fn has_all(
        &self,
        pass: Pass<'_>,
        frames: &[RawFrame],
        mut has_shim: impl FnMut(&RawFrame) -> bool,
    ) -> bool {
        let size = self.layout.frame.size;
        let mut hint = 0;
        let mut frames = frames.iter().enumerate();
        frames.all(
            |(nth, frame)| match pass.bytes(frame.addr, size, &mut hint) {
                Some(bytes) => frame.is_still(self.layout, bytes, nth == 0),
                None => frame.owner == Owner::Shim && has_shim(frame),
            },
        )
    }
}

/// Two passes that have proven a stack.
#[derive(Clone, Copy, Debug)]
pub struct Proven<'a> {
    looks: Looks<'a>,
}

impl<'a> Proven<'a> {
    pub(super) const fn new(looks: Looks<'a>) -> Self {
        Self { looks }
    }

    /// The batch with the second pass, and all that was read between the two.
    #[must_use]
    pub const fn gather(&self) -> &'a Gather {
        self.looks.second.gather
    }

    /// Bytes that lie among the frames, as the first and as the second pass have them; `None` if
    /// they do not.
    #[must_use]
    pub fn twice(&self, (addr, len): (RemoteAddr, usize)) -> Option<[Fields<'a>; 2]> {
        let bytes = |pass: Pass<'a>| pass.bytes(addr, len as u64, &mut 0).map(Fields);
        Some([bytes(self.looks.first)?, bytes(self.looks.second)?])
    }
}

/// True if it is the same frame in the same call. The innermost frame's position moves with each
/// instruction, the others' only when what they call returns.
pub(crate) fn same_frame(one: &RawFrame, two: &RawFrame, innermost: bool) -> bool {
    one.code == two.code
        && one.previous == two.previous
        && one.owner == two.owner
        && (innermost || one.instruction == two.instruction)
}

/// A coroutine that has just been suspended has no calling frame, nor has one that is about to be
/// entered: a chain that ends there was torn off its thread.
pub(super) fn ends_at_thread(frames: &[RawFrame]) -> bool {
    frames
        .last()
        .is_none_or(|last| last.previous.is_null() && last.may_be_outermost)
}

/// The outer frames that two reads agree on.
pub(super) fn common_outer(one: &[RawFrame], two: &[RawFrame]) -> Vec<RawFrame> {
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
