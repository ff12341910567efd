//! Every stall is found, timed, and laid to the right line of the right task.

use std::thread;
use std::time::Duration;

use asyncspy_test_support::trials::{one_per_minor, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::evidence::{Evidence, Log, THRESHOLD, looks_ns};
use crate::short_or_long;
use crate::watching::{Taken, Watching};

/// The rates at which one program is watched at the same time. At 1 kHz the beginning of a uvloop
/// stall is bound to 1 ms, which a machine that does other things besides does not keep: that is
/// measured in the long form alone.
fn rates(uvloop: bool) -> &'static [&'static str] {
    match uvloop {
        true => short_or_long(&["100"], &["100", "1khz"]),
        false => &["100", "1khz"],
    }
}

/// Minors with which uvloop is tried: one before frames moved off the heap, one with the context
/// in the thread state, one that publishes its offsets.
const UVLOOP_MINORS: [u32; 3] = [9, 12, 14];

/// How far off the beginning of a stall of a stock loop may be.
const BEGIN_LIMIT_NS: u64 = 1_000_000;

/// How often a program is asked whether it is done.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// One test for each minor version, and some with uvloop.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        for (taken, way) in Taken::WAYS {
            let refusal = taken.refusal();
            let each = interpreter.clone();
            let name = format!("accuracy::{}{way}", interpreter.name);
            let run = move || accuracy(&each, false, taken);
            trials.push(trial_unless(refusal.as_deref(), name, run));
            if UVLOOP_MINORS.contains(&interpreter.minor().1) {
                let each = interpreter.clone();
                let name = format!("accuracy::{}::uvloop{way}", interpreter.name);
                let missing = (!interpreter.has("uvloop")).then_some("no uvloop");
                let run = move || accuracy(&each, true, taken);
                trials.push(trial_unless(missing.or(refusal.as_deref()), name, run));
            }
        }
    }
    trials
}

fn accuracy(interpreter: &Interpreter, uvloop: bool, taken: Taken) -> Outcome {
    // Each of the twelve ways to block, once or ten times.
    let count = short_or_long("12", "120");
    let seed = interpreter.minor().1.to_string();
    let mut words = vec!["mixed", "--hold", "--count", count, "--seed", &seed];
    if uvloop {
        words.push("--uvloop");
    }
    let mut target = Target::start(interpreter, "blocker.py", &words)?;
    let watch = |rate: &&str| {
        let options = taken.options(&["--rate", rate, "--threshold", THRESHOLD]);
        Watching::start(target.pid, &options)
    };
    let rates = rates(uvloop);
    let watchings: Vec<_> = rates.iter().map(watch).collect();
    target.ask("go")?;
    let log = wait_until_finished(&mut target)?;
    let mut shortcomings = Vec::new();
    for (rate, watching) in rates.iter().zip(watchings) {
        let watching = watching?;
        let interval_ns = watching.interval_ns;
        let limit_ns = if uvloop {
            interval_ns + looks_ns()
        } else {
            BEGIN_LIMIT_NS
        };
        let evidence = Evidence::gather(&log, &watching.interrupt()?, interval_ns, limit_ns);
        eprintln!(
            "{}{} {taken:?} {rate}: {evidence}",
            interpreter.name,
            if uvloop { " uvloop" } else { "" }
        );
        let short = evidence.shortcomings();
        if !short.is_empty() {
            shortcomings.push(format!("at {rate}: {short:?}: {evidence}"));
            shortcomings.extend(evidence.lines);
        }
    }
    match shortcomings.is_empty() {
        true => Ok(()),
        false => Err(shortcomings.join("\n    ").into()),
    }
}

fn wait_until_finished(target: &mut Target) -> Outcome<Log> {
    loop {
        thread::sleep(ASK_EVERY);
        let log: Log = serde_json::from_str(&target.ask("truth")?)?;
        if log.finished {
            return Ok(log);
        }
    }
}
