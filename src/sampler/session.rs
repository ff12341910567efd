//! The thread that samples, and the stream that it feeds.
//!
//! Events go in batches, a few a second, so that handing them over costs next to nothing. The
//! sampler never waits for whoever consumes the stream: when there is no room, samples are
//! dropped and counted; definitions are kept until there is.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use asyncspy_model::sample::{EndReason, LoopSamples, Session as SessionFacts};
use asyncspy_model::{Event, LoopActivity, LoopSample, Sample, SamplingQuality};
use nix::sys::prctl::set_name;

use super::clock::Ticker;
use super::discovery::find_running_loops;
use super::in_kernel::InKernel;
use super::interruptions::InterruptionWatch;
use super::loop_sampler::LoopSampler;
use super::rest::Rest;
use super::shared::Shared;
use super::tables::StackTable;
use super::task_names::TaskTable;
use crate::aio::Caches;
use crate::aio::registry::Registries;
use crate::aio::snapshot::{Snapshooter, SnapshotOptions};
use crate::python::Python;
use crate::python::thread_names::ThreadNames;
use crate::target::memory::MemoryError;
use crate::target::process::{monotonic_now_ns, unix_now_ns};

mod follow;

/// How often threads are looked at for loops that have come or gone.
const DISCOVER_EVERY_NS: u64 = 1_000_000_000;

/// The same while there is no loop at all.
const DISCOVER_FIRST_EVERY_NS: u64 = 50_000_000;

/// How often a batch is handed over while one turn goes on.
const HAND_OVER_EVERY_NS: u64 = 50_000_000;

/// The same while nothing of note happens.
const CALM_HAND_OVER_EVERY_NS: u64 = 200_000_000;

/// A batch of so many events is handed over at once.
const FULL_BATCH: usize = 1 << 12;

/// Most events of a batch that could not be handed over yet; beyond, samples are dropped.
const MAX_PENDING: usize = 1 << 14;

/// How long a target that has replaced itself may take to become a Python again.
const REATTACH_WITHIN_NS: u64 = 10_000_000_000;

/// What to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// Time between two ticks.
    pub interval_ns: u64,
    /// For how long; `None` until stopped.
    pub duration_ns: Option<u64>,
    /// How often to take a census of all tasks; `None` for never.
    pub census_every_ns: Option<u64>,
    /// Take a census at once when a turn has lasted for so long.
    pub census_at_stall_ns: Option<u64>,
    /// Have the kernel look at the loop from within its thread, where it can.
    pub in_kernel: bool,
}

/// Events, in the order in which they happened.
pub type Batch = Vec<Event>;

/// Samples `python` until the duration is over, `stop` is set, or the target has ended. Each
/// event goes to `stream`.
pub fn run_session(
    python: Python,
    settings: SessionSettings,
    stream: SyncSender<Batch>,
    stop: &AtomicBool,
) {
    // For whoever looks at what asyncspy itself costs; without it nothing is lost.
    let _ = set_name(c"sampler");
    let mut sampler = Sampler::new(Arc::new(python), settings, stream);
    let Err(reason) = sampler.run(stop);
    sampler.end(reason);
}

struct Sampler {
    python: Arc<Python>,
    settings: SessionSettings,
    stream: SyncSender<Batch>,
    census: SyncSender<Arc<Python>>,
    caches: Caches,
    registries: Registries,
    thread_names: ThreadNames,
    stacks: StackTable,
    tasks: TaskTable,
    loops: Vec<LoopSampler>,
    /// The batch that grows.
    pending: Batch,
    /// When the last one was handed over.
    handed_over_ns: u64,
    /// At how many events the batch is handed over in any case.
    full_at: usize,
    quality: SamplingQuality,
    interruptions: InterruptionWatch,
    rest: Rest,
    in_kernel: InKernel,
    /// What the last look at the queues has found: ready callbacks, late timers, how late.
    load: (u32, u32, u64),
    /// Since when the kernel looks instead of the sampler.
    followed_from_ns: u64,
    /// What the last tick has found, if every loop has idled.
    idle: Option<LoopSamples>,
    began_ns: u64,
    next_discovery_ns: u64,
    next_census_ns: u64,
    /// Since when nothing of the target makes sense.
    lost_since_ns: Option<u64>,
}

impl Sampler {
    fn new(python: Arc<Python>, settings: SessionSettings, stream: SyncSender<Batch>) -> Self {
        let now = monotonic_now_ns();
        Self {
            census: start_census_taker(stream.clone()),
            interruptions: InterruptionWatch::new(python.facts.pid, now),
            pending: vec![session_event(&python, settings, now)],
            python,
            settings,
            stream,
            caches: Caches::default(),
            registries: Registries::default(),
            thread_names: ThreadNames::default(),
            stacks: StackTable::default(),
            tasks: TaskTable::default(),
            loops: Vec::new(),
            quality: SamplingQuality::default(),
            rest: Rest::new(settings.interval_ns),
            in_kernel: InKernel::default(),
            load: (0, 0, 0),
            followed_from_ns: 0,
            idle: None,
            handed_over_ns: 0,
            full_at: FULL_BATCH,
            began_ns: now,
            next_discovery_ns: 0,
            next_census_ns: 0,
            lost_since_ns: None,
        }
    }

    /// Goes on until there is a reason to end, which it returns as an error.
    fn run(&mut self, stop: &AtomicBool) -> Result<Infallible, EndReason> {
        self.tasks.begin_second();
        self.discover(self.began_ns)?;
        let mut ticker = Ticker::new(self.settings.interval_ns);
        loop {
            let (tick, now) = ticker.wait();
            self.is_to_end(now, stop)?;
            self.quality.late += u64::from(tick.late);
            self.quality.skipped += tick.skipped;
            self.tick(now)?;
            if self.settings.in_kernel {
                self.follow(&mut ticker, stop)?;
            }
            if ticker.sleeps() {
                self.rest(&mut ticker);
            }
        }
    }

    fn is_to_end(&self, now: u64, stop: &AtomicBool) -> Result<(), EndReason> {
        if stop.load(Ordering::Relaxed) {
            return Err(EndReason::Interrupted);
        }
        if now >= self.ends_ns() {
            return Err(EndReason::Duration);
        }
        Ok(())
    }

    /// Sleeps for some ticks if every loop is asleep: they find what the last one has.
    fn rest(&mut self, ticker: &mut Ticker) {
        let longest_ns = self.rest.longest_ns();
        let tids = self.loops.iter().map(|one| one.found().tid);
        if longest_ns == 0 || !self.rest.note(tids, self.idle.is_some()) {
            return;
        }
        let Some(idle) = self.idle.take() else {
            return;
        };
        ticker.silence();
        let until = ticker.last_within(longest_ns).min(self.ends_ns());
        // Loops that come and go are looked for no later than they would be else.
        let until = until.min(self.next_discovery_ns);
        let asleep_until = self.rest.sleep(until);
        while let Some(at) = ticker.pass(asleep_until) {
            self.quality.samples += 1;
            self.send_sample(at, at, idle.clone());
        }
    }

    /// When the duration is over.
    fn ends_ns(&self) -> u64 {
        let lasts = self.settings.duration_ns.unwrap_or(u64::MAX);
        self.began_ns.saturating_add(lasts)
    }

    fn tick(&mut self, now: u64) -> Result<(), EndReason> {
        self.sample_loops(now)?;
        self.look_around(now)
    }

    /// Looks for what there is besides the loops' stacks, as far as it is time.
    fn look_around(&mut self, now: u64) -> Result<(), EndReason> {
        if now >= self.next_discovery_ns {
            self.caches.codes.begin_epoch();
            self.stacks.begin_epoch();
            self.tasks.begin_second();
            self.interruptions.check_sleep(now, &mut self.pending);
            self.discover(now)?;
        }
        self.ask_for_census(now);
        Ok(())
    }

    fn sample_loops(&mut self, now: u64) -> Result<(), EndReason> {
        self.idle = None;
        let mut looked = self.look_at_loops(now);
        if self.loops.iter().any(LoopSampler::has_been_replaced) {
            self.discover(now)?;
            looked = self.look_at_loops(now);
            self.loops.iter_mut().for_each(LoopSampler::note_running);
        }
        let Some(samples) = looked else {
            return self.recover(now);
        };
        self.take_samples(samples, now);
        Ok(())
    }

    /// One sample of each loop; `None` if the target is gone.
    fn look_at_loops(&mut self, now: u64) -> Option<LoopSamples> {
        let mut samples = LoopSamples::new();
        let mut shared = Shared {
            python: &self.python,
            caches: &mut self.caches,
            stacks: &mut self.stacks,
            tasks: &mut self.tasks,
            events: &mut self.pending,
            now_ns: now,
            interval_ns: self.settings.interval_ns,
        };
        for one in &mut self.loops {
            one.watch_state(self.interruptions.is_stopped());
            samples.push(one.sample(&mut shared).ok()?);
        }
        Some(samples)
    }

    /// Sends a sample of each loop, and takes notice of what they tell of the target.
    fn take_samples(&mut self, samples: LoopSamples, now: u64) {
        for (sample, one) in samples.iter().zip(&self.loops) {
            // An idle loop looks the same whether it is stopped or not.
            if one.same_turn_ticks() == 0 && matches!(sample.activity, LoopActivity::Busy(_)) {
                self.interruptions.observe_progress(now, &mut self.pending);
            }
            self.interruptions
                .observe(sample.os_state, now, &mut self.pending);
        }
        self.quality.samples += 1;
        self.quality.torn += u64::from(samples.iter().any(|sample| sample.torn));
        let unknown = |sample: &LoopSample| sample.activity == LoopActivity::Unknown;
        if !samples.is_empty() && samples.iter().all(unknown) {
            self.quality.failed += 1;
            self.next_discovery_ns = self.next_discovery_ns.min(now + DISCOVER_FIRST_EVERY_NS);
        }
        let read_at = self.loops.iter().map(LoopSampler::read_at_ns).max();
        let read_at_ns = read_at.map_or(now, |at| at.max(now));
        self.idle = self.all_idle(&samples).then(|| samples.clone());
        self.send_sample(now, read_at_ns, samples);
    }

    /// True if every loop idles, and the target is not stopped.
    fn all_idle(&self, samples: &[LoopSample]) -> bool {
        let idles = |sample: &LoopSample| sample.activity == LoopActivity::Idle && !sample.torn;
        !samples.is_empty() && !self.interruptions.is_stopped() && samples.iter().all(idles)
    }

    fn send_sample(&mut self, now: u64, at_monotonic_ns: u64, loops: LoopSamples) {
        let sample = Event::Sample(Sample {
            at_monotonic_ns,
            elapsed_ns: at_monotonic_ns.saturating_sub(now),
            loops,
            quality: self.quality,
        });
        self.send(sample, now);
    }

    /// Looks for loops that have come, and forgets those that have gone.
    fn discover(&mut self, now: u64) -> Result<(), EndReason> {
        let known: Vec<_> = self.loops.iter().map(LoopSampler::found).collect();
        let found = find_running_loops(
            &self.python,
            &mut self.caches,
            &mut self.registries,
            &mut self.thread_names,
            &known,
        );
        let mut found = match found {
            Ok(found) => {
                self.lost_since_ns = None;
                found
            }
            Err(_) => return self.recover(now),
        };
        self.loops.retain_mut(|known| {
            let same = found.iter().position(|new| known.found().is_same_as(new));
            if let Some(at) = same {
                known.renew(found.remove(at));
            }
            same.is_some()
        });
        for new in found {
            let one = LoopSampler::new(&self.python, new);
            self.pending.push(Event::Loop(one.definition()));
            self.loops.push(one);
        }
        if self.loops.is_empty() {
            self.look_for_asyncio();
        }
        let pause = if self.loops.is_empty() {
            DISCOVER_FIRST_EVERY_NS
        } else {
            DISCOVER_EVERY_NS
        };
        self.next_discovery_ns = now + pause;
        Ok(())
    }

    /// A version that publishes offsets in `_asyncio` can be read only when that is imported.
    fn look_for_asyncio(&mut self) {
        if self.python.layout.wants_asyncio_table()
            && !self.python.has_asyncio_table
            && let Ok(python) = Python::attach(self.python.facts.pid)
        {
            self.python = Arc::new(python);
        }
    }

    /// Nothing of the target makes sense any more: it has ended, or has replaced itself.
    fn recover(&mut self, now: u64) -> Result<(), EndReason> {
        let since = *self.lost_since_ns.get_or_insert(now);
        if !self.python.facts.is_alive() {
            return Err(EndReason::TargetExited);
        }
        if now.saturating_sub(since) > REATTACH_WITHIN_NS {
            return Err(EndReason::Unreadable);
        }
        self.quality.failed += 1;
        self.next_discovery_ns = now + DISCOVER_FIRST_EVERY_NS;
        if let Ok(python) = Python::attach(self.python.facts.pid) {
            self.loops.clear();
            self.caches = Caches::default();
            self.stacks.begin_epoch();
            self.registries = Registries::default();
            self.thread_names = ThreadNames::default();
            self.python = Arc::new(python);
            let event = session_event(&self.python, self.settings, now);
            self.pending.push(event);
        }
        Ok(())
    }

    fn ask_for_census(&mut self, now: u64) {
        let stalls = self.settings.census_at_stall_ns.is_some_and(|after| {
            let ticks = after / self.settings.interval_ns.max(1);
            let due = |one: &LoopSampler| u64::from(one.same_turn_ticks()) == ticks.max(1);
            self.loops.iter().any(due)
        });
        let regular = self
            .settings
            .census_every_ns
            .is_some_and(|_| now >= self.next_census_ns);
        if regular || stalls {
            self.next_census_ns = now + self.settings.census_every_ns.unwrap_or(u64::MAX / 2);
            // A taker that is still busy takes the next one.
            let _ = self.census.try_send(self.python.clone());
        }
    }

    /// Adds a sample to the batch, and hands the batch over when it is time.
    fn send(&mut self, sample: Event, now: u64) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push(sample);
        } else {
            self.quality.dropped += 1;
        }
        let held = |one: &LoopSampler| {
            u64::from(one.same_turn_ticks()) * self.settings.interval_ns >= HAND_OVER_EVERY_NS
        };
        let every = match self.loops.iter().any(held) {
            true => HAND_OVER_EVERY_NS,
            false => CALM_HAND_OVER_EVERY_NS,
        };
        let is_due = now >= self.handed_over_ns.saturating_add(every);
        if !is_due && self.pending.len() < self.full_at {
            return;
        }
        self.handed_over_ns = now;
        let room = self.pending.len();
        let batch = std::mem::replace(&mut self.pending, Vec::with_capacity(room));
        self.full_at = FULL_BATCH;
        if let Err(TrySendError::Full(batch)) = self.stream.try_send(batch) {
            self.full_at = batch.len() + FULL_BATCH;
            self.pending = batch;
        }
    }

    fn end(mut self, reason: EndReason) {
        self.pending.push(Event::End {
            reason,
            at_monotonic_ns: monotonic_now_ns(),
            quality: self.quality,
        });
        // A consumer that has gone needs no end.
        let _ = self.stream.send(self.pending);
    }
}

fn session_event(python: &Python, settings: SessionSettings, now: u64) -> Event {
    Event::Session(SessionFacts {
        pid: python.facts.pid,
        command: python.facts.command.as_str().into(),
        python: python.layout.version.to_string().into(),
        process_started_unix_ns: python.facts.started_unix_ns,
        began_monotonic_ns: now,
        began_unix_ns: unix_now_ns(),
        interval_ns: settings.interval_ns,
    })
}

/// Starts the thread that takes censuses, so that no tick waits for one.
fn start_census_taker(stream: SyncSender<Batch>) -> SyncSender<Arc<Python>> {
    let (ask, asked) = sync_channel::<Arc<Python>>(1);
    std::thread::spawn(move || {
        let _ = set_name(c"census");
        let mut snapshooter = Snapshooter::default();
        while let Ok(python) = asked.recv() {
            match snapshooter.take(&python, SnapshotOptions::default()) {
                Ok(snapshot) => {
                    let batch = vec![Event::Snapshot(Arc::new(snapshot))];
                    if let Err(TrySendError::Disconnected(_)) = stream.try_send(batch) {
                        return;
                    }
                }
                Err(MemoryError::Gone) => return,
                Err(_) => {}
            }
        }
    });
    ask
}
