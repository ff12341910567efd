//! The state after sequences of keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use asyncspy_model::report::{LoopNow, Report};
use crossterm::event::KeyCode;

use super::{Desk, healthy_report, sample_report, support};
use crate::app::Input;
use crate::backend::Save;
use crate::dispatch::Effect;
use crate::table::Sort;
use crate::views::ViewKind;

/// Name of the selected task, off the story of it.
fn selected(desk: &mut Desk) -> String {
    match desk.press(KeyCode::Char('y')) {
        Effect::Plain(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn tabs_go_round_both_ways() {
    let mut desk = Desk::sick(80, 24);
    for kind in ViewKind::ALL.into_iter().skip(1).chain([ViewKind::Stalls]) {
        desk.press(KeyCode::Tab);
        assert_eq!(desk.app.view, kind);
    }
    desk.press(KeyCode::BackTab);
    assert_eq!(desk.app.view, ViewKind::Help);
    for kind in ViewKind::ALL {
        desk.press(KeyCode::Char(kind.letter()));
        assert_eq!(desk.app.view, kind);
    }
}

#[test]
fn quitting_and_suspending_work_from_anywhere() {
    for keys in ["", "t\n", "?", "t/abc", "S", "f/x"] {
        let mut desk = Desk::sick(80, 24);
        desk.type_keys(keys);
        assert_eq!(desk.control('c'), Effect::Quit, "after {keys:?}");
        assert_eq!(desk.control('z'), Effect::Suspend, "after {keys:?}");
    }
    assert_eq!(Desk::sick(80, 24).press(KeyCode::Char('q')), Effect::Quit);
}

#[test]
fn filter_is_kept_by_enter_and_dropped_by_escape() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t/worker queue\n");
    assert_eq!(desk.app.list().shown(), 12);
    assert_eq!(desk.app.input, Input::Keys);
    desk.type_keys("/zzz");
    assert_eq!(desk.app.list().shown(), 0);
    assert!(desk.screen().contains("Nothing matches the filter"));
    desk.type_keys("\x1b");
    assert_eq!(desk.app.list().filter, "worker queue");
    desk.type_keys("c");
    assert_eq!(desk.app.list().shown(), 36);
    desk.type_keys("/worker\n\x1b");
    assert_eq!(desk.app.list().filter, "");
}

#[test]
fn a_filter_takes_letters_that_are_keys_elsewhere() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t/q ?Sy");
    assert_eq!(desk.app.list().filter, "q ?Sy");
    desk.press(KeyCode::Backspace);
    assert_eq!(desk.app.list().filter, "q ?S");
}

#[test]
fn each_view_has_its_own_filter_and_order() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t/worker\n2oi");
    assert_eq!(desk.app.list().filter, "");
    desk.type_keys("t");
    assert_eq!(desk.app.list().filter, "worker");
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 1,
            descending: false
        })
    );
}

#[test]
fn sorting_by_number_neighbour_and_inversion() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t4");
    assert_eq!(selected(&mut desk), "Task blocker");
    desk.type_keys("i");
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 3,
            descending: false
        })
    );
    desk.type_keys("4");
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 3,
            descending: true
        })
    );
    desk.press(KeyCode::Right);
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 4,
            descending: false
        })
    );
    desk.type_keys("<<");
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 2,
            descending: true
        })
    );
    assert_eq!(selected(&mut desk), "Task main");
    desk.type_keys("9");
    assert_eq!(
        desk.app.list().sort,
        Some(Sort {
            column: 2,
            descending: true
        })
    );
    desk.type_keys("e1i>");
    assert_eq!(desk.app.list().sort, None);
}

#[test]
fn the_selection_stays_with_its_row() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t/metrics\njj");
    assert_eq!(selected(&mut desk), "Task metrics-33");
    desk.show(support::report_at(127_000));
    assert_eq!(selected(&mut desk), "Task metrics-33");
    desk.type_keys("2");
    assert_eq!(selected(&mut desk), "Task metrics-33");
    desk.type_keys("g");
    assert_eq!(desk.app.list().position(), 1);
    desk.type_keys("G");
    assert_eq!(desk.app.list().position(), 3);
}

#[test]
fn at_the_top_the_newest_stays_selected() {
    let mut desk = Desk::new(80, 24);
    desk.show(support::report_at(124_000));
    assert!(selected(&mut desk).contains("Stall 23"));
    desk.show(sample_report());
    assert!(selected(&mut desk).contains("Stall 24"));
}

#[test]
fn pages_and_ends_stay_inside() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("t");
    desk.press(KeyCode::Up);
    assert_eq!(desk.app.list().position(), 1);
    desk.press(KeyCode::PageDown);
    assert_eq!(desk.app.list().position(), 15);
    for _ in 0..5 {
        desk.press(KeyCode::PageDown);
    }
    assert_eq!(desk.app.list().position(), 36);
    desk.press(KeyCode::Home);
    assert_eq!(desk.app.list().position(), 1);
}

#[test]
fn freezing_keeps_the_picture_and_the_news() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys(" ");
    let frozen = desk.screen();
    assert!(frozen.contains("FROZEN") && frozen.contains("STALLED 1.24 s"));
    desk.show(support::report_at(127_000));
    assert_eq!(desk.screen(), frozen);
    desk.type_keys("p");
    assert!(desk.screen().contains("STALLED 2.00 s"));
}

#[test]
fn an_open_story_is_kept_up_to_date() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("\n");
    assert!(desk.screen().contains("held           1.24 s so far"));
    desk.show(support::report_at(127_000));
    assert!(desk.screen().contains("held           2.00 s so far"));
    desk.show(healthy_report());
    let screen = desk.screen();
    assert!(screen.contains("it has ended or is no longer listed"));
    assert!(screen.contains("held           2.00 s so far"));
    desk.type_keys("\x1b");
    assert!(desk.screen().contains("No stall so far"));
}

#[test]
fn a_story_scrolls_within_its_bounds() {
    let mut desk = Desk::sick(60, 12);
    desk.type_keys("\nkG");
    let end = desk.screen();
    desk.type_keys("jjjj");
    assert_eq!(desk.screen(), end);
    desk.type_keys("g");
    assert!(desk.screen().contains("Stall 24 of task blocker"));
}

#[test]
fn plain_text_is_a_traceback_without_escapes() {
    let mut desk = Desk::sick(80, 24);
    let Effect::Plain(text) = desk.press(KeyCode::Char('y')) else {
        panic!("no plain text");
    };
    let frame = "  File \"/srv/shop/app.py\", line 42, in handler\n    time.sleep(2)  # blocks";
    assert!(text.contains(frame), "{text}");
    for kind in ViewKind::ALL {
        desk.press(KeyCode::Char(kind.letter()));
        desk.type_keys("/evil\n");
        if let Effect::Plain(text) = desk.press(KeyCode::Char('y')) {
            assert!(
                !text
                    .chars()
                    .any(|c| c != '\n' && asyncspy_model::text::is_unsafe(c))
            );
        }
    }
}

#[test]
fn saving_asks_what_and_tells_the_outcome() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("S");
    assert!(desk.screen().contains("f flame graph"));
    desk.type_keys("f");
    assert!(desk.screen().contains("wrote /tmp/saved"));
    desk.type_keys("Sj");
    desk.type_keys("S\x1b");
    desk.backend.refusing = true;
    desk.type_keys("d");
    assert!(desk.screen().contains("not written: disk full\\x1b[2J"));
    desk.type_keys("t");
    assert!(!desk.screen().contains("not written"));
    assert_eq!(
        desk.backend.saved,
        [Save::FlameGraph, Save::Json, Save::Dump]
    );
}

#[test]
fn reset_and_refresh_go_to_the_backend() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("r++---");
    assert_eq!(desk.backend.resets, 1);
    assert_eq!(desk.backend.refresh_ms, [100, 100, 250, 500, 1_000]);
    assert!(desk.screen().contains("refresh every 1000 ms"));
}

#[test]
fn grouping_folds_and_unfolds() {
    let mut desk = Desk::sick(80, 24);
    assert_eq!(desk.app.list().shown(), 6);
    desk.type_keys("l");
    assert_eq!(desk.app.list().shown(), 9);
    assert!(desk.screen().contains("now each stall"));
    desk.type_keys("ol");
    assert_eq!(desk.app.list().shown(), 6, "functions");
    desk.type_keys("l");
    assert!(desk.screen().contains("push"), "tasks of the call tree");
    desk.type_keys("el");
    assert_eq!(desk.app.list().shown(), 37, "each task, and one seen again");
}

#[test]
fn flame_zooms_in_and_out() {
    let mut desk = Desk::sick(80, 24);
    desk.type_keys("fjj>\n");
    assert!(desk.screen().contains("Report.render   total 6.02 s"));
    assert!(!desk.screen().contains("blocker──"));
    desk.type_keys("G");
    assert!(
        desk.screen()
            .contains("JSONEncoder.iterencode encoder.py:258   total 5.07 s")
    );
    desk.show(support::report_at(127_000));
    assert!(
        desk.screen()
            .contains("JSONEncoder.iterencode encoder.py:258   total 5.07 s")
    );
    desk.type_keys("\x1b\x1b\x1b");
    assert!(desk.screen().contains("blocker──"));
    desk.type_keys("\nckkkkkk");
    assert!(desk.screen().contains(" all   total 15.0 s"));
    desk.type_keys("ik");
    assert!(desk.screen().contains("MainThread (asyncio)   total"));
}

#[test]
fn source_lines_are_asked_for_once() {
    let mut desk = Desk::sick(120, 40);
    let asked = desk.backend.lines_asked;
    for _ in 0..10 {
        desk.show(sample_report());
    }
    assert_eq!(desk.backend.lines_asked, asked);
}

#[test]
fn every_key_is_harmless_everywhere() {
    for (width, height) in [(59, 11), (60, 12), (200, 60)] {
        let mut empty = Desk::new(width, height);
        let mut full = Desk::sick(width, height);
        for view in "sotewaf?".chars() {
            for key in " \n\x1b\tcgGijkly<>19/x\nrd+-=SjF".chars() {
                for desk in [&mut empty, &mut full] {
                    desk.type_keys(&view.to_string());
                    desk.type_keys(&key.to_string());
                    desk.screen();
                }
            }
        }
        full.show(healthy_report());
        full.screen();
    }
}

/// A report whose every number is as large as it can be.
fn absurd_report() -> Report {
    let mut report = sample_report();
    report.session.interval_ns = 0;
    report.achieved_hz.0 = f64::NAN;
    report.at_monotonic_ns = u64::MAX;
    report.totals.stalls = u64::MAX;
    report.quality.late = u64::MAX;
    report.quality.samples = u64::MAX;
    report.quality.failed = u64::MAX;
    for one in &mut report.loops {
        one.busy_permille = u32::MAX;
        one.now = LoopNow::Stalled { for_ns: u64::MAX };
        one.worst_by_second_ns = vec![u64::MAX; 100_000];
        (one.tasks, one.ready, one.timers) = (u64::MAX, u64::MAX, u64::MAX);
    }
    for stall in &mut report.stalls {
        let stall = Arc::make_mut(stall);
        stall.began_monotonic_ns = u64::MAX;
        stall.began_unix_ns = u64::MAX;
        stall.duration_ns = u64::MAX;
        stall.uncertainty_ns = u64::MAX;
        stall.callbacks = Some((u32::MAX, 0));
        stall.label = "x".repeat(1_000_000).into();
    }
    for culprit in &mut report.culprits {
        (culprit.count, culprit.total_ns) = (u64::MAX, u64::MAX);
    }
    for hot in &mut report.hot {
        (hot.self_ns, hot.total_ns, hot.holds) = (u64::MAX, u64::MAX, u64::MAX);
        hot.location.line = u32::MAX;
    }
    for node in &mut Arc::make_mut(&mut report.call_tree).nodes {
        node.total_ns = u64::MAX;
        node.children.extend([0, 1, 2, u32::MAX]);
    }
    for history in Arc::make_mut(&mut report.task_history).values_mut() {
        history.held_ns = u64::MAX;
    }
    report
}

#[test]
fn absurd_numbers_do_no_harm() {
    for (width, height) in [(60, 12), (80, 24), (200, 60)] {
        let mut desk = Desk::new(width, height);
        desk.show(absurd_report());
        for keys in [
            "s", "\n", "ol", "l", "t", "\n", "e", "w", "a", "fjjG\n", "/x\n", "y",
        ] {
            desk.type_keys(keys);
            desk.screen();
        }
    }
}

#[test]
fn ten_thousand_tasks_answer_at_once() {
    let mut desk = Desk::new(80, 24);
    let mut report = support::many_tasks(10_000);
    report.loops[0].now = LoopNow::Idle;
    desk.show(report);
    for keys in ["t", "j", "2", "i", "/worker-77", "\n", "c", "e", "w", "a"] {
        let pressed = Instant::now();
        desk.type_keys(keys);
        desk.screen();
        // Unoptimised and on a busy machine; the release build answers within a few ms.
        assert!(
            pressed.elapsed() < Duration::from_secs(2),
            "{keys:?}: {:?}",
            pressed.elapsed()
        );
    }
}
