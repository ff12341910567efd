//! `watch` and `record` on real Pythons that stall, and on ones that do not.
//!
//! As in `live`, each interpreter and scenario is a test of its own. What a program did is known
//! from its own log on CLOCK_MONOTONIC. With `LONG_TESTS=1` each runs for as long as the claims
//! of the README need; without, all of them together take a few minutes on two processors.

mod accuracy;
mod changes;
mod endings;
mod evidence;
mod moments;
mod pauses;
mod quiet;
mod servers;
mod watching;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use asyncspy_test_support::{Interpreter, Outcome, interpreters};
use libtest_mimic::{Arguments, Trial};
use signal_hook::consts::SIGINT;
use signal_hook::flag::register_conditional_shutdown;

/// How many tests run at once: a program under test, two observers and this one share two
/// processors, and what none of them gets is a pause that nobody's code has made.
const AT_ONCE: usize = 2;

fn main() {
    // Whoever is started in the background may ignore SIGINT, and its children would too.
    let ends = Arc::new(AtomicBool::new(true));
    if let Err(error) = register_conditional_shutdown(SIGINT, 130, ends) {
        eprintln!("SIGINT stays as it is: {error}");
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    pauses::watch_out();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit(),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

fn trials() -> Outcome<Vec<Trial>> {
    let mut supported = interpreters::load()?;
    supported.retain(Interpreter::is_supported);
    let mut trials = accuracy::trials(&supported);
    trials.extend(quiet::trials(&supported));
    trials.extend(changes::trials(&supported));
    trials.extend(endings::trials(&supported));
    trials.extend(moments::trials(&supported));
    trials.extend(servers::trials(&supported));
    Ok(trials)
}

/// The first figure, or the second in the long form of the tests.
fn short_or_long<T>(short: T, long: T) -> T {
    match std::env::var_os("LONG_TESTS") {
        Some(word) if word != "0" && !word.is_empty() => long,
        _ => short,
    }
}
