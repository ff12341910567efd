//! A healthy loop and an idle one do not stall, however closely one looks.

use std::thread;
use std::time::Duration;

use asyncspy_test_support::trials::{one_per_minor, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::evidence::Gap;
use crate::watching::{Stall, Told, Watching};
use crate::{pauses, short_or_long};

/// In milliseconds. The programs log what holds them up for more than 50 ms.
const THRESHOLD: &str = "60";

/// Fewer requests per second than this show that the machine, not the loop, was measured.
const REQUESTS_PER_S: f64 = 4_500.0;

const MINORS: [u32; 3] = [9, 12, 14];

#[derive(Deserialize)]
struct Log {
    gaps: Vec<Gap>,
    requests_per_s: Option<f64>,
}

/// Each program, with and without uvloop.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for interpreter in one_per_minor(interpreters) {
        if !MINORS.contains(&interpreter.minor().1) {
            continue;
        }
        for (script, seconds) in [
            ("healthy", short_or_long(10, 600)),
            ("idle", short_or_long(10, 300)),
        ] {
            for loop_class in ["asyncio", "uvloop"] {
                let lacks = loop_class == "uvloop" && !interpreter.has("uvloop");
                let name = format!("quiet::{script}::{}::{loop_class}", interpreter.name);
                let each = interpreter.clone();
                let run = move || quiet(&each, script, loop_class, seconds);
                trials.push(trial_unless(lacks.then_some("no uvloop"), name, run));
            }
        }
    }
    trials
}

fn quiet(interpreter: &Interpreter, script: &str, loop_class: &str, seconds: u64) -> Outcome {
    let words: &[&str] = if loop_class == "uvloop" {
        &["--uvloop"]
    } else {
        &[]
    };
    let mut target = Target::start(interpreter, &format!("{script}.py"), words)?;
    let seconds = seconds.to_string();
    let start = |rate| {
        let options = [
            "--rate",
            rate,
            "--threshold",
            THRESHOLD,
            "--duration",
            &*seconds,
        ];
        Watching::start(target.pid, &options)
    };
    let watchings = [start("100")?, start("1khz")?];
    let told = watchings.map(Watching::finish);
    // A pause is logged when it is over.
    thread::sleep(Duration::from_millis(1100));
    let log: Log = serde_json::from_str(&target.ask("truth")?)?;
    for each in told {
        let each = each?;
        check_quiet(&log, &each)?;
    }
    match log.requests_per_s {
        Some(rate) if rate < REQUESTS_PER_S => Err(format!("only {rate} requests/s").into()),
        _ => Ok(()),
    }
}

fn check_quiet(log: &Log, told: &Told) -> Outcome {
    let unexplained = |stall: &&Stall| {
        !log.gaps.iter().any(|gap| gap.explains(stall))
            && !pauses::any_between(stall.began_monotonic_ns, stall.ended_ns())
    };
    let false_stalls = told.stalls.iter().filter(unexplained);
    let false_stalls: Vec<_> = false_stalls.map(Stall::brief).collect();
    if told.quality("samples") == 0 {
        return Err("nothing was sampled".into());
    }
    match false_stalls.is_empty() {
        true => Ok(()),
        false => Err(format!("{} false: {false_stalls:#?}", false_stalls.len()).into()),
    }
}
