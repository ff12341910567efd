//! What a person does while the target runs.

use std::fs;
use std::time::{Duration, Instant};

use asyncspy_test_support::{Interpreter, Outcome};

use crate::terminal::{Terminal, child_of, wait_until};
use crate::{Test, blocker};

/// All of these.
pub const TESTS: &[(&str, Test)] = &[
    (
        "views::the_first_screen_names_the_culprit",
        the_first_screen_names_the_culprit,
    ),
    (
        "views::the_demo_answers_by_itself",
        the_demo_answers_by_itself,
    ),
    ("views::every_view_opens", every_view_opens),
    (
        "views::a_filter_leaves_what_matches",
        a_filter_leaves_what_matches,
    ),
    ("views::frozen_it_stands_still", frozen_it_stands_still),
    ("views::what_is_saved_is_whole", what_is_saved_is_whole),
    (
        "views::plain_text_stays_for_copying",
        plain_text_stays_for_copying,
    ),
    ("views::it_fits_any_size", it_fits_any_size),
    (
        "views::without_a_pid_one_chooses",
        without_a_pid_one_chooses,
    ),
];

/// The line that the target is blocked by, as the verdict writes it.
pub const CULPRIT: &str = "by task blocker-time_sleep in block_time_sleep blocks.py:";

fn the_first_screen_names_the_culprit(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    let screen = terminal.wait_for(CULPRIT)?;
    for expected in [" asyncio ", "STALLED ", "[Stalls", "not pausing"] {
        if !screen.contains(expected) {
            return Err(format!("no {expected}:\n{screen}").into());
        }
    }
    Ok(())
}

fn the_demo_answers_by_itself(python: &Interpreter) -> Outcome {
    let terminal = Terminal::open(&[])?;
    let binary = python.binary.display();
    terminal.command(&format!("asyncspy demo --python {binary}"))?;
    terminal.wait_for(" not pausing")?;
    // How soon is measured by `scripts/bench_top`: a timed test says more of the machine.
    terminal.wait_for("Shop.query_database demo.py:")?;
    let service = child_of(terminal.program()?).ok_or("the demo has no service")?;
    terminal.keys(&["q"])?;
    terminal.wait_for_prompt()?;
    wait_until("the service has ended", || {
        nix::sys::signal::kill(service, None).is_err()
    })?;
    Ok(())
}

fn every_view_opens(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    let letters = [
        ("o", "[Hot", "block_tim"),
        ("t", "[Tasks ", "background-4"),
        ("e", "[Tree", "└─ blocker-time"),
        ("w", "[Waits", "sleep"),
        ("a", "[Threads ", "helper"),
        ("f", "[Flame", "block_time_sleep"),
        ("?", "[Help", "next view"),
        ("s", "[Stalls ", "blocking call"),
    ];
    for (key, tab, content) in letters {
        terminal.press_for(key, tab)?;
        terminal.wait_for(content)?;
    }
    for (_, tab, _) in &letters {
        terminal.press_for("Tab", tab)?;
    }
    for (_, tab, _) in letters[..7].iter().rev() {
        terminal.press_for("BTab", tab)?;
    }
    terminal.keys(&["s"])?;
    terminal.wait_for("[Stalls ")?;
    terminal.press_for("Enter", "Await chain of the task")?;
    terminal.press_for("Escape", "▶")?;
    Ok(())
}

fn a_filter_leaves_what_matches(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    terminal.press_for("t", "heartbeat")?;
    terminal.keys(&["/", "g", "r", "o", "u", "n", "d", "-", "3", "Enter"])?;
    let only = |screen: &str| screen.contains("background-3") && !screen.contains("background-2");
    terminal.wait_until("background-3 alone", only)?;
    terminal.press_for("c", "background-2").map(drop)
}

fn frozen_it_stands_still(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    let frozen = terminal.press_for("Space", "FROZEN")?;
    // While it is frozen a new stall begins and ends.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2200) {
        let screen = terminal.screen()?;
        if screen != frozen {
            return Err(format!("frozen:\n{frozen}\nthen:\n{screen}").into());
        }
    }
    terminal.keys(&["Space"])?;
    let moves = |screen: &str| !screen.contains("FROZEN") && screen != frozen;
    terminal.wait_until("newer picture", moves).map(drop)
}

fn what_is_saved_is_whole(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    save_all(&terminal)
}

/// Saves in every form, and looks into the files.
pub fn save_all(terminal: &Terminal) -> Outcome {
    terminal.press_for("d", "wrote asyncspy-")?;
    let dump = fs::read_to_string(terminal.saved(".txt")?)?;
    if !dump.contains("Thread ") || !dump.contains("heartbeat") {
        return Err(format!("the dump lacks a thread or a task:\n{dump}").into());
    }
    terminal.press_for("S", "flame graph")?;
    // Before it says so, the file is there and not written yet.
    terminal.press_for("f", "-flame-")?;
    let flame = fs::read_to_string(terminal.saved(".svg")?)?;
    if !flame.contains("block_time_sleep") || !flame.trim_end().ends_with("</svg>") {
        return Err("the flame graph is cut short".into());
    }
    terminal.keys(&["S"])?;
    terminal.press_for("j", "-report-")?;
    let report = fs::read_to_string(terminal.saved(".json")?)?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    match report["stalls"].as_array() {
        Some(stalls) if !stalls.is_empty() => Ok(()),
        _ => Err("the report has no stalls".into()),
    }
}

fn plain_text_stays_for_copying(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    let plain =
        |screen: &str| screen.contains("time.sleep(seconds)") && !screen.contains("[Stalls");
    terminal.keys(&["y"])?;
    terminal.wait_until("plain text", plain)?;
    terminal.press_for("Space", "[Stalls")?;
    terminal.keys(&["q"])?;
    let screen = terminal.wait_for_prompt()?;
    match plain(&screen) {
        true => Ok(()),
        false => Err(format!("the plain text is gone:\n{screen}").into()),
    }
}

fn it_fits_any_size(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    for (columns, rows) in [(60, 12), (120, 40), (200, 60), (80, 24)] {
        terminal.resize(columns, rows)?;
        let fits = |screen: &str| {
            let mut lines = screen.lines();
            let last = screen
                .lines()
                .nth(usize::from(rows) - 1)
                .unwrap_or_default();
            lines.next().is_some_and(|line| line.contains("pid "))
                && last.contains("help")
                && screen.contains("blocks.py:")
        };
        terminal.wait_until(&format!("whole picture at {columns}×{rows}"), fits)?;
    }
    // Too small to be of use, but no reason to end.
    terminal.resize(20, 4)?;
    terminal.wait_until("another picture", |screen| !screen.contains("pid "))?;
    terminal.resize(80, 24)?;
    terminal.wait_for(CULPRIT).map(drop)
}

fn without_a_pid_one_chooses(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command("asyncspy top")?;
    let pid = target.pid.to_string();
    let is_it = |line: &&str| line.split_whitespace().any(|word| word == pid);
    let row = |screen: &str| screen.lines().find(is_it).map(str::to_owned);
    let complete = |screen: &str| {
        let row = row(screen).unwrap_or_default();
        let words: Vec<&str> = row.split_whitespace().collect();
        words.contains(&"asyncio") && words.contains(&"8") && row.contains('%')
    };
    terminal.keys(&["/"])?;
    terminal.type_text(&pid)?;
    terminal.keys(&["Enter"])?;
    terminal.wait_until("row of the target", complete)?;
    terminal.press_for("Enter", CULPRIT)?;
    terminal.keys(&["q"])?;
    terminal.wait_for_prompt().map(drop)
}
