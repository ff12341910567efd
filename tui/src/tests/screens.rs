//! What the screen shows, at the sizes that must work.

use std::time::Instant;

use asyncspy_model::sample::{EndReason, Interruption};
use asyncspy_model::text::is_unsafe;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use ratatui::style::Color;

use super::{Desk, deadlocked_report, healthy_report, sample_report};
use crate::backend::{Options, ProcessRow, ProcessSource};
use crate::dispatch::Effect;
use crate::events::Stage;
use crate::picker::Picker;
use crate::theme::ColorMode;
use crate::views::ViewKind;

/// Sizes that must work: the least one, the usual one, a roomy one.
const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (120, 40)];

/// Takes a snapshot at each size after these keys.
fn snapshots(name: &str, keys: &str) {
    for (width, height) in SIZES {
        let mut desk = Desk::sick(width, height);
        desk.type_keys(keys);
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), desk.screen());
    }
}

#[test]
fn stalls() {
    snapshots("stalls", "");
}

#[test]
fn stall_story() {
    snapshots("stall_story", "\n");
}

#[test]
fn tasks() {
    snapshots("tasks", "t");
}

#[test]
fn hot() {
    snapshots("hot", "o");
}

#[test]
fn tree() {
    snapshots("tree", "e");
}

#[test]
fn waits() {
    snapshots("waits", "w");
}

#[test]
fn threads() {
    snapshots("threads", "a");
}

#[test]
fn flame() {
    snapshots("flame", "f");
}

#[test]
fn flame_zoomed_and_searched() {
    // Down to the second task, zoom, and search.
    let keys = "fjjl>\n/json\n";
    snapshots("flame_zoomed", keys);
}

#[test]
fn help() {
    snapshots("help", "?");
}

#[test]
fn healthy() {
    for (width, height) in SIZES {
        let mut desk = Desk::new(width, height);
        desk.show(healthy_report());
        insta::assert_snapshot!(format!("healthy_{width}x{height}"), desk.screen());
    }
}

#[test]
fn wide_screen() {
    for keys in ["s", "t", "f"] {
        let mut desk = Desk::sick(200, 60);
        desk.type_keys(keys);
        insta::assert_snapshot!(format!("wide_{keys}_200x60"), desk.screen());
    }
}

#[test]
fn target_exited() {
    let mut desk = Desk::sick(80, 24);
    let mut report = sample_report();
    report.ended = Some(EndReason::TargetExited);
    desk.show(report);
    desk.type_keys("t/worker\nj");
    insta::assert_snapshot!(desk.screen());
}

#[test]
fn frozen_and_silent() {
    let mut desk = Desk::sick(60, 12);
    desk.type_keys(" ");
    desk.app.flags.silent_s = 7;
    insta::assert_snapshot!(desk.screen());
}

#[test]
fn nothing_yet() {
    for (width, height) in SIZES {
        insta::assert_snapshot!(
            format!("nothing_yet_{width}x{height}"),
            Desk::new(width, height).screen()
        );
    }
}

#[test]
fn no_loop_and_no_task() {
    let mut desk = Desk::new(80, 24);
    let mut report = healthy_report();
    report.loops.clear();
    report.snapshot = None;
    desk.show(report);
    desk.type_keys("t");
    insta::assert_snapshot!(desk.screen());
}

#[test]
fn too_small() {
    for (width, height) in [(59, 24), (80, 11), (10, 2), (1, 1)] {
        let screen = Desk::sick(width, height).screen();
        assert!(
            "terminal too small: 60x12 needed".starts_with(screen.trim()),
            "{screen}"
        );
    }
}

#[test]
fn poor_quality_is_said() {
    let mut desk = Desk::new(120, 40);
    let mut report = sample_report();
    report.achieved_hz.0 = 41.0;
    report.quality.skipped = 612;
    report.quality.dropped = 3;
    report.quality.failed = 900;
    report.interruptions = vec![(Interruption::Stopped, 0, 1)];
    let mut snapshot = report.snapshot.as_deref().cloned().expect("a census");
    snapshot.complete = false;
    report.snapshot = Some(snapshot.into());
    desk.show(report);
    let screen = desk.screen();
    let header: Vec<&str> = screen.lines().take(8).collect();
    insta::assert_snapshot!(header.join("\n"));
}

#[test]
fn deadlock_decides_when_no_loop_is_blocked() {
    let mut desk = Desk::new(80, 24);
    desk.show(deadlocked_report());
    assert!(
        desk.screen()
            .contains("deadlock: 2 tasks wait for each other in a circle (see Tree)")
    );
}

#[test]
fn stopped_process_is_not_called_blocked() {
    let mut desk = Desk::new(80, 24);
    let mut report = sample_report();
    let mut snapshot = report.snapshot.as_deref().cloned().expect("a census");
    snapshot.threads[0].os_state = 'T';
    report.snapshot = Some(snapshot.into());
    desk.show(report);
    assert!(desk.screen().contains("process is stopped from outside"));
}

#[test]
fn ascii_alone() {
    for keys in ["s", "e", "f", "?G"] {
        let options = Options {
            ascii: true,
            color: ColorMode::None,
            ..Options::default()
        };
        let mut desk = Desk::with(80, 24, &options);
        desk.show(sample_report());
        desk.type_keys(keys);
        let screen = desk.screen();
        assert!(screen.is_ascii(), "{screen}");
        let name = keys.replace("?G", "help");
        insta::assert_snapshot!(format!("ascii_{name}_80x24"), screen);
    }
}

#[test]
fn nothing_hostile_reaches_a_cell() {
    for kind in ViewKind::ALL {
        for keys in ["", "\n", "/evil\n", "G\n"] {
            let mut desk = Desk::sick(200, 60);
            desk.type_keys(&kind.letter().to_string());
            desk.type_keys(keys);
            let hostile = desk.screen().chars().find(|c| *c != '\n' && is_unsafe(*c));
            assert_eq!(hostile, None, "{kind:?} {keys:?}");
        }
    }
}

#[test]
fn colours_follow_the_mode() {
    for (color, allowed) in [
        (ColorMode::None, [Color::Reset, Color::Reset, Color::Reset]),
        (
            ColorMode::Ansi16,
            [Color::Reset, Color::Red, Color::Magenta],
        ),
    ] {
        for kind in ViewKind::ALL {
            let options = Options {
                color,
                ..Options::default()
            };
            let mut desk = Desk::with(120, 40, &options);
            desk.show(sample_report());
            desk.type_keys(&kind.letter().to_string());
            let terminal = desk.draw();
            for cell in &terminal.backend().buffer().content {
                assert!(
                    allowed.contains(&cell.fg) && cell.bg == Color::Reset,
                    "{kind:?} {cell:?}"
                );
            }
        }
    }
}

#[test]
fn the_verdict_names_the_place_at_every_size() {
    for width in 60..200 {
        let screen = Desk::sick(width, 24).screen();
        let verdict = screen
            .lines()
            .find(|line| line.contains("blocked"))
            .unwrap_or_default();
        assert!(
            verdict.contains("blocked 1.24 s") && verdict.contains("app.py:42"),
            "{verdict}"
        );
    }
}

/// A list of processes.
struct Three;

impl ProcessSource for Three {
    fn latest(&mut self) -> Option<Vec<ProcessRow>> {
        let process = |pid, command: &str, loop_kind: &str, tasks, busy_permille| ProcessRow {
            pid,
            command: command.into(),
            python: "3.12.1".into(),
            loop_kind: loop_kind.into(),
            tasks,
            busy_permille,
            note: String::new(),
        };
        let mut rows = vec![
            process(
                4242,
                "python3 -m shop.server --port 8080",
                "asyncio",
                Some(36),
                Some(980),
            ),
            process(999_999, "python3 \x1b[2Jbatch.py", "", None, None),
            process(
                77,
                "/usr/bin/python3 /usr/bin/agent",
                "uvloop",
                Some(3),
                Some(4),
            ),
        ];
        rows.push(ProcessRow {
            note: "not permitted".into(),
            ..process(1, "root's", "", None, None)
        });
        Some(rows)
    }
}

#[test]
fn picker() {
    for (width, height) in SIZES {
        let options = Options {
            color: ColorMode::None,
            ..Options::default()
        };
        let mut source = Three;
        let mut picker = Picker::new(&mut source, &options);
        picker.resize(Size { width, height });
        picker.poll(Instant::now());
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no I/O");
        terminal.draw(|frame| picker.draw(frame)).expect("no I/O");
        insta::assert_snapshot!(format!("picker_{width}x{height}"), terminal.backend());
        let press =
            |picker: &mut Picker, code| picker.press(KeyEvent::new(code, KeyModifiers::NONE));
        for character in "/agent".chars() {
            press(&mut picker, KeyCode::Char(character));
        }
        assert_eq!(press(&mut picker, KeyCode::Enter), Effect::Quit);
        assert_eq!(picker.picked(), Some(77));
    }
}
