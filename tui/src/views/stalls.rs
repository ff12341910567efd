//! Stalls: when a loop did not answer, for how long, and who held it.
//!
//! ```text
//! when        held   longest count  total  task       where                 cause
//! NOW        1.24 s   1.24 s     3  2.9 s  blocker    app.py:42 handler     blocking call
//! 12 s ago   830 ms   1.10 s    14  8.2 s  report     report.py:9 render    cpu
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{Cause, Location, Stall};

use super::{Rows, SortKey, SourceLines, Thresholds, identity_of, place_cell};
use crate::document::Document;
use crate::format;
use crate::table::{Cell, Column, Sort};
use crate::text::clean;
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column {
        descending: true,
        ..Column::text("when", 9, 9, 0)
    },
    Column::number("held", 7, 0),
    Column::number("longest", 7, 3),
    Column::number("count", 5, 4),
    Column::number("total", 7, 5),
    Column::text("task", 12, 36, 1),
    Column::text("where", 17, 60, 0),
    Column::text("cause", 13, 14, 2),
];

/// A culprit with its stalls, or a single stall.
pub(crate) struct Row {
    /// The newest of them.
    pub(crate) newest: Arc<Stall>,
    pub(crate) location: Option<Location>,
    pub(crate) count: u64,
    total_ns: u64,
    longest_ns: u64,
}

/// The rows of the view.
pub(crate) struct Stalls {
    pub(crate) report: Arc<Report>,
    pub(crate) thresholds: Thresholds,
    folded: bool,
    rows: Vec<Row>,
}

impl Stalls {
    /// Stalls folded by culprit, or each by itself; newest first either way.
    pub(crate) fn new(report: Arc<Report>, thresholds: Thresholds, folded: bool) -> Self {
        let rows = if folded {
            fold(&report)
        } else {
            report.stalls.iter().map(single).collect()
        };
        Self {
            report,
            thresholds,
            folded,
            rows,
        }
    }

    /// How long ago the stall ended, in words.
    pub(crate) fn when(&self, stall: &Stall) -> String {
        if stall.ongoing {
            "NOW".into()
        } else {
            format!("{} ago", format::age(self.ago_ns(stall)))
        }
    }

    fn ago_ns(&self, stall: &Stall) -> u64 {
        let ended = stall.began_monotonic_ns.saturating_add(stall.duration_ns);
        self.report.at_monotonic_ns.saturating_sub(ended)
    }
}

fn single(stall: &Arc<Stall>) -> Row {
    Row {
        newest: Arc::clone(stall),
        location: stall.culprit().cloned(),
        count: 1,
        total_ns: stall.duration_ns,
        longest_ns: stall.duration_ns,
    }
}

/// The culprits of the stalls that are over, with those that go on added to theirs.
fn fold(report: &Report) -> Vec<Row> {
    let mut rows: Vec<Row> = report
        .culprits
        .iter()
        .map(|culprit| Row {
            newest: Arc::clone(&culprit.last),
            location: culprit.location.clone(),
            count: culprit.count,
            total_ns: culprit.total_ns,
            longest_ns: culprit.worst_ns,
        })
        .collect();
    let known: HashMap<u64, usize> = rows
        .iter()
        .enumerate()
        .map(|(position, row)| (culprit_identity(row), position))
        .collect();
    for stall in report.stalls.iter().filter(|stall| stall.ongoing) {
        let mut row = single(stall);
        match known.get(&culprit_identity(&row)) {
            Some(&position) => {
                let folded = &mut rows[position];
                folded.count = folded.count.saturating_add(1);
                folded.total_ns = folded.total_ns.saturating_add(row.total_ns);
                folded.longest_ns = folded.longest_ns.max(row.longest_ns);
                std::mem::swap(&mut folded.newest, &mut row.newest);
            }
            None => rows.push(row),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(recency(&row.newest)));
    rows
}

fn culprit_identity(row: &Row) -> u64 {
    identity_of(&(&row.newest.label, &row.location))
}

/// Ongoing stalls before all others, then the last to end.
fn recency(stall: &Stall) -> u64 {
    if stall.ongoing {
        u64::MAX
    } else {
        stall.began_monotonic_ns.saturating_add(stall.duration_ns)
    }
}

/// The cause in few letters.
pub(crate) const fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Cpu => "cpu",
        Cause::Blocked => "blocking call",
        Cause::ManyCallbacks => "many callbacks",
        Cause::Unknown => "unknown",
    }
}

impl Rows for Stalls {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let row = &self.rows[row];
        let stall = &row.newest;
        let time = |ns| Cell::new(format::duration(ns)).tone(self.thresholds.tone(ns));
        match column {
            0 if stall.ongoing => Cell::new("NOW").tone(Tone::Alarm),
            0 => Cell::new(self.when(stall)),
            1 => time(stall.duration_ns),
            2 => time(row.longest_ns),
            3 => Cell::new(format::count(row.count)),
            4 => Cell::new(format::duration(row.total_ns)),
            5 => Cell::new(clean(&stall.label)),
            6 => place_cell(row.location.as_ref()),
            _ => Cell::new(cause_word(stall.cause)),
        }
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        let row = &self.rows[row];
        match column {
            0 => SortKey::Number(recency(&row.newest)),
            1 => SortKey::Number(row.newest.duration_ns),
            2 => SortKey::Number(row.longest_ns),
            3 => SortKey::Number(row.count),
            4 => SortKey::Number(row.total_ns),
            5 => SortKey::Text(row.newest.label.clone()),
            6 => super::place_key(row.location.as_ref()),
            _ => SortKey::Text(cause_word(row.newest.cause).into()),
        }
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let row = &self.rows[row];
        visit(&row.newest.name);
        visit(&row.newest.label);
        visit(cause_word(row.newest.cause));
        if let Some(location) = &row.location {
            visit(&location.file);
            visit(&location.function);
        }
    }

    fn identity(&self, row: usize) -> u64 {
        let row = &self.rows[row];
        if self.folded {
            culprit_identity(row)
        } else {
            row.newest.number
        }
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        self.story(&self.rows[row], sources)
    }

    fn first_sort(&self) -> Option<Sort> {
        Some(Sort {
            column: 0,
            descending: true,
        })
    }

    fn empty_text(&self) -> &'static str {
        "No stall so far: no turn of a loop outlasted the threshold"
    }
}
