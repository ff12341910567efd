//! Golden logs, folding, rationing.

use asyncspy_model::{Cause, Stall};

use super::fixtures::{ClosedPipe, HOSTILE, assert_fits, at, text};
use super::report_fixtures::{cpu_stall, session, stall};
use super::stall_log::{StallLog, StallLogOptions};
use super::style::Style;

const MS: u64 = 1_000_000;

fn options(all: bool) -> StallLogOptions {
    StallLogOptions {
        all,
        error_threshold_ns: 500 * MS,
        offset_s: 0,
        style: Style::default(),
    }
}

fn log(stalls: &[Stall], options: StallLogOptions) -> String {
    let mut log = StallLog::new(options);
    text(|out| {
        stalls
            .iter()
            .try_for_each(|stall| log.write_stall(out, stall))
    })
}

fn ongoing(number: u64, duration_ns: u64) -> Stall {
    Stall {
        ongoing: true,
        ..stall(number, duration_ns)
    }
}

#[test]
fn a_short_session_is_golden() {
    let mut log = StallLog::new(options(false));
    let mut midnight = cpu_stall(9, 120 * MS);
    midnight.began_unix_ns += 86_400_000 * MS;
    midnight.cause = Cause::Unknown;
    midnight.stack = [].into();
    midnight.coroutine_stack = [].into();
    let stalls = [
        cpu_stall(1, 310 * MS),
        ongoing(2, 499 * MS),
        ongoing(2, 512 * MS),
        ongoing(2, 900 * MS),
        stall(2, 1240 * MS),
        midnight,
    ];
    insta::assert_snapshot!(text(|out| {
        log.write_start(out, &session(), 100 * MS)?;
        stalls
            .iter()
            .try_for_each(|stall| log.write_stall(out, stall))
    }));
}

#[test]
fn repeats_fold_after_the_third() {
    let mut stalls: Vec<Stall> = (1..=150).map(|number| stall(number, 200 * MS)).collect();
    stalls[9].duration_ns = 3_000 * MS;
    insta::assert_snapshot!(log(&stalls, options(false)));
    assert_eq!(log(&stalls, options(true)).lines().count(), 1 + 150);
}

#[test]
fn folds_come_without_further_stalls() {
    let mut log = StallLog::new(options(false));
    let stalls: Vec<Stall> = (1..=10).map(|number| stall(number, 200 * MS)).collect();
    let written = text(|out| {
        stalls
            .iter()
            .try_for_each(|stall| log.write_stall(out, stall))?;
        (0..1000).try_for_each(|second| log.write_due(out, (86_400_000 + second * 1000) * MS))
    });
    assert_eq!(written.lines().count(), 1 + 3 + 1, "{written}");
    assert!(
        written.contains("… 7 more") || written.contains("…     7 more like it, 1.40 s in all")
    );
}

#[test]
fn a_quiet_culprit_is_news_again() {
    let mut stalls: Vec<Stall> = (1..=3).map(|number| stall(number, 200 * MS)).collect();
    stalls.push(stall(4000, 200 * MS));
    assert_eq!(log(&stalls, options(false)).lines().count(), 1 + 4);
}

#[test]
fn a_storm_of_culprits_is_rationed() {
    let mut log = StallLog::new(options(false));
    let mut lines = 0;
    for number in 0..10_000_u64 {
        let mut each = stall(0, (100 + number % 900) * MS);
        each.began_monotonic_ns += number * 100 * MS;
        each.stack = [at(
            "f",
            "/srv/app.py",
            u32::try_from(number % 5000).unwrap(),
        )]
        .into();
        lines += text(|out| log.write_stall(out, &each)).lines().count();
    }
    let (at_once, in_1000_s) = (60, 1000 / 6);
    assert!(
        (at_once..=at_once + in_1000_s + 2).contains(&lines),
        "{lines}"
    );
}

#[test]
fn an_announced_stall_is_always_closed() {
    let mut stalls: Vec<Stall> = (1..=5).map(|number| stall(number, 600 * MS)).collect();
    stalls.extend([ongoing(6, 700 * MS), stall(6, 800 * MS)]);
    let quiet = log(&stalls, options(false));
    assert!(
        !quiet.contains("so far") && !quiet.contains("800 ms"),
        "no news: {quiet}"
    );
    stalls.extend([ongoing(7, 1500 * MS), stall(7, 1600 * MS)]);
    let news = log(&stalls, options(false));
    assert!(
        news.contains("1.50 s so far") && news.contains("1.60 s ±"),
        "{news}"
    );
}

#[test]
fn times_follow_the_offset() {
    let mut options = options(false);
    options.offset_s = -(5 * 3600 + 1800);
    let mut log = StallLog::new(options);
    let text = text(|out| {
        log.write_start(out, &session(), 100 * MS)?;
        log.write_stall(out, &stall(1, 200 * MS))
    });
    assert!(text.contains("times are UTC-05:30\n"), "{text}");
    assert!(text.contains("-- 2026-11-21\n18:30:01.118 WARN "), "{text}");
}

#[test]
fn hostile_stalls_stay_on_their_line() {
    let mut evil = stall(u64::MAX / 2_000_000_000_000, u64::MAX);
    evil.label = format!("{HOSTILE}{}", "x".repeat(1_000_000)).into();
    evil.stack = [at(HOSTILE, &HOSTILE.repeat(1000), 7)].into();
    evil.callbacks = Some((u32::MAX, u32::MAX));
    evil.uncertainty_ns = u64::MAX;
    let mut session = session();
    session.command = HOSTILE.into();
    session.python = HOSTILE.into();
    let mut log = StallLog::new(options(false));
    let text = text(|out| {
        log.write_start(out, &session, u64::MAX)?;
        (0..10).try_for_each(|_| log.write_stall(out, &evil))?;
        log.write_due(out, u64::MAX)
    });
    assert_fits(&text, 400);
}

#[test]
fn a_closed_pipe_is_an_error_not_a_panic() {
    for bytes in 0..100 {
        let mut log = StallLog::new(options(false));
        assert!(
            log.write_stall(&mut ClosedPipe(bytes), &stall(1, 200 * MS))
                .is_err()
        );
    }
}
