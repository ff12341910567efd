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
use super::stack_reads::{Ahead, Plan, entry};
use crate::layout::{GeneratorFrame, Layout};
use crate::target::gather::Gather;
use crate::target::memory::{MemoryError, ProcessMemory};

/// How many stacks are remembered.
const MAX_RECENT: usize = 32;

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

impl StackReader {
    /// A reader for the thread with this `PyThreadState`.
    #[must_use]
    pub fn new(thread: RemoteAddr) -> Self {
        Self {
            thread,
            predicted: Vec::new(),
            top: None,
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
        self.first
            .add_frames(layout, frames, self.top, true, gather);
        self.first
            .add_entry(layout, self.thread, self.cframe, gather);
        too.between(gather);
        self.second
            .add_entry(layout, self.thread, self.cframe, gather);
        self.second
            .add_frames(layout, frames, self.top, false, gather);
        too.after(gather);
    }

    /// Adds the innermost frames of the last stack to a batch, down to the one at `depth`.
    pub fn plan_glance(&mut self, layout: &Layout, depth: usize, gather: &mut Gather) {
        self.glanced.clear();
        let frames = self.chain.frames.iter().take(depth + 1);
        self.glanced.extend(frames.map(|frame| frame.addr));
        self.glance
            .add_entry(layout, self.thread, self.cframe, gather);
        self.glance
            .add_frames(layout, &self.glanced, None, false, gather);
    }

    /// True if that batch shows the thread in the same calls as the last stack, as far as it goes.
    pub fn stands_as_before(&self, layout: &Layout, gather: &Gather) -> bool {
        let entry = self.glance.innermost(layout, gather, self.cframe);
        let mut hint = 0;
        let mut is_as_before = |known: &RawFrame| {
            let frame = self.glance.frame(layout, gather, known.addr, &mut hint);
            frame.is_some_and(|frame| same_frame(known, &frame, false))
        };
        let frames = self.chain.frames.iter().take(self.glanced.len());
        entry == self.glanced.first().copied() && frames.into_iter().all(&mut is_as_before)
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
        // again: frames that were the same both times, and whose innermost was the thread's
        // innermost one time, stood alone at that time.
        let (first, second) = (&self.first, &self.second);
        let frames = &mut self.chain.frames;
        self.chain.proven = prove(layout, gather, after, second, first, frames)
            || (before != after && prove(layout, gather, before, first, second, frames));
        if self.chain.proven {
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
        self.top = top_of(layout, standing);
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
        let mut hint = 0;
        self.ahead.clear();
        // What is torn may lead in circles: a frame met again at the next power of two ends it.
        let mut landmark = at;
        while !at.is_null() && at.0.is_multiple_of(8) && walked.len() < MAX_FRAMES {
            let frame = match self.second.frame(layout, gather, at, &mut hint) {
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

/// Collects the frames from `entry` outwards, as `pass` has read them, and tells whether they end
/// at the thread and `other` has read the same.
fn prove(
    layout: &Layout,
    gather: &Gather,
    entry: RemoteAddr,
    pass: &Plan,
    other: &Plan,
    frames: &mut Vec<RawFrame>,
) -> bool {
    frames.clear();
    let mut hints = (0, 0);
    let mut at = entry;
    while !at.is_null() {
        let one = pass.frame(layout, gather, at, &mut hints.0);
        let two = other.frame(layout, gather, at, &mut hints.1);
        let (Some(one), Some(two)) = (one, two) else {
            return false;
        };
        // What is torn may lead in circles.
        if frames.len() > 2 * MAX_PROVEN || !same_frame(&one, &two, at == entry) {
            return false;
        }
        at = one.previous;
        frames.push(one);
    }
    ends_at_thread(frames)
}

/// The innermost frame on the data stack, in versions that have one.
fn top_of(layout: &Layout, frames: &[RawFrame]) -> Option<RemoteAddr> {
    if matches!(layout.generator.frame, GeneratorFrame::Pointer(_)) {
        return None;
    }
    let top = frames.iter().find(|frame| frame.owner == Owner::Thread)?;
    Some(top.addr)
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
