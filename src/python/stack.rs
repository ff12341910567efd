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
use super::stack_reads::{Ahead, Haunts, Plan, Ranges, entry};
use crate::layout::Layout;
use crate::target::gather::Gather;
use crate::target::memory::{MemoryError, ProcessMemory};

/// How many stacks are remembered.
const MAX_RECENT: usize = 32;

/// Up to this attempt, every other one reads wherever frames were met lately.
const SWEEPS: usize = 8;

/// How many frames are met in all attempts together until a stack is given up.
const MAX_MET: usize = 50_000;

/// Deepest stack that is proven in one call: two reads of each frame fit the kernel's limit.
const MAX_PROVEN: usize = 400;

/// Reads one thread's stack again and again.
#[derive(Debug)]
pub struct StackReader {
    thread: RemoteAddr,
    /// Where the frames were last time, innermost first.
    predicted: Vec<RemoteAddr>,
    /// The innermost of the frames on the data stack, where there is one.
    top: Option<RemoteAddr>,
    cframe: RemoteAddr,
    ranges: Ranges,
    first: Plan,
    second: Plan,
    glance: Plan,
    /// How many frames the last glance was at.
    glanced: usize,
    chain: FrameChain,
    /// What the passes of the last batch agree on, if they do not agree on the whole stack.
    common: Vec<RawFrame>,
    /// The last proven stack that was not settled.
    unsettled: Vec<RawFrame>,
    haunts: Haunts,
    previous_chain: Vec<RawFrame>,
    /// Stacks that were proven lately, the last one first: memory is reused, so a thread often
    /// stands again where it stood before.
    recent: Vec<Vec<RawFrame>>,
    ahead: Ahead,
}

/// What is read in one call with a stack.
pub trait Alongside {
    /// Takes notice of the frames that are expected there, innermost first.
    fn expect(&mut self, _frames: &[RawFrame]) {}

    /// A frame that is on the stack as long as there is anything of interest on it.
    fn anchor(&self) -> Option<RemoteAddr> {
        None
    }

    /// Adds ranges that are read between the two passes: what they show was so while the stack
    /// stood. Few of them, since the stack moves on meanwhile.
    fn between(&mut self, _gather: &mut Gather) {}

    /// Adds ranges that are read after both.
    fn after(&mut self, _gather: &mut Gather) {}

    /// Takes what was read with a stack that is proven; false if not all of it was where it was
    /// expected, so that stack and all are to be read again.
    fn settles(&mut self, _gather: &Gather, _frames: &[RawFrame]) -> bool {
        true
    }
}

/// The stack and nothing else.
impl Alongside for () {}

impl StackReader {
    /// A reader for the thread with this `PyThreadState`.
    #[must_use]
    pub fn new(thread: RemoteAddr) -> Self {
        Self {
            thread,
            predicted: Vec::new(),
            top: None,
            cframe: RemoteAddr::NULL,
            ranges: Ranges::default(),
            first: Plan::default(),
            second: Plan::default(),
            glance: Plan::default(),
            glanced: 0,
            chain: FrameChain::default(),
            common: Vec::new(),
            unsettled: Vec::new(),
            haunts: Haunts::default(),
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
        let frames = self.predicted.iter().take(MAX_PROVEN).copied();
        self.ranges.take_frames(layout, frames, self.top);
        self.add_passes(layout, too, gather);
    }

    /// The same for wherever frames were met lately: where a thread that moves fast may stand by
    /// the time that this is read.
    fn plan_haunts(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        self.ranges.take_haunts(layout, &mut self.haunts, self.top);
        self.add_passes(layout, too, gather);
    }

    fn add_passes(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        self.first.add_ranges(&self.ranges, true, gather);
        gather.then();
        self.first
            .add_entry(layout, self.thread, self.cframe, gather);
        too.between(gather);
        gather.then();
        self.second
            .add_entry(layout, self.thread, self.cframe, gather);
        self.second.add_ranges(&self.ranges, false, gather);
        gather.then();
        too.after(gather);
    }

    /// Adds the innermost frames of the last stack to a batch, down to the one at `depth`.
    pub fn plan_glance(&mut self, layout: &Layout, depth: usize, gather: &mut Gather) {
        let frames = self.chain.frames.iter().take(depth + 1);
        self.glanced = frames.len();
        self.ranges
            .take_frames(layout, frames.map(|frame| frame.addr), None);
        self.glance
            .add_entry(layout, self.thread, self.cframe, gather);
        self.glance.add_ranges(&self.ranges, false, gather);
    }

    /// True if that batch shows the thread in the same calls as the last stack, as far as it goes.
    pub fn stands_as_before(&self, layout: &Layout, gather: &Gather) -> bool {
        let entry = self
            .glance
            .innermost(layout, gather)
            .map(|(_, entry)| entry);
        let mut hint = 0;
        let mut is_as_before = |known: &RawFrame| {
            let frame = self.glance.frame(layout, gather, known.addr, &mut hint);
            frame.is_some_and(|frame| same_frame(known, &frame, false))
        };
        let mut frames = self.chain.frames.iter().take(self.glanced);
        entry == self.chain.frames.first().map(|frame| frame.addr) && frames.all(&mut is_as_before)
    }

    /// Takes the stack out of a batch that holds both passes; true if it is proven and what was
    /// read along is settled. Otherwise [`follow`](Self::follow) finds what has moved.
    pub fn take(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &Gather) -> bool {
        if !self.prove(layout, gather) {
            return false;
        }
        let settled = too.settles(gather, &self.chain.frames);
        if !settled {
            self.unsettled.clone_from(&self.chain.frames);
        }
        settled
    }

    /// True if a batch that holds both passes proves a stack.
    fn prove(&mut self, layout: &Layout, gather: &Gather) -> bool {
        // What was called may have returned meanwhile, and what has returned may have been called
        // again: frames that were the same both times, and whose innermost was the thread's
        // innermost one time, stood alone at that time.
        let (one, two) = (&mut self.common, &mut self.chain.frames);
        let before = self.first.chase(layout, gather, one);
        let after = self.second.chase(layout, gather, two);
        let cframe = if after.is_some() && agrees(two, &self.first, layout, gather) {
            after
        } else if before.is_some() && agrees(one, &self.second, layout, gather) {
            std::mem::swap(one, two);
            before
        } else {
            let both = before.is_some() && after.is_some();
            let common = if both {
                common_outer(one, two)
            } else {
                Vec::new()
            };
            self.common = common;
            None
        };
        self.chain.proven = cframe.is_some();
        if let Some(cframe) = cframe {
            self.cframe = cframe;
            self.expect_again(layout);
        }
        self.chain.proven
    }

    /// Predicts the stack that was just proven, and what it had called when it was deeper.
    fn expect_again(&mut self, layout: &Layout) {
        let frames = &self.chain.frames;
        let known = self.predicted.iter().rev();
        let is_known = frames.len() <= self.predicted.len()
            && known
                .zip(frames.iter().rev())
                .all(|(known, frame)| *known == frame.addr);
        if !is_known {
            self.predicted.clear();
            self.predicted.extend(frames.iter().map(|frame| frame.addr));
        }
        self.top = top_of(layout, frames);
    }

    /// Finds the stack of a thread that does not stand where it was predicted, and proves it;
    /// after the last attempt the outer frames that two reads agree on are kept, not proven.
    ///
    /// `too` adds what shall be read with it, knowing the frames. Returns true if that is settled;
    /// a stack may be proven without.
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
    ) -> Result<bool, MemoryError> {
        let mut stable: Vec<RawFrame> = Vec::new();
        let mut before: Vec<RawFrame> = Vec::new();
        let mut met = 0;
        for attempt in 0..attempts {
            let learns = attempt < SWEEPS;
            let sweeps = attempt % 2 == 0 && learns && !self.haunts.is_empty();
            if self.attempt(memory, layout, gather, too, (sweeps, learns))? {
                self.unsettled.clear();
                return Ok(true);
            }
            stable = longest(stable, std::mem::take(&mut self.common));
            if sweeps {
                let executing = self.executing(layout, too.anchor(), gather);
                stable = longest(stable, executing);
            } else {
                // Two walks, never one with itself.
                stable = longest(stable, common_outer(&self.previous_chain, &before));
                before.clone_from(&self.previous_chain);
            }
            met += self.predicted.len();
            // It is too deep ever to be proven: two looks tell what they agree on.
            let too_deep = self.predicted.len() > MAX_PROVEN && attempt > 0;
            if too_deep || met > MAX_MET {
                break;
            }
        }
        let unsettled = std::mem::take(&mut self.unsettled);
        self.chain.proven = !unsettled.is_empty();
        self.chain.frames = if self.chain.proven { unsettled } else { stable };
        Ok(false)
    }

    /// Looks for the stack once; true if it is proven and settled. Either the frames are where
    /// others were lately, which `sweeps`, or they are found and read at once, which succeeds in
    /// the end where a thread is ever elsewhere; `learns` keeps in mind where they were.
    fn attempt(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &mut Gather,
        too: &mut dyn Alongside,
        (sweeps, learns): (bool, bool),
    ) -> Result<bool, MemoryError> {
        if !sweeps {
            self.walk(memory, layout, gather)?;
        }
        if !sweeps && learns {
            self.haunts.note(&self.previous_chain);
            self.haunts.note_entry(self.cframe);
        }
        gather.clear();
        too.expect(&self.previous_chain);
        if sweeps {
            self.plan_haunts(layout, too, gather);
        } else {
            self.plan(layout, too, gather);
        }
        gather.run(memory)?;
        if sweeps {
            self.haunts.forget_unread(&self.second, gather);
        }
        let walked = std::mem::take(&mut self.previous_chain);
        let is_settled = self.predicted.len() <= MAX_PROVEN && self.take(layout, too, gather);
        self.previous_chain = walked;
        if is_settled {
            self.haunts.note(&self.chain.frames);
            self.haunts.note_entry(self.cframe);
            self.remember();
        }
        Ok(is_settled)
    }

    /// The frames from the innermost generator outwards that executes, or else from the anchor,
    /// as both passes of the last batch agree; none if they do not. Only while a generator
    /// executes is its frame linked to a caller, so it is on the stack, whatever it calls
    /// meanwhile.
    fn executing(
        &mut self,
        layout: &Layout,
        anchor: Option<RemoteAddr>,
        gather: &Gather,
    ) -> Vec<RawFrame> {
        let mut frames = Vec::new();
        for addr in self.haunts.generators() {
            let outwards = self.second.chase_from(layout, gather, addr, &mut frames);
            let executes = frames.first().is_some_and(RawFrame::is_executing_generator);
            if executes && outwards && agrees(&frames, &self.first, layout, gather) {
                return frames;
            }
        }
        let anchored = anchor
            .is_some_and(|anchor| self.second.chase_from(layout, gather, anchor, &mut frames));
        if anchored && agrees(&frames, &self.first, layout, gather) {
            return frames;
        }
        Vec::new()
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
        // The last batch has seen the entry a moment ago, or else is too old to follow.
        let seen = self.second.innermost(layout, gather);
        let is_recent = seen.is_some();
        let (cframe, mut at) = match seen {
            Some(seen) => seen,
            None => entry(view, layout, self.thread)?,
        };
        self.cframe = cframe;
        let mut walked = std::mem::take(&mut self.previous_chain);
        walked.clear();
        let mut hint = 0;
        self.ahead.clear();
        // What is torn may lead in circles: a frame met again at the next power of two ends it.
        let mut landmark = at;
        while !at.is_null() && at.0.is_multiple_of(8) && walked.len() < MAX_FRAMES {
            let known = || self.second.frame(layout, gather, at, &mut hint);
            let frame = match is_recent.then(known).flatten() {
                Some(frame) => frame,
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
        self.top = top_of(layout, &walked);
        self.previous_chain = walked;
        Ok(())
    }
}

impl Plan {
    /// Collects the frames from the innermost outwards, as this pass has read them. Returns the
    /// C frame, or null where there is none; `None` if not all of them were read.
    fn chase(
        &self,
        layout: &Layout,
        gather: &Gather,
        frames: &mut Vec<RawFrame>,
    ) -> Option<RemoteAddr> {
        frames.clear();
        let (cframe, innermost) = self.innermost(layout, gather)?;
        let whole = self.chase_from(layout, gather, innermost, frames);
        whole.then_some(cframe)
    }

    /// Collects the frames from this one outwards; true if all of them were read.
    fn chase_from(
        &self,
        layout: &Layout,
        gather: &Gather,
        innermost: RemoteAddr,
        frames: &mut Vec<RawFrame>,
    ) -> bool {
        frames.clear();
        let mut at = innermost;
        let mut hint = 0;
        // What is torn may lead in circles.
        while !at.is_null() && frames.len() <= 2 * MAX_PROVEN {
            let Some(frame) = self.frame(layout, gather, at, &mut hint) else {
                return false;
            };
            at = frame.previous;
            frames.push(frame);
        }
        at.is_null() && ends_at_thread(frames)
    }
}

/// True if another pass has read the same frames.
fn agrees(frames: &[RawFrame], other: &Plan, layout: &Layout, gather: &Gather) -> bool {
    let mut hint = 0;
    let mut frames = frames.iter().enumerate();
    frames.all(|(nth, frame)| {
        let again = other.frame(layout, gather, frame.addr, &mut hint);
        again.is_some_and(|again| same_frame(frame, &again, nth == 0))
    })
}

/// The innermost frame on the data stack, in versions that have one.
fn top_of(layout: &Layout, frames: &[RawFrame]) -> Option<RemoteAddr> {
    if !layout.has_data_stack() {
        return None;
    }
    let top = frames.iter().find(|frame| frame.owner == Owner::Thread)?;
    Some(top.addr)
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
fn ends_at_thread(frames: &[RawFrame]) -> bool {
    frames
        .last()
        .is_none_or(|last| last.previous.is_null() && last.may_be_outermost)
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
