//! The header: which process, how well it is sampled, and what each loop does.

use asyncspy_model::LoopKind;
use asyncspy_model::report::{LoopNow, LoopReport, Report};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::format;
use crate::pieces::{Piece, draw_pieces, fit_pieces};
use crate::spark::draw_sparkline;
use crate::table::{Cell, Column, TableView};
use crate::text::{self, clean};
use crate::theme::{Theme, Tone};
use crate::views::Thresholds;

const COLUMNS: &[Column] = &[
    Column::text("loop", 10, 26, 0),
    Column::text("now", 14, 14, 0),
    Column::number("busy", 4, 0),
    Column::number("p99", 6, 3),
    Column::number("worst", 6, 1),
    Column::text("last min", 9, 60, 2),
    Column::number("tasks", 5, 1),
    Column::number("ready", 5, 4),
    Column::number("timers", 6, 6),
    Column::number("late", 4, 5),
];

/// Column of the sparkline, which is drawn over its empty cell.
const SPARKLINE: usize = 5;

/// Least width of the command line.
const COMMAND: usize = 16;

/// What of the display is not live, shown at the right of the first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) frozen: bool,
    /// Seconds without a new report, once that is worth a word.
    pub(crate) silent_s: u64,
}

/// Draws identity and quality into an area of two lines.
pub(crate) fn draw_identity(
    buffer: &mut Buffer,
    area: Rect,
    report: &Report,
    (flags, pausing): (&Flags, bool),
    theme: Theme,
) {
    let line = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(1),
        height: 1,
        ..area
    };
    let flags = flag_pieces(report, flags);
    let flag_width: usize = flags.iter().map(|piece| text::width(&piece.text) + 1).sum();
    let flag_width = u16::try_from(flag_width).unwrap_or(0).min(line.width);
    let left = Rect {
        width: line.width - flag_width,
        ..line
    };
    draw_pieces(
        buffer,
        left,
        &identity_pieces(report, usize::from(left.width)),
        2,
        theme,
    );
    let right = Rect {
        x: left.right(),
        width: flag_width,
        ..line
    };
    draw_pieces(buffer, right, &flags, 1, theme);
    let below = Rect {
        y: line.y + 1,
        ..line
    };
    draw_pieces(buffer, below, &quality_pieces(report, pausing), 2, theme);
}

fn flag_pieces(report: &Report, flags: &Flags) -> Vec<Piece> {
    use asyncspy_model::sample::EndReason;
    let mut pieces = Vec::new();
    if let Some(reason) = report.ended {
        let words = match reason {
            EndReason::TargetExited => " TARGET EXITED ",
            EndReason::Duration => " TIME IS UP ",
            EndReason::Interrupted => " STOPPED ",
            EndReason::Unreadable => " TARGET UNREADABLE ",
        };
        pieces.push(Piece::new(0, words, Tone::Alarm));
    } else if flags.silent_s > 0 {
        pieces.push(Piece::new(
            0,
            format!(" NO NEWS FOR {} s ", flags.silent_s),
            Tone::Alarm,
        ));
    }
    if flags.frozen {
        pieces.push(Piece::new(0, " FROZEN ", Tone::Found));
    }
    pieces
}

/// The command takes what room the rest leaves, but never less than [`COMMAND`] cells.
fn identity_pieces(report: &Report, columns: usize) -> Vec<Piece> {
    let session = &report.session;
    let watched = report
        .at_monotonic_ns
        .saturating_sub(session.began_monotonic_ns);
    let now_unix = session.began_unix_ns.saturating_add(watched);
    let uptime = now_unix.saturating_sub(session.process_started_unix_ns);
    let mut pieces = vec![
        Piece::new(0, format!("pid {}", session.pid), Tone::Strong),
        Piece::new(1, format!("Python {}", clean(&session.python)), Tone::Plain),
        Piece::new(3, loop_kinds(report), Tone::Plain),
        Piece::new(2, format!("up {}", format::age(uptime)), Tone::Plain),
    ];
    let before = columns.saturating_sub(COMMAND + 2);
    let used: usize = fit_pieces(&pieces, before, 2)
        .iter()
        .map(|p| text::width(&p.text) + 2)
        .sum();
    let room = columns.saturating_sub(used).max(COMMAND);
    let command = text::cut(&text::shorten_command(&clean(&session.command), room), room);
    pieces.push(Piece::new(0, command, Tone::Strong));
    pieces
}

/// The kinds of the loops, each once.
fn loop_kinds(report: &Report) -> String {
    let kinds = [LoopKind::Asyncio, LoopKind::Uvloop, LoopKind::Other];
    let found = kinds
        .iter()
        .filter(|kind| report.loops.iter().any(|one| one.kind == **kind));
    found.map(|kind| kind.word()).collect::<Vec<_>>().join("+")
}

fn quality_pieces(report: &Report, pausing: bool) -> Vec<Piece> {
    let quality = &report.quality;
    let asked = 1_000_000_000.0 / (report.session.interval_ns.max(1) as f64);
    let achieved = report.achieved_hz.0;
    let slow = report.ended.is_none() && achieved < asked * 0.8;
    let share = |name: &str, part: u64, bad_percent: u64| {
        let tone = if part.saturating_mul(100) > quality.samples.saturating_mul(bad_percent) {
            Tone::Warn
        } else {
            Tone::Plain
        };
        let taken = quality.samples.saturating_add(quality.failed);
        Piece::new(
            1,
            format!("{name} {}", format::fine_percent(part, taken)),
            tone,
        )
    };
    let lost = |name: &str, number: u64| match number {
        0 => Piece::new(9, "", Tone::Plain),
        some => Piece::new(2, format!("{name} {}", format::count(some)), Tone::Warn),
    };
    let pause = match (pausing, quality.in_kernel) {
        (true, _) => ("PAUSING", Tone::Warn),
        (false, 0) => ("not pausing", Tone::Plain),
        (false, _) => ("in kernel", Tone::Plain),
    };
    let watched = report
        .at_monotonic_ns
        .saturating_sub(report.session.began_monotonic_ns);
    vec![
        Piece::new(0, format!("{asked:.0}/s asked"), Tone::Plain),
        Piece::new(
            0,
            format!("got {achieved:.0}"),
            if slow { Tone::Warn } else { Tone::Plain },
        ),
        share("late", quality.late, 5),
        share("torn", quality.torn, 10),
        share("failed", quality.failed, 1),
        Piece::new(0, pause.0, pause.1),
        lost("skipped", quality.skipped),
        lost("dropped", quality.dropped),
        Piece::new(2, census_words(report), Tone::Warn),
        Piece::new(3, interruption_words(report), Tone::Warn),
        Piece::new(4, format!("watched {}", format::age(watched)), Tone::Plain),
        Piece::new(3, loop_count(report), Tone::Plain),
    ]
}

/// That the list of tasks may lack some, where that is so.
fn census_words(report: &Report) -> &'static str {
    match &report.snapshot {
        Some(snapshot) if !snapshot.complete => "tasks incomplete",
        _ => "",
    }
}

/// How often the target was stopped from outside, where it was.
fn interruption_words(report: &Report) -> String {
    match report.interruptions.len() as u64 {
        0 => String::new(),
        some => format!("interrupted {}", format::plural(some, "time")),
    }
}

/// How many loops there are, where not all may be shown.
fn loop_count(report: &Report) -> String {
    match report.loops.len() {
        0 | 1 => String::new(),
        many => format!("{many} loops"),
    }
}

/// Draws headings and a line for each loop, as many as there is room for; stalled ones first.
pub(crate) fn draw_loops(
    buffer: &mut Buffer,
    area: Rect,
    report: &Report,
    thresholds: Thresholds,
    theme: Theme,
) {
    let table = TableView {
        columns: COLUMNS,
        theme,
        sort: None,
        margin: 1,
    };
    table.headings(buffer, area);
    let mut loops: Vec<&LoopReport> = report.loops.iter().collect();
    loops.sort_by_key(|one| std::cmp::Reverse(stalled_ns(one)));
    for (y, one) in (area.y + 1..area.bottom()).zip(loops) {
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        table.row(buffer, line, false, &|column| {
            loop_cell(one, column, thresholds)
        });
        let mut x = line.x + 1;
        for fitted in table.fit(line) {
            if fitted.column == SPARKLINE {
                let place = Rect {
                    x,
                    width: fitted.width,
                    ..line
                };
                draw_sparkline(buffer, place, &one.worst_by_second_ns, thresholds, theme);
            }
            x += fitted.width + 1;
        }
    }
}

const fn stalled_ns(one: &LoopReport) -> u64 {
    match one.now {
        LoopNow::Stalled { for_ns } => for_ns,
        _ => 0,
    }
}

fn loop_cell(one: &LoopReport, column: usize, thresholds: Thresholds) -> Cell {
    let time = |ns| Cell::new(format::duration_or_dash(ns)).tone(thresholds.tone(ns));
    let number = |value| Cell::new(format::count(value));
    match column {
        0 => {
            let name = clean(&one.thread_name);
            Cell::new(format!("{name} {} {}", one.kind.word(), one.tid)).or(name)
        }
        1 => now_cell(one.now),
        2 => {
            let tone = if one.busy_permille >= 900 {
                Tone::Warn
            } else {
                Tone::Plain
            };
            Cell::new(format::percent(u64::from(one.busy_permille), 1000)).tone(tone)
        }
        3 => time(one.turns.p99_ns),
        4 => time(one.turns.worst_ns),
        6 => number(one.tasks),
        7 => number(one.ready),
        8 => number(one.timers),
        9 => number(one.late_timers).tone(thresholds.tone(one.worst_late_ns)),
        _ => Cell::default(),
    }
}

/// What a loop does now, in a word that tells without colour.
fn now_cell(now: LoopNow) -> Cell {
    match now {
        LoopNow::Idle => Cell::new("idle"),
        LoopNow::Busy { for_ns } => Cell::new(format!("busy {}", format::duration(for_ns))),
        LoopNow::Stalled { for_ns } => {
            Cell::new(format!("STALLED {}", format::duration(for_ns))).tone(Tone::Alarm)
        }
        LoopNow::Gone => Cell::new("gone").tone(Tone::Warn),
        LoopNow::Unknown => Cell::new("unknown").tone(Tone::Warn),
    }
}
