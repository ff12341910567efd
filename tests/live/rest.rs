//! A loop that idles is left asleep: what is told of it is the same, and takes next to nothing.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use asyncspy::python::Python;
use asyncspy::sampler::session::{Batch, SessionSettings, run_session};
use asyncspy::target::switches::SwitchNotes;
use asyncspy_model::{Event, LoopActivity, Sample};
use asyncspy_test_support::trials::missing;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{one_per_minor, trial_alone};

const INTERVAL_NS: u64 = 1_000_000;

/// Samples that are taken of a loop that idles.
const SAMPLES: u64 = 2_000;

/// Without being left asleep, the sampler sleeps once for each.
const SAMPLES_A_SLEEP: u64 = 4;

/// Samples of a stall of a third of a second, where the machine has little time for us.
const OF_STALL: usize = 50;

/// How long a batch may take. Only a broken sampler takes that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Each version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let own = nix::unistd::gettid().as_raw();
    let refusal = SwitchNotes::open(own).err().map(|error| error.to_string());
    let trial = |interpreter: &Interpreter| {
        let name = format!("rest::{}", interpreter.name);
        let each = interpreter.clone();
        match &refusal {
            Some(reason) => missing(&name, reason),
            None => trial_alone(name, move || rest(&each)),
        }
    };
    one_per_minor(interpreters).map(trial).collect()
}

fn rest(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "idle.py", &[])?;
    let python = Python::attach(target.pid)?;
    let settings = SessionSettings {
        interval_ns: INTERVAL_NS,
        duration_ns: None,
        census_every_ns: None,
        census_at_stall_ns: None,
        in_kernel: false,
    };
    let (stream, batches) = sync_channel(1024);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| run_session(python, settings, stream, &stop));
        let outcome = idle_then_stall(&interpreter.name, &mut target, &batches);
        stop.store(true, Ordering::Relaxed);
        while batches.recv().is_ok() {}
        outcome
    })
}

fn idle_then_stall(name: &str, target: &mut Target, batches: &Receiver<Batch>) -> Outcome {
    let mut samples = Vec::new();
    more(batches, &mut samples)?;
    let (first, slept) = (samples.len(), sleeps()?);
    while samples.len() < first + SAMPLES as usize {
        more(batches, &mut samples)?;
    }
    let (taken, slept) = ((samples.len() - first) as u64, sleeps()? - slept);
    println!("rest::{name}: {slept} sleeps for {taken} samples");
    if slept * SAMPLES_A_SLEEP > taken {
        return Err(format!("{slept} sleeps for {taken} samples").into());
    }
    target.stall("stall 0.33")?;
    let stall = loop {
        more(batches, &mut samples)?;
        if let Some(stall) = stall_of(&samples) {
            break stall;
        }
    };
    let claimed = |sample: &&Sample| {
        let within =
            sample.at_monotonic_ns > stall.began_ns && sample.at_monotonic_ns < stall.last_ns;
        within && sample.loops.iter().any(|one| one.activity == LoopActivity::Idle)
            // What was looked at has taken some time.
            && sample.elapsed_ns == 0
    };
    match samples.iter().filter(claimed).count() {
        0 => Ok(()),
        count => Err(format!("{count} samples tell of an idle loop during {stall:?}").into()),
    }
}

fn more(batches: &Receiver<Batch>, samples: &mut Vec<Sample>) -> Outcome {
    for event in batches.recv_timeout(PATIENCE)? {
        if let Event::Sample(sample) = event {
            samples.push(sample);
        }
    }
    Ok(())
}

/// A turn that was met again and again.
#[derive(Debug)]
struct Stall {
    /// When it began, as the loop itself has noted.
    began_ns: u64,
    /// When it was met last.
    last_ns: u64,
}

/// The stall that the last samples show the end of.
fn stall_of(samples: &[Sample]) -> Option<Stall> {
    let turn = |sample: &Sample| match sample.loops.first()?.activity {
        LoopActivity::Busy(turn) => Some(turn),
        _ => None,
    };
    let turns: Vec<_> = samples.iter().map(turn).collect();
    let met = |identity: u64| {
        turns
            .iter()
            .flatten()
            .filter(|turn| turn.identity == identity)
            .count()
    };
    let at = turns
        .iter()
        .rposition(|turn| turn.is_some_and(|turn| met(turn.identity) >= OF_STALL))?;
    let is_over = at + 1 < samples.len();
    is_over.then_some(Stall {
        began_ns: turns[at]?.began_monotonic_ns?,
        last_ns: samples[at].at_monotonic_ns,
    })
}

/// How often the sampler has gone to sleep, with those that were before it.
pub fn sleeps() -> Outcome<u64> {
    let mut sleeps = None;
    for thread in fs::read_dir("/proc/self/task")? {
        let folder = thread?.path();
        let is_sampler =
            fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "sampler\n");
        if is_sampler {
            let text = fs::read_to_string(folder.join("status"))?;
            let count = text
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let count: u64 = count.ok_or("no count of switches")?.trim().parse()?;
            sleeps = Some(sleeps.unwrap_or(0) + count);
        }
    }
    sleeps.ok_or_else(|| "no sampler".into())
}
