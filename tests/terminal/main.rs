//! The binary in a real terminal, tmux's, on live targets.
//!
//! Each test has a terminal server of its own, waits for what it expects to appear, and compares
//! the terminal's state before and after. Without tmux, or without an interpreter, the tests are
//! shown as ignored with the reason in their name.

mod endings;
mod plain;
mod terminal;
mod views;

use std::process::Command;

use asyncspy_test_support::{Interpreter, Outcome, Target, interpreters};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test: it gets an interpreter to run its target with.
type Test = fn(&Interpreter) -> Outcome;

fn main() {
    let arguments = Arguments::from_args();
    let python = preferred();
    let why_not = match &python {
        Err(error) => Some(error.to_string()),
        Ok(_) if Command::new("tmux").arg("-V").output().is_err() => Some("no tmux".to_owned()),
        Ok(_) => None,
    };
    let tests = [views::TESTS, endings::TESTS, plain::TESTS].concat();
    let trials = tests
        .into_iter()
        .map(|(name, test)| match (&python, &why_not) {
            (Ok(python), None) => {
                let python = python.clone();
                Trial::test(name, move || {
                    test(&python).map_err(|error| Failed::from(error.to_string()))
                })
            }
            (_, reason) => {
                let reason = reason.as_deref().unwrap_or_default();
                Trial::test(format!("{name} (cannot run: {reason})"), || Ok(()))
                    .with_ignored_flag(true)
            }
        });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// The interpreter of the targets: any will do, since tests/live tries all of them.
fn preferred() -> Outcome<Interpreter> {
    let mut all = interpreters::load()?;
    all.retain(|each| each.is_supported() && each.chroot.is_none() && !each.debug);
    let wanted = all.iter().position(|each| each.is_at_least(12));
    let found = all.into_iter().nth(wanted.unwrap_or(0));
    found.ok_or_else(|| "no supported Python".into())
}

/// A loop that is blocked for 600 ms of each second, by the same line.
fn blocker(python: &Interpreter) -> Outcome<Target> {
    let words = ["time_sleep", "--duration", "0.6", "--period", "1"];
    Target::start(python, "blocker.py", &words)
}
