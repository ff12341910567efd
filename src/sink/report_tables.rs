//! The tables of a report: stalls, culprits, and the code that held the loops.

use std::borrow::Cow;
use std::io;

use asyncspy_model::Stall;
use asyncspy_model::report::{CulpritReport, HotReport, Report};

use super::grid::{Cell, Column, Layout, column};
use super::style::LineWriter;
use super::units::{Moment, duration};

const STALL_COLUMNS: [Column; 5] = [
    column("WORST STALLS", 12, 0, 0),
    column("LASTED", 14, 0, 0),
    column("TASK", 10, 0, 0),
    column("WHERE", 14, 5, 0),
    column("CAUSE", 8, 0, 1),
];

/// Writes the longest stalls, times in a zone `offset_s` east of UTC.
pub(super) fn write_stalls(
    lines: &mut LineWriter<'_>,
    report: &Report,
    limit: usize,
    offset_s: i32,
) -> io::Result<()> {
    let mut stalls: Vec<&Stall> = report.stalls.iter().map(|stall| &**stall).collect();
    stalls.sort_by_key(|stall| std::cmp::Reverse(stall.duration_ns));
    let row = |stall: &'_ Stall| -> [Cell<'static>; 2] {
        let began = Moment::new(stall.began_unix_ns, offset_s).time();
        let lasted = match stall.ongoing {
            true => format!("{} so far", duration(stall.duration_ns)),
            false => duration(stall.duration_ns),
        };
        [text(began), text(lasted)]
    };
    let rows = stalls.into_iter().take(limit).map(|stall| {
        let mut cells: Vec<Cell<'_>> = row(stall).into();
        cells.push(Cell::Text(Cow::Borrowed(&*stall.name)));
        cells.push(Cell::Place(stall.culprit()));
        cells.push(text(stall.cause.word().to_owned()));
        cells
    });
    write_grid(lines, &STALL_COLUMNS, &rows.collect::<Vec<_>>())
}

const CULPRIT_COLUMNS: [Column; 6] = [
    column("CULPRITS", 8, 0, 0),
    column("TOTAL", 10, 0, 0),
    column("WORST", 10, 0, 0),
    column("TASK", 10, 0, 0),
    column("WHERE", 14, 5, 0),
    column("CAUSE", 8, 0, 1),
];

/// Writes who stalled the loops, by total time.
pub(super) fn write_culprits(
    lines: &mut LineWriter<'_>,
    report: &Report,
    limit: usize,
) -> io::Result<()> {
    let row = |culprit: &'_ CulpritReport| {
        vec![
            text(format!("{}x", culprit.count)),
            text(duration(culprit.total_ns)),
            text(duration(culprit.worst_ns)),
            text(culprit.label.to_string()),
        ]
    };
    let rows = report.culprits.iter().take(limit).map(|culprit| {
        let mut cells: Vec<Cell<'_>> = row(culprit);
        cells.push(Cell::Place(culprit.location.as_ref()));
        cells.push(text(culprit.last.cause.word().to_owned()));
        cells
    });
    write_grid(lines, &CULPRIT_COLUMNS, &rows.collect::<Vec<_>>())
}

const HOT_COLUMNS: [Column; 6] = [
    column("HELD", 8, 0, 0),
    column("INNERMOST", 9, 0, 2),
    column("TIMES", 6, 0, 0),
    column("LONGEST", 8, 0, 0),
    column("FUNCTION", 10, 0, 0),
    column("WHERE", 14, 5, 0),
];

/// Writes which code held the loops, stalls or not, by total time.
pub(super) fn write_hot(
    lines: &mut LineWriter<'_>,
    report: &Report,
    limit: usize,
) -> io::Result<()> {
    let row = |hot: &'_ HotReport| {
        vec![
            text(duration(hot.total_ns)),
            text(duration(hot.self_ns)),
            text(format!("{}x", hot.holds)),
            text(duration(hot.longest_ns)),
            text(hot.location.function.to_string()),
        ]
    };
    let rows = report.hot.iter().take(limit).map(|hot| {
        let mut cells: Vec<Cell<'_>> = row(hot);
        cells.push(Cell::Place(Some(&hot.location)));
        cells
    });
    write_grid(lines, &HOT_COLUMNS, &rows.collect::<Vec<_>>())
}

fn text(text: String) -> Cell<'static> {
    Cell::Text(Cow::Owned(text))
}

/// Writes a table behind an empty line; nothing if it has no rows.
fn write_grid(
    lines: &mut LineWriter<'_>,
    columns: &'static [Column],
    rows: &[Vec<Cell<'_>>],
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    lines.line("")?;
    let layout = Layout::new(columns, rows.iter().map(Vec::as_slice), lines.width);
    layout.write_titles(lines)?;
    rows.iter()
        .try_for_each(|row| layout.write_row(lines, row, None))
}
