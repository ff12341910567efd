//! A stack that does not stand where it was predicted: swept up where frames were met lately, or
//! followed frame by frame.

use asyncspy_model::RemoteAddr;

use super::{Alongside, StackReader, top_of};
use crate::layout::Layout;
use crate::python::frame::{MAX_FRAMES, RawFrame};
use crate::python::stack_passes::{MAX_PROVEN, common_outer};
use crate::python::stack_reads::{Expected, entry};
use crate::target::gather::Gather;
use crate::target::memory::{MemoryError, ProcessMemory};

/// How many stacks are remembered.
const MAX_RECENT: usize = 32;

/// Up to this attempt, every other one reads wherever frames were met lately.
const SWEEPS: usize = 8;

/// How many frames are met in all attempts together until a stack is given up.
const MAX_MET: usize = 50_000;

/// How often one call looks wherever frames were met lately: so often it succeeds as a rule.
const SWEEP_ROUNDS: usize = 3;

/// The same where the thread was just met: what it stands in next may lie elsewhere.
const WALK_ROUNDS: usize = 2;

impl StackReader {
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
        // The last pass is not one over what is told now.
        self.has_pass = false;
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
            self.plan(layout, too, false, gather);
        }
        let rounds = if sweeps { SWEEP_ROUNDS } else { WALK_ROUNDS };
        let walked = std::mem::take(&mut self.previous_chain);
        let settled = self.run_rounds(memory, layout, gather, rounds, too)?;
        let fits = self.predicted.len() <= MAX_PROVEN;
        let is_settled = settled && fits;
        self.previous_chain = walked;
        if sweeps {
            self.haunts.forget_unread(&self.passes.second);
        }
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
        let looks = self.passes.read(layout, gather, gather);
        for addr in self.haunts.generators() {
            let outwards = looks.chase_from(looks.second, addr, &mut frames);
            let executes = frames.first().is_some_and(RawFrame::is_executing_generator);
            if executes && outwards && looks.has(looks.first, &frames) {
                return frames;
            }
        }
        let anchored =
            anchor.is_some_and(|anchor| looks.chase_from(looks.second, anchor, &mut frames));
        if anchored && looks.has(looks.first, &frames) {
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
        let looks = self.passes.read(layout, gather, gather);
        let seen = looks.innermost();
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
            let known = || looks.frame(looks.second, at, &mut hint);
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
        self.predicted.extend(walked.iter().map(Expected::from));
        self.kept_for = 0;
        self.top = top_of(layout, &walked);
        self.previous_chain = walked;
        Ok(())
    }
}

fn longest(one: Vec<RawFrame>, two: Vec<RawFrame>) -> Vec<RawFrame> {
    if two.len() > one.len() { two } else { one }
}
