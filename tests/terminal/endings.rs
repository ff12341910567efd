//! However it ends, the terminal is as it was.

use asyncspy_test_support::{Interpreter, Outcome, Target};
use nix::sys::signal::Signal;

use crate::terminal::Terminal;
use crate::views::{CULPRIT, save_all};
use crate::{Test, blocker};

/// All of these.
pub const TESTS: &[(&str, Test)] = &[
    ("endings::quit", quit),
    ("endings::ctrl_c", ctrl_c),
    ("endings::sigterm", |python| killed(python, Signal::SIGTERM)),
    ("endings::sighup", |python| killed(python, Signal::SIGHUP)),
    ("endings::suspended_it_comes_back", suspended_it_comes_back),
    ("endings::the_target_dies", the_target_dies),
];

/// Marks the picture of a target that has gone.
const MARK: &str = "TARGET EXITED";

/// Opens the view, ends it somehow, and compares the terminal before and after.
fn compare(python: &Interpreter, end: impl FnOnce(&Terminal, &mut Target) -> Outcome) -> Outcome {
    let mut target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    let before = terminal.modes()?;
    terminal.command_to_end(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    end(&terminal, &mut target)?;
    terminal.wait_for_end()?;
    terminal.wait_for_prompt()?;
    let after = terminal.modes()?;
    match before == after {
        true => Ok(()),
        false => Err(format!("before:\n{before}\nafter:\n{after}").into()),
    }
}

fn quit(python: &Interpreter) -> Outcome {
    compare(python, |terminal, _| terminal.keys(&["q"]))
}

fn ctrl_c(python: &Interpreter) -> Outcome {
    compare(python, |terminal, _| terminal.keys(&["C-c"]))
}

fn killed(python: &Interpreter, signal: Signal) -> Outcome {
    compare(python, |terminal, _| terminal.signal(signal))
}

fn suspended_it_comes_back(python: &Interpreter) -> Outcome {
    compare(python, |terminal, _| {
        for _ in 0..2 {
            terminal.keys(&["C-z"])?;
            terminal.wait_for_prompt()?;
            // The shell works meanwhile.
            terminal.command("echo $((6 * 7)) meanwhile")?;
            terminal.wait_for("42 meanwhile")?;
            terminal.type_text("fg")?;
            terminal.press_for("Enter", CULPRIT)?;
        }
        terminal.press_for("t", "[Tasks ")?;
        terminal.keys(&["q"])?;
        // What stood behind the stopped command is not done: the shell took it for done.
        terminal.wait_for_prompt()?;
        terminal.command_to_end("true")
    })
}

fn the_target_dies(python: &Interpreter) -> Outcome {
    compare(python, |terminal, target| {
        target.end();
        terminal.wait_for(MARK)?;
        terminal.press_for("t", "background-4")?;
        terminal.press_for("s", "block_time_sleep")?;
        save_all(terminal)?;
        let screen = terminal.screen()?;
        if !screen.contains(MARK) {
            return Err(format!("it is not marked any more:\n{screen}").into());
        }
        terminal.keys(&["q"])
    })
}
