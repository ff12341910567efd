//! Samples that the kernel takes: none of them is torn, however fast a stack moves, and the sampler
//! sleeps nearly all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use asyncspy::python::Python;
use asyncspy::sampler::in_kernel::try_out;
use asyncspy::sampler::session::{Batch, SessionSettings, run_session};
use asyncspy_model::stack::StackFrame;
use asyncspy_model::{Event, LoopActivity, LoopSample, Sample, StackId};
use asyncspy_test_support::trials::missing;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{one_per_minor, trial_alone};
use crate::rest::{PATIENCE, sleeps};

const INTERVAL_NS: u64 = 1_000_000;

/// Samples that are taken of a chain that moves all the time.
const SAMPLES: usize = 2_000;

/// One of so many may be met between two instructions that belong together.
const TORN: usize = 100;

/// From outside the sampler sleeps once for each.
const SAMPLES_A_SLEEP: u64 = 10;

/// How long the loop is held: as the command says it, and in nanoseconds.
const STALL: (&str, u64) = ("stall 0.33", 330_000_000);

/// How often.
const STALLS: usize = 3;

/// Each version, with asyncio's own loop and with uvloop.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let own = nix::unistd::gettid().as_raw();
    let refusal = try_out(own).err().map(|error| error.to_string());
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        let mut push = |what: &str, reason: Option<&str>, run: fn(&Interpreter) -> Outcome| {
            let name = format!("in_kernel::{what}::{}", interpreter.name);
            let each = interpreter.clone();
            trials.push(match refusal.as_deref().or(reason) {
                Some(reason) => missing(&name, reason),
                None => trial_alone(name, move || run(&each)),
            });
        };
        push("chain", None, chain);
        push("deep", None, deep);
        push("stall", None, |on| stall(on, &[]));
        let reason = (!interpreter.has("uvloop")).then_some("no uvloop");
        push("stall::uvloop", reason, |on| stall(on, &["--uvloop"]));
    }
    trials
}

/// What a session has told so far.
#[derive(Default)]
struct Told {
    samples: Vec<Sample>,
    stacks: HashMap<StackId, Arc<[StackFrame]>>,
}

impl Told {
    /// The samples that the kernel has taken.
    fn taken(&self) -> impl Iterator<Item = &LoopSample> {
        let each = self.samples.iter().flat_map(|sample| &sample.loops);
        each.filter(|sample| sample.weight_ns.is_some())
    }

    /// The samples of the kernel stand for all of the time between the first and the last.
    fn all_time_is_accounted_for(&self) -> Outcome {
        let is_taken = |sample: &&Sample| sample.loops.iter().any(|one| one.weight_ns.is_some());
        let moments = || self.samples.iter().filter(is_taken);
        let moments = || moments().map(|sample| sample.at_monotonic_ns);
        let span = moments().max().unwrap_or(0) - moments().min().unwrap_or(0);
        let weights = self.taken().filter_map(|sample| sample.weight_ns);
        let accounted: u64 = weights.map(u64::from).sum();
        match accounted.abs_diff(span) < span / 50 {
            true => Ok(()),
            false => Err(format!("of {span} ns samples stand for {accounted}").into()),
        }
    }

    fn more(&mut self, batches: &Receiver<Batch>) -> Outcome {
        for event in batches.recv_timeout(PATIENCE)? {
            match event {
                Event::Sample(sample) => self.samples.push(sample),
                Event::Stack { id, frames } => {
                    self.stacks.insert(id, frames);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes on until so many samples were taken.
    fn until(&mut self, batches: &Receiver<Batch>, count: usize) -> Outcome {
        let patient_until = Instant::now() + PATIENCE;
        while self.taken().count() < count {
            self.more(batches)?;
            if Instant::now() > patient_until {
                let all = self.samples.len();
                let taken = self.taken().count();
                return Err(format!("of {all} samples the kernel has taken {taken}").into());
            }
        }
        Ok(())
    }
}

fn session(
    target: &mut Target,
    look: impl FnOnce(&mut Target, &Receiver<Batch>) -> Outcome,
) -> Outcome {
    let python = Python::attach(target.pid)?;
    let settings = SessionSettings {
        interval_ns: INTERVAL_NS,
        duration_ns: None,
        census_every_ns: None,
        census_at_stall_ns: None,
        in_kernel: true,
    };
    let (stream, batches) = sync_channel(1024);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| run_session(python, settings, stream, &stop));
        let outcome = look(target, &batches);
        stop.store(true, Ordering::Relaxed);
        while batches.recv().is_ok() {}
        outcome
    })
}

fn chain(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "chain.py", &["50"])?;
    session(&mut target, |_, batches| {
        let mut told = Told::default();
        told.until(batches, 1)?;
        let slept = sleeps()?;
        told.until(batches, SAMPLES)?;
        let slept = sleeps()? - slept;
        if slept * SAMPLES_A_SLEEP > SAMPLES as u64 {
            return Err(format!("{slept} sleeps").into());
        }
        told.all_time_is_accounted_for()?;
        let torn = told.taken().filter(|sample| sample.torn).count();
        let mut deepest = 0;
        for sample in told.taken().filter(|sample| !sample.torn) {
            let frames = sample.stack.and_then(|id| told.stacks.get(&id));
            deepest = deepest.max(levels(frames.map_or(&[], |frames| frames))?);
        }
        println!(
            "in_kernel::chain::{}: {torn} torn, {slept} sleeps",
            interpreter.name
        );
        match torn * TORN <= SAMPLES && deepest == 50 {
            true => Ok(()),
            false => Err(format!("{torn} of {SAMPLES} torn, {deepest} levels").into()),
        }
    })
}

/// Stacks for which the kernel has no room are looked at from outside.
fn deep(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "chain.py", &["600"])?;
    session(&mut target, |_, batches| {
        let mut told = Told::default();
        told.until(batches, 1)?;
        let patient_until = Instant::now() + PATIENCE;
        let is_outside = |sample: &LoopSample| sample.weight_ns.is_none();
        while !told
            .samples
            .iter()
            .rev()
            .take(1)
            .flat_map(|sample| &sample.loops)
            .any(is_outside)
        {
            told.more(batches)?;
            if Instant::now() > patient_until {
                return Err("the kernel goes on".into());
            }
        }
        Ok(())
    })
}

/// How many levels of the chain are in a stack: all from the first on, or the stack never stood.
fn levels(frames: &[StackFrame]) -> Outcome<usize> {
    let names = frames.iter().rev().map(|frame| &*frame.location.function);
    let mut count = 0;
    for level in names.filter_map(|name| name.strip_prefix("level_")) {
        count += 1;
        if level.parse() != Ok(count) {
            return Err(format!("level {level} where {count} should be").into());
        }
    }
    Ok(count)
}

fn stall(interpreter: &Interpreter, words: &[&str]) -> Outcome {
    let mut target = Target::start(interpreter, "idle.py", words)?;
    session(&mut target, |target, batches| {
        let mut told = Told::default();
        told.until(batches, 100)?;
        for _ in 0..STALLS {
            target.stall(STALL.0)?;
        }
        // What has come of the stall is told a batch later.
        told.until(batches, told.taken().count() + 1_000)?;
        let mut longest = 0;
        let mut turn = (0, 0);
        for sample in told.taken() {
            let LoopActivity::Busy(busy) = sample.activity else {
                continue;
            };
            if busy.identity != turn.0 {
                turn = (busy.identity, 0);
            }
            turn.1 += u64::from(sample.weight_ns.unwrap_or(0));
            longest = longest.max(turn.1);
        }
        told.all_time_is_accounted_for()?;
        let off = longest.abs_diff(STALL.1);
        match off < STALL.1 / 10 {
            true => Ok(()),
            false => Err(format!("the longest turn took {longest} ns").into()),
        }
    })
}
