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
use asyncspy_model::{BeganIs, Cause, Location, Stall};

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

/// At most this many single stalls are listed in the story of a culprit.
const HISTORY: usize = 20;

/// A culprit with its stalls, or a single stall.
struct Row {
    /// The newest of them.
    newest: Arc<Stall>,
    location: Option<Location>,
    count: u64,
    total_ns: u64,
    longest_ns: u64,
}

/// The rows of the view.
pub(crate) struct Stalls {
    report: Arc<Report>,
    thresholds: Thresholds,
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
    fn when(&self, stall: &Stall) -> String {
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
        let row = &self.rows[row];
        let mut document = Document::default();
        self.describe(&mut document, row);
        document.heading_below("Stack, innermost first");
        if row.newest.stack.is_empty() && row.newest.coroutine_stack.is_empty() {
            document.text("no sample caught a stack", Tone::Dim);
        }
        document.stack(&row.newest.stack, sources);
        if !row.newest.coroutine_stack.is_empty() {
            document.heading("Await chain of the task, innermost first");
            document.stack(&row.newest.coroutine_stack, sources);
        }
        if !row.newest.awaiters.is_empty() {
            document.heading("Awaited by, nearest first");
            for label in &row.newest.awaiters {
                document.text(format!("  {}", clean(label)), Tone::Plain);
            }
        }
        self.describe_further(&mut document, row);
        self.list_history(&mut document, row);
        document
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

impl Stalls {
    /// The facts of the newest stall of a row that are wanted before its stack.
    fn describe(&self, document: &mut Document, row: &Row) {
        let stall = &row.newest;
        let kind = if stall.task.is_some() {
            "task"
        } else {
            "callback"
        };
        document.heading(format!(
            "Stall {} of {kind} {}",
            stall.number,
            clean(&stall.name)
        ));
        let so_far = if stall.ongoing {
            " so far, it goes on"
        } else {
            ""
        };
        let held = format::duration(stall.duration_ns);
        let within = format::duration(stall.uncertainty_ns);
        let held = format!("{held}{so_far} (within {within})");
        document.toned_fact("held", held, self.thresholds.tone(stall.duration_ns));
        document.fact("cause", stall.cause.word());
    }

    /// The facts that can wait.
    fn describe_further(&self, document: &mut Document, row: &Row) {
        let stall = &row.newest;
        document.heading("Further");
        let began = format::utc(stall.began_unix_ns);
        document.fact(
            "began",
            format!("{began} ({})", began_words(stall.began_is)),
        );
        if !stall.ongoing {
            document.fact("ended", self.when(stall));
        }
        document.fact("meanwhile", suffering(stall));
        document.fact("seen by", format::plural(stall.samples, "sample"));
        document.fact("loop", self.loop_words(stall));
        if let Some((current, all)) = stall.callbacks {
            document.fact(
                "callback",
                format!("{} of {all} in this turn", u64::from(current) + 1),
            );
        }
        if stall.name != stall.label {
            document.fact("label", clean(&stall.label));
        }
        if let Some(id) = stall.task {
            document.fact("task id", id.to_string());
        }
    }

    /// Which loop, and what its thread is called.
    fn loop_words(&self, stall: &Stall) -> String {
        let known = self.report.loops.iter().find(|one| one.id == stall.loop_id);
        known.map_or_else(
            || stall.loop_id.to_string(),
            |one| {
                format!(
                    "{} ({}), thread {}",
                    clean(&one.thread_name),
                    one.kind.word(),
                    one.tid
                )
            },
        )
    }

    /// The single stalls of the same culprit that are still kept.
    fn list_history(&self, document: &mut Document, row: &Row) {
        let same = |stall: &&Arc<Stall>| {
            stall.label == row.newest.label && stall.culprit() == row.location.as_ref()
        };
        let stalls: Vec<&Arc<Stall>> = self.report.stalls.iter().filter(same).collect();
        if stalls.len() < 2 {
            return;
        }
        document.heading("Its stalls, newest first");
        for stall in stalls.iter().take(HISTORY) {
            let began = format::utc(stall.began_unix_ns);
            let held = format::duration(stall.duration_ns);
            let text = format!("  {began}  {held:>7}  {}", cause_word(stall.cause));
            document.text(text, self.thresholds.tone(stall.duration_ns));
        }
        let left_out = row.count.saturating_sub(HISTORY.min(stalls.len()) as u64);
        if left_out > 0 {
            document.text(format!("  … and {left_out} before"), Tone::Dim);
        }
    }
}

/// What the beginning of a stall is of.
const fn began_words(began: BeganIs) -> &'static str {
    match began {
        BeganIs::Callback => "the callback's start",
        BeganIs::Turn => "the turn's start",
        BeganIs::Sample => "first seen then",
    }
}

/// Who had to wait meanwhile.
fn suffering(stall: &Stall) -> String {
    let ready = format::plural(stall.ready, "ready callback");
    format!(
        "{ready} and {} waited",
        format::plural(stall.late_timers, "late timer")
    )
}
