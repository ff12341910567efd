//! Loops that come and go, threads that end, `fork` and `exec`: the next stall is caught as well.

use std::thread;
use std::time::{Duration, Instant};

use asyncspy_test_support::trials::{one_per_minor, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::watching::{Stall, Taken, Watching};

/// (what changes, how often). A second `exec` would need a second program.
const KINDS: [(&str, usize); 4] = [("exec", 1), ("fork", 2), ("runs", 3), ("threads", 3)];

/// Minors with different ways to find a loop and its running task.
const MINORS: [u32; 4] = [8, 11, 12, 14];

/// The line of `changes.py` that sleeps.
const HOLD_LINE: u32 = 28;

#[derive(Deserialize)]
struct Log {
    stalls: Vec<Hold>,
}

#[derive(Deserialize)]
struct Hold {
    began_ns: u64,
    ended_ns: u64,
}

/// A test on an interpreter, with the samples taken in one way.
type Run = dyn Fn(&Interpreter, Taken) -> Outcome + Send;

/// Each change on some minors.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        if !MINORS.contains(&interpreter.minor().1) {
            continue;
        }
        for (taken, way) in Taken::WAYS {
            let refusal = taken.refusal();
            let mut push = |what: &str, run: Box<Run>| {
                let each = interpreter.clone();
                let name = format!("changes::{what}::{}{way}", interpreter.name);
                let run = move || run(&each, taken);
                trials.push(trial_unless(refusal.as_deref(), name, run));
            };
            for (kind, times) in KINDS {
                let run = move |on: &Interpreter, taken| changes(on, taken, kind, times);
                push(kind, Box::new(run));
            }
            push("stop_while_idle", Box::new(stop_while_idle));
            push("stop_while_stalled", Box::new(stop_while_stalled));
        }
    }
    trials
}

fn changes(interpreter: &Interpreter, taken: Taken, kind: &str, times: usize) -> Outcome {
    let mut target = Target::start(interpreter, "changes.py", &[kind])?;
    let watching = Watching::start(target.pid, &taken.options(&["--threshold", "60"]))?;
    let mut log = Log { stalls: Vec::new() };
    for _ in 0..times {
        log = serde_json::from_str(&target.ask("change")?)?;
    }
    let told = watching.interrupt()?;
    let seen: Vec<String> = told.stalls.iter().map(Stall::brief).collect();
    for expected in &log.stalls {
        let is_it = |stall: &&Stall| {
            let place = stall.culprit.as_ref();
            stall.overlap_ns(expected.began_ns, expected.ended_ns) > 100_000_000
                && place.is_some_and(|place| place.function == "hold" && place.line == HOLD_LINE)
        };
        if told.stalls.iter().filter(is_it).count() != 1 {
            return Err(format!("one of {} is not in {seen:#?}", expected.began_ns).into());
        }
    }
    // To find a new loop may not take the samples from the old one; to start Python holds none.
    match log.stalls.len() == times && told.stalls.len() == times {
        true => Ok(()),
        false => Err(format!("{times} times, but {seen:#?}").into()),
    }
}

/// How long a target is stopped.
const STOP: Duration = Duration::from_secs(1);

/// How exact the length of a stop is known: by ticks on either side, and by when a signal arrives.
const TOLERANCE: Duration = Duration::from_millis(100);

/// A pause of the whole process.
fn stop(target: &Target) -> Outcome {
    target.stop()?;
    thread::sleep(STOP);
    target.go_on()
}

fn stop_while_idle(interpreter: &Interpreter, taken: Taken) -> Outcome {
    let mut target = Target::start(interpreter, "idle.py", &[])?;
    let watching = Watching::start(target.pid, &taken.options(&[]))?;
    target.ask("truth")?;
    stop(&target)?;
    target.ask("truth")?;
    // Long enough for the loop to show that it lives.
    thread::sleep(Duration::from_millis(1500));
    let told = watching.interrupt()?;
    let seen: Vec<String> = told.stalls.iter().map(Stall::brief).collect();
    let named = told.end["interruptions"].as_u64();
    match told.stalls.is_empty() && named == Some(1) {
        true => Ok(()),
        false => Err(format!("a stop is told as {named:?} interruptions, {seen:#?}").into()),
    }
}

fn stop_while_stalled(interpreter: &Interpreter, taken: Taken) -> Outcome {
    let mut target = Target::start(interpreter, "idle.py", &[])?;
    let watching = Watching::start(target.pid, &taken.options(&[]))?;
    target.stall("stall 2")?;
    let began = Instant::now();
    stop(&target)?;
    // The loop has come round when it has obeyed again. Whether the time of the stop counts as
    // slept depends on the system call that Python uses.
    target.stall("stall 0.01")?;
    let stalled = began.elapsed().saturating_sub(STOP);
    thread::sleep(Duration::from_millis(200));
    let told = watching.interrupt()?;
    let seen: Vec<String> = told.stalls.iter().map(Stall::brief).collect();
    let named = told.end["interruptions"].as_u64();
    match told.stalls.as_slice() {
        [one]
            if stalled.abs_diff(Duration::from_nanos(one.duration_ns)) < TOLERANCE
                && named == Some(1) =>
        {
            Ok(())
        }
        _ => Err(format!("{named:?} interruptions, {stalled:?} and {seen:#?}").into()),
    }
}
