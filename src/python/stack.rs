//! The stack of a running thread, predicted, read in one call, and proven.
//!
//! A thread that stalls or idles has the stack it had before. So the frames of the last stack are
//! read again in one vectored call, twice: if they are the same both times and link up from the
//! thread's innermost frame to its outermost, the stack stood there at the moment in between.
//! The first pass goes inwards and the second outwards: what is innermost moves most, so its two
//! reads are next to each other. Between them the thread is asked for its innermost frame, after
//! the first and before the second.
//! Where one look follows the other at once, the pass of the last one serves as the first of the
//! next. Shims are not read twice then: they say nothing but where they lead, and stand as long as
//! the frame that was called through them.
//! What has moved is followed frame by frame, and the whole is proven again.

use asyncspy_model::RemoteAddr;

mod follow;

pub use super::alongside::{Alongside, Range};
use super::frame::{FrameChain, Owner, RawFrame};
use super::haunts::Haunts;
pub use super::stack_passes::Proven;
pub(crate) use super::stack_passes::same_frame;
use super::stack_passes::{Looks, MAX_PROVEN, Pass, Passes, common_outer, ends_at_thread};
use super::stack_reads::{Ahead, EntryPlan, Expected, Plan, Ranges};
use crate::layout::Layout;
use crate::target::gather::Gather;
use crate::target::memory::{Fields, MemoryError, ProcessMemory};

/// For how many looks ranges are kept, so that those that have grown too wide shrink again.
const KEPT_FOR: u32 = 256;

/// Reads one thread's stack again and again.
#[derive(Debug)]
pub struct StackReader {
    thread: RemoteAddr,
    /// Where the frames were last time, innermost first.
    predicted: Vec<Expected>,
    /// The innermost of the frames on the data stack, where there is one.
    top: Option<RemoteAddr>,
    cframe: RemoteAddr,
    ranges: Ranges,
    /// For how many more looks these ranges are taken for those of the predicted frames, which a
    /// stack that is proven by them lies in.
    kept_for: u32,
    /// What else they hold.
    kept_within: Option<Range>,
    passes: Passes,
    /// True if the last batch ends with a pass over the predicted stack.
    has_pass: bool,
    glance: Plan,
    glanced_entry: EntryPlan,
    /// How many frames the last glance was at.
    glanced: usize,
    moves_within: bool,
    has_moved: bool,
    chain: FrameChain,
    /// What the passes of the last batch agree on, if they do not agree on the whole stack.
    common: Vec<RawFrame>,
    /// The last proven stack that was not settled.
    unsettled: Vec<RawFrame>,
    haunts: Haunts,
    /// Which of the last looks at the predicted stack have failed, the last one in the lowest bit.
    misses: u8,
    previous_chain: Vec<RawFrame>,
    /// Stacks that were proven lately, the last one first: memory is reused, so a thread often
    /// stands again where it stood before.
    recent: Vec<Vec<RawFrame>>,
    ahead: Ahead,
}

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
            kept_for: 0,
            kept_within: None,
            passes: Passes::default(),
            has_pass: false,
            glance: Plan::default(),
            glanced_entry: EntryPlan::default(),
            glanced: 0,
            moves_within: false,
            has_moved: true,
            chain: FrameChain::default(),
            common: Vec::new(),
            unsettled: Vec::new(),
            haunts: Haunts::default(),
            misses: 0,
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

    /// Takes a stack that something else has read, of one moment, `whole` if its last frame is the
    /// thread's outermost. True if it is proven by that.
    pub fn set(&mut self, frames: impl Iterator<Item = RawFrame>, whole: bool) -> bool {
        self.chain.frames.clear();
        self.chain.frames.extend(frames);
        self.chain.proven = whole && ends_at_thread(&self.chain.frames);
        (self.has_pass, self.has_moved) = (false, true);
        self.chain.proven
    }

    /// Looks for the stack where it is predicted, in one call; true if it is proven and what was read
    /// along is settled. Otherwise [`follow`](Self::follow) finds what has moved.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn look(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &mut Gather,
        too: &mut dyn Alongside,
    ) -> Result<bool, MemoryError> {
        gather.clear();
        self.plan(layout, too, self.misses != 0, gather);
        let settled = self.run_rounds(memory, layout, gather, 1, too)?;
        self.misses = self.misses << 1 | u8::from(!settled);
        Ok(settled)
    }

    /// Reads a batch with both passes so often in one call, as far as that goes: where a thread
    /// moves fast, the next look at the same places comes sooner than with another call. True if a
    /// round proves a stack with which all is settled: the first that does is taken.
    fn run_rounds(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        gather: &mut Gather,
        rounds: usize,
        too: &mut dyn Alongside,
    ) -> Result<bool, MemoryError> {
        gather.run_rounds(memory, rounds)?;
        for round in 0..gather.rounds() {
            gather.turn_to(round);
            if self.take(layout, too, gather) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds both passes over the predicted stack to a batch, and what shall be read with them;
    /// `widely` also what lies near it where frames were met lately.
    fn plan(
        &mut self,
        layout: &Layout,
        too: &mut dyn Alongside,
        widely: bool,
        gather: &mut Gather,
    ) {
        self.kept_for = 0;
        let frames = self.predicted.iter().take(MAX_PROVEN);
        self.ranges.take_frames(
            layout,
            frames.map(|frame| frame.read_twice()),
            self.top,
            too.within(layout),
        );
        if widely {
            self.ranges.take_in_haunts(layout, &self.haunts);
        }
        self.add_passes(layout, too, gather);
    }

    /// The same for wherever frames were met lately: where a thread that moves fast may stand by
    /// the time that this is read.
    fn plan_haunts(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        self.kept_for = 0;
        self.ranges
            .take_haunts(layout, &self.haunts, self.top, too.within(layout));
        self.add_passes(layout, too, gather);
    }

    fn add_passes(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        self.passes
            .first
            .add_ranges(self.ranges.bounds(), true, gather);
        gather.then();
        self.passes.entry_again = Some(EntryPlan::default());
        self.add_last_pass(layout, too, false, gather);
    }

    fn add_last_pass(
        &mut self,
        layout: &Layout,
        too: &mut dyn Alongside,
        with_shims: bool,
        gather: &mut Gather,
    ) {
        let passes = &mut self.passes;
        passes.entry.add(layout, self.thread, self.cframe, gather);
        let shims = self.ranges.shims();
        let shims = shims.get(..if with_shims { shims.len() } else { 0 });
        passes
            .shims
            .add_ranges(shims.unwrap_or_default(), false, gather);
        too.between(gather);
        gather.then();
        if let Some(entry) = &mut passes.entry_again {
            entry.add(layout, self.thread, self.cframe, gather);
        }
        passes
            .second
            .add_ranges(self.ranges.bounds(), false, gather);
        gather.then();
        too.after(gather);
    }

    /// True if the last batch ends with a pass that may serve as the first of two, with
    /// [`plan_again`](Self::plan_again).
    #[must_use]
    pub const fn has_pass(&self) -> bool {
        self.has_pass
    }

    /// Adds one pass over the predicted stack to a batch, and what shall be read before it. The
    /// batch before is kept until this one is [taken](Self::take_again). The last stack may be
    /// proven to stand still without reading its shims.
    pub fn plan_again(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &mut Gather) {
        let with_shims = !self.chain.proven;
        let within = too.within(layout);
        if self.kept_for == 0 || self.kept_within != within {
            let frames = self.predicted.iter().take(MAX_PROVEN).copied();
            self.ranges.take_frames(layout, frames, self.top, within);
            self.ranges.take_in_haunts(layout, &self.haunts);
            (self.kept_for, self.kept_within) = (KEPT_FOR, within);
        }
        self.kept_for -= 1;
        std::mem::swap(&mut self.passes.first, &mut self.passes.second);
        self.passes.entry_again = None;
        self.add_last_pass(layout, too, with_shims, gather);
    }

    /// Adds the innermost frames of the last stack to a batch, down to the one at `depth`.
    pub fn plan_glance(&mut self, layout: &Layout, depth: usize, gather: &mut Gather) {
        self.has_pass = false;
        let frames = self.chain.frames.iter().take(depth + 1);
        self.glanced = frames.len();
        let expected = frames.map(|frame| Expected::from(frame).read_twice());
        self.kept_for = 0;
        self.ranges.take_frames(layout, expected, None, None);
        self.glanced_entry
            .add(layout, self.thread, self.cframe, gather);
        self.glance.add_ranges(self.ranges.bounds(), false, gather);
    }

    /// True if that batch shows the thread in the same calls as the last stack, as far as it goes.
    pub fn stands_as_before(&mut self, layout: &Layout, gather: &Gather) -> bool {
        self.glance.arrive(gather);
        let inside = |addr| self.glance.bytes(gather, addr, 8, &mut 0).map(Fields);
        let entry = self.glanced_entry.innermost(layout, gather, inside);
        let entry = entry.map(|(_, entry)| entry);
        let mut hint = 0;
        let mut is_as_before = |known: &RawFrame| {
            let frame = self.glance.frame(layout, gather, known.addr, &mut hint);
            frame.is_some_and(|frame| same_frame(known, &frame, false))
        };
        let mut frames = self.chain.frames.iter().take(self.glanced);
        entry == self.chain.frames.first().map(|frame| frame.addr) && frames.all(&mut is_as_before)
    }

    /// Takes the stack out of a batch that holds both passes; true if it is proven and what was
    /// read along is settled.
    fn take(&mut self, layout: &Layout, too: &mut dyn Alongside, gather: &Gather) -> bool {
        self.passes.first.arrive(gather);
        self.take_both(layout, too, (gather, gather), false)
    }

    /// The same for a batch with one pass, of which the batch `before` has the other. If it is not
    /// proven, but might be by the next pass, [`moves_within`](Self::moves_within) is true.
    pub fn take_again(
        &mut self,
        layout: &Layout,
        too: &mut dyn Alongside,
        before: &Gather,
        gather: &Gather,
    ) -> bool {
        self.take_both(layout, too, (before, gather), true)
    }

    /// False if the last stack is the one of the last time that this was asked, but for where the
    /// innermost frame stands.
    #[must_use]
    pub const fn has_moved(&mut self) -> bool {
        std::mem::replace(&mut self.has_moved, false)
    }

    fn take_both(
        &mut self,
        layout: &Layout,
        too: &mut dyn Alongside,
        (before, gather): (&Gather, &Gather),
        is_next: bool,
    ) -> bool {
        self.passes.second.arrive(gather);
        self.passes.shims.arrive(gather);
        self.has_pass = true;
        let passes = std::mem::take(&mut self.passes);
        let looks = passes.read(layout, before, gather);
        let mut settled = self.prove(layout, looks, is_next);
        if settled {
            settled = too.settles(Proven::new(looks), &self.chain.frames);
            self.moves_within = !settled;
            match settled {
                true => self.unsettled.clear(),
                false => self.unsettled.clone_from(&self.chain.frames),
            }
        }
        self.passes = passes;
        settled
    }

    /// True if all frames lay where it was read, though the stack is not proven, or what was read
    /// along is not settled: another pass may do it.
    #[must_use]
    pub const fn moves_within(&self) -> bool {
        self.moves_within
    }

    /// True if two passes prove a stack.
    ///
    /// What was called may have returned meanwhile, and what has returned may have been called
    /// again: frames that were the same both times, and whose innermost was the thread's innermost
    /// in between, stood alone at that time.
    fn prove(&mut self, layout: &Layout, looks: Looks<'_>, is_next: bool) -> bool {
        self.moves_within = false;
        if self.stands(looks, is_next) {
            return true;
        }
        self.has_moved = true;
        let (one, two) = (&mut self.common, &mut self.chain.frames);
        let after = chase(looks, looks.second, looks.innermost(), two);
        let mut proven = after.filter(|_| looks.has(looks.first, two));
        let mut before = None;
        if proven.is_none() && !is_next {
            before = chase(looks, looks.first, looks.innermost_before(), one);
            proven = before.filter(|_| looks.has(looks.second, one));
            if proven.is_some() {
                std::mem::swap(one, two);
            }
        }
        self.chain.proven = proven.is_some();
        if let Some(cframe) = proven {
            self.cframe = cframe;
            self.expect_again(layout);
            return true;
        }
        let is_cut = two.last().is_none_or(|last| !last.previous.is_null());
        self.moves_within = after.is_some() || !is_cut;
        // Another look follows, or else is asked for by whoever wants what both agree on.
        self.common = match before.and(after) {
            Some(_) => common_outer(one, two),
            None => Vec::new(),
        };
        false
    }

    /// True if both passes show the stack that was proven last, which then is the stack again.
    fn stands(&mut self, looks: Looks<'_>, is_next: bool) -> bool {
        let (cframe, frames) = (self.cframe, &mut self.chain.frames);
        let Some(innermost) = frames.first().filter(|_| self.chain.proven) else {
            return false;
        };
        let is_innermost = looks.innermost() == Some((cframe, innermost.addr));
        let stands = is_innermost
            && match is_next {
                // The first pass is the one that has proven it just now.
                true => looks.has_called(looks.second, frames),
                false => looks.has(looks.second, frames) && looks.has(looks.first, frames),
            };
        if stands && let Some(now) = looks.frame(looks.second, innermost.addr, &mut 0) {
            frames[0] = now;
        }
        stands
    }

    /// Predicts the stack that was just proven, and what it had called when it was deeper.
    fn expect_again(&mut self, layout: &Layout) {
        let frames = &self.chain.frames;
        let known = self.predicted.iter().rev();
        let is_known = frames.len() <= self.predicted.len()
            && known
                .zip(frames.iter().rev())
                .all(|(known, frame)| *known == frame.into());
        if !is_known {
            self.predicted.clear();
            self.predicted.extend(frames.iter().map(Expected::from));
        }
        self.top = top_of(layout, frames);
    }
}

/// Collects the frames from the innermost outwards, as this pass has read them. Returns the C
/// frame, or null where there is none; `None` if not all of them were read.
fn chase(
    looks: Looks<'_>,
    pass: Pass<'_>,
    innermost: Option<(RemoteAddr, RemoteAddr)>,
    frames: &mut Vec<RawFrame>,
) -> Option<RemoteAddr> {
    frames.clear();
    let (cframe, innermost) = innermost?;
    let whole = looks.chase_from(pass, innermost, frames);
    whole.then_some(cframe)
}

/// The innermost frame on the data stack, in versions that have one.
fn top_of(layout: &Layout, frames: &[RawFrame]) -> Option<RemoteAddr> {
    if !layout.has_data_stack() {
        return None;
    }
    let top = frames.iter().find(|frame| frame.owner == Owner::Thread)?;
    Some(top.addr)
}
