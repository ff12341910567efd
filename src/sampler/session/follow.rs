//! Sampling by looks that the kernel takes.

use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use asyncspy_model::sample::{EndReason, LoopSamples};
use asyncspy_model::{LoopActivity, LoopSample};

use super::Sampler;
use crate::sampler::clock::Ticker;
use crate::sampler::in_kernel::record::Record;
use crate::sampler::in_kernel::spans::Piece;
use crate::sampler::in_kernel::{InKernel, KernelLooks};
use crate::sampler::shared::Shared;
use crate::target::process::monotonic_now_ns;

/// How long looks wait at most until they are taken notice of.
const EVERY_NS: u64 = 50_000_000;

/// Of so many samples half must be of use.
const JUDGED: u32 = 50;

/// More looks than these, in a second, cost the target too much: where a thread leaves its processor
/// all the time, each takes it some microseconds.
const MOST_A_SECOND: u64 = 10_000;

/// Of what use the kernel's looks are. A stack that is deeper than there is room for is torn each
/// time; from outside it is not.
#[derive(Debug, Default)]
struct Worth {
    samples: u32,
    useless: u32,
}

impl Worth {
    fn note(&mut self, sample: &LoopSample) {
        self.samples += 1;
        self.useless += u32::from(sample.torn || sample.activity == LoopActivity::Unknown);
    }

    /// False if most of the last samples were of none.
    fn is_given(&mut self) -> bool {
        if self.samples < JUDGED {
            return true;
        }
        let judged = std::mem::take(self);
        2 * judged.useless <= judged.samples
    }
}

impl Sampler {
    /// Leaves the looks to the kernel if there is one loop and it does so, as long as that goes on.
    pub(super) fn follow(
        &mut self,
        ticker: &mut Ticker,
        stop: &AtomicBool,
    ) -> Result<(), EndReason> {
        let [one] = self.loops.as_slice() else {
            self.in_kernel = InKernel::default();
            return Ok(());
        };
        let subject = one.subject(&self.python);
        let interval = self.settings.interval_ns;
        let Some(mut looks) = self.in_kernel.poll(subject, interval) else {
            return Ok(());
        };
        ticker.silence();
        self.followed_from_ns = monotonic_now_ns();
        let loop_id = one.definition().id;
        let mut worth = Worth::default();
        let goes_on = loop {
            let next = self.ends_ns().min(self.next_discovery_ns);
            let wait = next.saturating_sub(monotonic_now_ns()).min(EVERY_NS);
            sleep(Duration::from_nanos(wait));
            let now = monotonic_now_ns();
            let goes_on = self.take_looks(&mut looks, &mut worth, now);
            self.is_to_end(now, stop)?;
            self.look_around(now)?;
            let is_same = matches!(self.loops.as_slice(), [one] if one.definition().id == loop_id);
            if !goes_on || !is_same {
                break goes_on;
            }
        };
        if !goes_on {
            self.in_kernel.give_up();
        }
        // Those ticks were not left out.
        while ticker.pass(monotonic_now_ns()).is_some() {}
        Ok(())
    }

    /// Makes samples of the looks that there are; false if that leads nowhere any more.
    fn take_looks(&mut self, looks: &mut KernelLooks, worth: &mut Worth, now: u64) -> bool {
        let state = self.loops[0].os_state();
        // A thread that has ended is not away: it does nothing any more.
        let is_there = !matches!(state, 'Z' | 'X' | '?');
        let mut last: Option<LoopSample> = None;
        let until = is_there.then_some(now);
        let drained = looks.drain(until, |piece, record| {
            if self.loops[0].has_been_replaced() {
                return;
            }
            let sample = self.take_look(piece, record);
            worth.note(&sample);
            last = Some(sample);
        });
        let Ok(drained) = drained else {
            return false;
        };
        self.quality.skipped += drained.lost;
        if let Some(last) = last {
            self.look_now((last, state), now);
        }
        let most = MOST_A_SECOND * EVERY_NS.max(drained.within_ns) / 1_000_000_000;
        let is_worth_it = worth.is_given() && drained.looks <= most;
        is_there && is_worth_it && !self.loops[0].has_been_replaced()
    }

    /// Sends the sample that a look is, unless a sample of that time was sent already.
    fn take_look(&mut self, piece: Piece, record: Record<'_>) -> LoopSample {
        let mut shared = Shared {
            python: &self.python,
            caches: &mut self.caches,
            stacks: &mut self.stacks,
            tasks: &mut self.tasks,
            events: &mut self.pending,
            now_ns: piece.at_ns,
            interval_ns: self.settings.interval_ns,
        };
        let one = &mut self.loops[0];
        let mut sample = one.sample_record(&mut shared, record);
        sample.weight_ns = Some(u32::try_from(piece.weight_ns).unwrap_or(u32::MAX));
        (sample.ready, sample.late_timers, sample.worst_late_ns) = self.load;
        if record.leaves() {
            sample.os_state = if record.waits() { 'S' } else { '?' };
        } else {
            sample.os_state = 'R';
            self.interruptions
                .observe_progress(piece.at_ns, &mut self.pending);
        }
        // Samples of another loop are taken when that one is known.
        if piece.at_ns < self.followed_from_ns || one.has_been_replaced() {
            return sample;
        }
        let counts = u64::from(piece.weight_ns > 0);
        self.quality.samples += counts;
        self.quality.in_kernel += counts;
        self.quality.torn += u64::from(sample.torn);
        let mut samples = LoopSamples::new();
        samples.push(sample);
        self.send_sample(piece.at_ns, piece.at_ns, samples);
        sample
    }

    /// Looks at what the kernel's looks do not tell: queues, and whether the target is stopped.
    fn look_now(&mut self, (mut sample, state): (LoopSample, char), now: u64) {
        let shared = Shared {
            python: &self.python,
            caches: &mut self.caches,
            stacks: &mut self.stacks,
            tasks: &mut self.tasks,
            events: &mut self.pending,
            now_ns: now,
            interval_ns: self.settings.interval_ns,
        };
        self.loops[0].fill_load(&shared, &mut sample);
        self.load = (sample.ready, sample.late_timers, sample.worst_late_ns);
        self.interruptions.observe(state, now, &mut self.pending);
    }
}
