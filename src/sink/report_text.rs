//! A report as plain text: the one shot of `top`, and the last words of `watch`.

use std::collections::BTreeMap;
use std::io;

use asyncspy_model::report::{LoopReport, Report};

use super::escape::{escape, escape_to, width};
use super::process_text::write_incomplete;
use super::quality_text::{is_poor, sampling};
use super::report_tables::{write_culprits, write_hot, write_stalls};
use super::stall_text::{end, interruption, loop_now};
use super::style::{LineWriter, Role, Style};
use super::units::{counted, duration, percent};

/// How a report is written.
#[derive(Clone, Copy, Debug)]
pub struct ReportTextOptions {
    /// Rows of each table.
    pub limit: usize,
    /// Seconds east of UTC of the times written.
    pub offset_s: i32,
    /// Columns of the terminal; no line of a table is wider.
    pub width: usize,
    /// How it looks.
    pub style: Style,
}

/// Writes `top --once`: loops, worst stalls, culprits and the code that held the loops longest.
/// The last line says so if the figures rest on poor sampling or an incomplete census.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_report(
    out: &mut dyn io::Write,
    report: &Report,
    options: &ReportTextOptions,
) -> io::Result<()> {
    let lines = &mut LineWriter::new(out, options.style, options.width);
    write_heading(lines, report)?;
    for loop_report in &report.loops {
        lines.line("")?;
        write_loop(lines, loop_report)?;
    }
    lines.line("")?;
    write_totals(lines, report)?;
    write_stalls(lines, report, options.limit, options.offset_s)?;
    write_culprits(lines, report, options.limit)?;
    write_hot(lines, report, options.limit)?;
    lines.line("")?;
    write_ending(lines, report)
}

/// Writes the closing summary of `watch`: totals, culprits, how busy the loops were, quality.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_summary(
    out: &mut dyn io::Write,
    report: &Report,
    options: &ReportTextOptions,
) -> io::Result<()> {
    let lines = &mut LineWriter::new(out, options.style, options.width);
    write_totals(lines, report)?;
    write_culprits(lines, report, options.limit)?;
    lines.line("")?;
    for loop_report in &report.loops {
        let busy = busy(loop_report);
        lines.plain(&format!(
            "{busy} in the last minute: {}",
            loop_name(loop_report)
        ))?;
    }
    write_ending(lines, report)
}

fn write_heading(lines: &mut LineWriter<'_>, report: &Report) -> io::Result<()> {
    let session = &report.session;
    let now_unix_ns = session.began_unix_ns.saturating_add(watched_ns(report));
    let text = format!(
        "pid {}, Python {}, up {}, watched {} at {:.1} Hz",
        session.pid,
        escape(&session.python),
        duration(now_unix_ns.saturating_sub(session.process_started_unix_ns)),
        duration(watched_ns(report)),
        report.achieved_hz.0,
    );
    lines.painted(Role::Heading, &text)?;
    if session.command.is_empty() {
        return Ok(());
    }
    lines.painted(Role::Faint, &session.command)
}

const fn watched_ns(report: &Report) -> u64 {
    report
        .at_monotonic_ns
        .saturating_sub(report.session.began_monotonic_ns)
}

fn write_loop(lines: &mut LineWriter<'_>, report: &LoopReport) -> io::Result<()> {
    let (role, now) = loop_now(report.now);
    let now = escape_to(&now, lines.width).into_owned();
    let room = lines.width.saturating_sub(width(&now));
    let rest = escape_to(&format!("  {}", loop_name(report)), room).into_owned();
    lines.line(&format!("{}{rest}", lines.style.paint(role, &now)))?;
    lines.plain(&format!("  {}", busy_and_turns(report)))?;
    let late = match report.late_timers {
        0 => String::new(),
        late => format!(", {late} late by up to {}", duration(report.worst_late_ns)),
    };
    let tasks = counted(report.tasks, "task");
    let timers = counted(report.timers, "timer");
    lines.plain(&format!(
        "  {tasks}, {} ready, {timers}{late}",
        report.ready
    ))
}

/// `asyncio _UnixSelectorEventLoop, thread 4242 MainThread`.
fn loop_name(report: &LoopReport) -> String {
    format!(
        "{} {}, thread {} {}",
        report.kind.word(),
        escape_to(&report.class, 60),
        report.tid,
        escape_to(&report.thread_name, 40),
    )
}

/// `41.2 % busy, turns p50 500 µs, p99 310 ms, worst 1.24 s, all seen from 10 ms`.
fn busy_and_turns(report: &LoopReport) -> String {
    let turns = &report.turns;
    if turns.seen == 0 {
        return format!("{}, no turn seen", busy(report));
    }
    format!(
        "{}, turns p50 {}, p99 {}, worst {}, all seen from {}",
        busy(report),
        duration(turns.p50_ns),
        duration(turns.p99_ns),
        duration(turns.worst_ns),
        duration(turns.reliable_from_ns),
    )
}

fn busy(report: &LoopReport) -> String {
    format!("{} busy", percent(u64::from(report.busy_permille), 1000))
}

fn write_totals(lines: &mut LineWriter<'_>, report: &Report) -> io::Result<()> {
    let totals = &report.totals;
    let watched = duration(watched_ns(report));
    if totals.stalls == 0 {
        return lines.painted(Role::Heading, &format!("no stall in {watched}"));
    }
    let errors = match totals.errors {
        0 => String::new(),
        errors => format!(" ({})", counted(errors, "error")),
    };
    let text = format!(
        "{}{errors} in {watched}, worst {}, {} in all",
        counted(totals.stalls, "stall"),
        duration(totals.worst_ns),
        duration(totals.stalled_ns),
    );
    let role = if totals.errors > 0 {
        Role::Alert
    } else {
        Role::Warning
    };
    lines.painted(role, &text)
}

/// Writes what kept the target from running, why sampling ended, and how good the figures are.
fn write_ending(lines: &mut LineWriter<'_>, report: &Report) -> io::Result<()> {
    let mut interruptions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (reason, from_ns, until_ns) in &report.interruptions {
        let (count, total_ns) = interruptions.entry(interruption(*reason)).or_default();
        *count += 1;
        *total_ns = total_ns.saturating_add(until_ns.saturating_sub(*from_ns));
    }
    for (reason, (count, total_ns)) in interruptions {
        let times = counted(count, "time");
        let text = format!(
            "{reason} {times}, {} in all, not counted as stalls",
            duration(total_ns)
        );
        lines.painted(Role::Warning, &text)?;
    }
    if let Some(reason) = report.ended.and_then(end) {
        lines.painted(Role::Warning, reason)?;
    }
    lines.plain(&sampling(&report.quality))?;
    if let Some(snapshot) = &report.snapshot {
        write_incomplete(lines, snapshot)?;
    }
    if is_poor(&report.quality) {
        let text = "incomplete: much of the time was not sampled, stalls may be missing or short";
        lines.line(&lines.style.paint(Role::Warning, text))?;
    }
    Ok(())
}
