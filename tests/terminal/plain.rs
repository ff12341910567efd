//! Without a terminal, without colours, without anything but ASCII.

use asyncspy_test_support::{Interpreter, Outcome};

use crate::terminal::Terminal;
use crate::views::CULPRIT;
use crate::{Test, blocker};

/// All of these.
pub const TESTS: &[(&str, Test)] = &[
    ("plain::once", |python| {
        once(python, "asyncspy top --once --duration 2 PID > out")
    }),
    ("plain::piped", |python| {
        once(python, "asyncspy top PID --duration 2 | cat > out")
    }),
    ("plain::colors", colors),
    ("plain::ascii", ascii),
];

fn once(python: &Interpreter, command: &str) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    let command = command.replace("PID", &target.pid.to_string());
    terminal.command_to_end(&command)?;
    terminal.wait_for_end()?;
    let text = std::fs::read_to_string(terminal.folder().join("out"))?;
    let told = text.contains("block_time_sleep") && text.contains("blocker-time_sleep");
    match told && !text.contains('\x1b') {
        true => Ok(()),
        false => Err(text.into()),
    }
}

fn colors(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    for (variables, colored) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let terminal = Terminal::open(variables)?;
        terminal.command(&format!("asyncspy top {}", target.pid))?;
        terminal.wait_for(CULPRIT)?;
        let screen = terminal.colored_screen()?;
        if has_color(&screen) != colored {
            return Err(format!("colours with {variables:?}:\n{screen:?}").into());
        }
    }
    Ok(())
}

/// True if a sequence sets a colour: bold, dim, underlined and reversed are no colours.
fn has_color(screen: &str) -> bool {
    let mut sequences = screen.split("\x1b[").skip(1);
    sequences.any(|sequence| {
        let codes = sequence.split('m').next().unwrap_or_default();
        let mut codes = codes.split(';').filter_map(|code| code.parse::<u32>().ok());
        codes.any(|code| matches!(code, 30..=38 | 40..=48 | 90..=107))
    })
}

fn ascii(python: &Interpreter) -> Outcome {
    let target = blocker(python)?;
    let terminal = Terminal::open(&[])?;
    terminal.command(&format!("asyncspy top --ascii {}", target.pid))?;
    terminal.wait_for(CULPRIT)?;
    for (key, tab) in [
        ("o", "[Hot"),
        ("t", "[Tasks "),
        ("e", "[Tree"),
        ("w", "[Waits"),
        ("a", "[Threads "),
        ("f", "[Flame"),
        ("?", "[Help"),
        ("s", "[Stalls"),
    ] {
        let screen = terminal.press_for(key, tab)?;
        if let Some(line) = screen.lines().find(|line| !line.is_ascii()) {
            return Err(format!("not ASCII: {line}").into());
        }
    }
    Ok(())
}
