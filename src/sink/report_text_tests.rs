//! Golden reports, and reports of hostile data.

use std::sync::Arc;

use asyncspy_model::report::{LoopNow, Report, Totals, TurnTimes};
use asyncspy_model::sample::{EndReason, Interruption};
use asyncspy_model::{FaultKind, SamplingQuality};

use super::fixtures::{ClosedPipe, HOSTILE, assert_fits, shop, text};
use super::report_fixtures::{report, stall};
use super::report_text::{ReportTextOptions, write_report, write_summary};
use super::style::Style;

const MS: u64 = 1_000_000;

fn options(width: usize) -> ReportTextOptions {
    ReportTextOptions {
        limit: 10,
        offset_s: 0,
        width,
        style: Style::default(),
    }
}

fn once(report: &Report, width: usize) -> String {
    let text = text(|out| write_report(out, report, &options(width)));
    assert_fits(&text, width);
    text
}

fn summary(report: &Report, width: usize) -> String {
    let text = text(|out| write_summary(out, report, &options(width)));
    assert_fits(&text, width);
    text
}

/// A session in which everything goes wrong.
fn troubled() -> Report {
    let mut report = report();
    let mut snapshot = shop();
    snapshot.complete = false;
    snapshot.faults.add_many(FaultKind::TaskTorn, 3);
    report.snapshot = Some(Arc::new(snapshot));
    report.quality = SamplingQuality {
        samples: 50,
        failed: 9,
        ..report.quality
    };
    report.ended = Some(EndReason::TargetExited);
    report.interruptions = vec![
        (Interruption::Stopped, 0, 3_000 * MS),
        (Interruption::Suspended, 4_000 * MS, 4_100 * MS),
        (Interruption::Stopped, 5_000 * MS, 5_200 * MS),
    ];
    report.stalls = vec![Arc::new(asyncspy_model::Stall {
        ongoing: true,
        ..stall(9, 640 * MS)
    })];
    report.loops[0].now = LoopNow::Gone;
    report
}

#[test]
fn once_at_80_columns() {
    insta::assert_snapshot!(once(&report(), 80));
}

#[test]
fn once_at_140_columns() {
    insta::assert_snapshot!(once(&report(), 140));
}

#[test]
fn summary_at_80_columns() {
    insta::assert_snapshot!(summary(&report(), 80));
}

#[test]
fn a_troubled_session_says_so() {
    insta::assert_snapshot!(text(|out| write_report(out, &troubled(), &options(80))));
}

#[test]
fn a_quiet_session_is_short() {
    let mut quiet = report();
    quiet.totals = Totals::default();
    quiet.stalls.clear();
    quiet.culprits.clear();
    quiet.hot.clear();
    quiet.loops[0].now = LoopNow::Idle;
    quiet.loops[0].turns = TurnTimes::default();
    insta::assert_snapshot!(summary(&quiet, 80), @r"
    no stall in 1 min 02 s

    41.2 % busy in the last minute: asyncio _UnixSelectorEventLoop, thread 4242 Mai…
    6150 samples, 3 late, 1 skipped, 2 torn
    ");
}

#[test]
fn tables_are_limited() {
    let mut many = report();
    many.stalls = (1..100)
        .map(|number| Arc::new(stall(number, number * MS)))
        .collect();
    let text = once(&many, 140);
    assert_eq!(text.matches("POST /checkout").count(), 10 + 1, "{text}");
    assert!(text.contains("99 ms") && text.contains("90 ms") && !text.contains("89 ms"));
}

#[test]
fn hostile_data_stays_in_bounds() {
    let mut evil = report();
    let huge: Arc<str> = format!("{HOSTILE}{}", "漢".repeat(1_000_000)).into();
    evil.session.command = huge.clone();
    evil.session.python = huge.clone();
    evil.session.process_started_unix_ns = u64::MAX;
    evil.loops[0].class = huge.clone();
    evil.loops[0].thread_name = huge.clone();
    evil.culprits[0].label = huge.clone();
    evil.hot[0].location.function = huge.clone();
    evil.hot[0].location.file = huge;
    evil.culprits[0].total_ns = u64::MAX;
    evil.achieved_hz.0 = f64::NAN;
    for width in [0, 1, 9, 40, 200] {
        once(&evil, width);
        summary(&evil, width);
    }
}

#[test]
fn a_closed_pipe_is_an_error_not_a_panic() {
    for bytes in (0..700).step_by(53) {
        assert!(write_report(&mut ClosedPipe(bytes), &report(), &options(80)).is_err());
    }
    assert!(write_summary(&mut ClosedPipe(300), &report(), &options(80)).is_err());
}
