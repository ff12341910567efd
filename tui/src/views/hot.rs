//! Hot: functions, lines and tasks by the time they held the loop.
//!
//! ```text
//! self%    self   total holds longest     p99 where                  task
//!   55%  8.40 s  8.40 s     6  2.11 s  2.11 s app.py:42 handler      blocker
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use asyncspy_model::Location;
use asyncspy_model::report::{CallTree, HotReport, Report};

use super::{Rows, SortKey, SourceLines, Thresholds, identity_of, place_cell, place_key};
use crate::document::Document;
use crate::format;
use crate::table::{Cell, Column, Sort};
use crate::text::{clean, full_place};
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column::number("self%", 5, 0),
    Column::number("self", 7, 4),
    Column::number("total", 7, 0),
    Column::number("holds", 5, 3),
    Column::number("longest", 7, 1),
    Column::number("p99", 7, 5),
    Column::text("where", 22, 70, 0),
    Column::text("task", 10, 36, 2),
];

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Line,
    Function,
    Task,
}

/// One line, function or task.
#[derive(Clone, Debug)]
struct Row {
    /// The place; of a function or task its hottest line.
    location: Option<Location>,
    label: Arc<str>,
    self_ns: u64,
    total_ns: u64,
    holds: u64,
    longest_ns: u64,
    p99_ns: u64,
    /// Self time of the hottest line so far, while rows are folded.
    hottest_ns: u64,
}

/// The rows of the view.
pub(crate) struct Hot {
    report: Arc<Report>,
    thresholds: Thresholds,
    by: By,
    rows: Vec<Row>,
    /// All time that the loops were held.
    held_ns: u64,
}

impl Hot {
    /// Folds the lines of the report into what the rows stand for.
    pub(crate) fn new(report: Arc<Report>, thresholds: Thresholds, by: By) -> Self {
        let rows = match by {
            By::Line => lines(&report),
            By::Function => fold(lines(&report), |row| {
                let place = row.location.as_ref();
                identity_of(&place.map(|place| (&place.function, &place.file)))
            }),
            By::Task => tasks(&report),
        };
        let held_ns = match report.call_tree.nodes.first() {
            Some(root) => root.total_ns,
            None => rows
                .iter()
                .map(|row| row.self_ns)
                .fold(0, u64::saturating_add),
        };
        Self {
            report,
            thresholds,
            by,
            rows,
            held_ns,
        }
    }
}

fn lines(report: &Report) -> Vec<Row> {
    let row = |hot: &HotReport| Row {
        location: Some(hot.location.clone()),
        label: hot.label.clone(),
        self_ns: hot.self_ns,
        total_ns: hot.total_ns,
        holds: hot.holds,
        longest_ns: hot.longest_ns,
        p99_ns: hot.p99_ns,
        hottest_ns: hot.self_ns,
    };
    report.hot.iter().map(row).collect()
}

/// Adds up rows of the same key. Two lines of one function are on a stack at once only if it
/// recurses; then its total counts that time twice.
fn fold(rows: Vec<Row>, key: impl Fn(&Row) -> u64) -> Vec<Row> {
    let mut folded: Vec<Row> = Vec::new();
    let mut positions: HashMap<u64, usize> = HashMap::new();
    for row in rows {
        let Some(&position) = positions.get(&key(&row)) else {
            positions.insert(key(&row), folded.len());
            folded.push(row);
            continue;
        };
        let sum = &mut folded[position];
        sum.self_ns = sum.self_ns.saturating_add(row.self_ns);
        sum.total_ns = sum.total_ns.saturating_add(row.total_ns);
        sum.holds = sum.holds.saturating_add(row.holds);
        sum.longest_ns = sum.longest_ns.max(row.longest_ns);
        sum.p99_ns = sum.p99_ns.max(row.p99_ns);
        if row.self_ns > sum.hottest_ns {
            sum.hottest_ns = row.self_ns;
            sum.location = row.location;
            sum.label = row.label;
        }
    }
    folded
}

/// The time of each task label, off the call tree: it knows all labels of a line, the list of
/// lines only the foremost.
fn tasks(report: &Report) -> Vec<Row> {
    let row = |(label, total_ns): (Arc<str>, u64)| {
        let own: Vec<&HotReport> = report.hot.iter().filter(|hot| hot.label == label).collect();
        let most = |of: fn(&HotReport) -> u64| own.iter().map(|hot| of(hot)).max().unwrap_or(0);
        let hottest = own.iter().max_by_key(|hot| hot.self_ns);
        Row {
            location: hottest.map(|hot| hot.location.clone()),
            self_ns: total_ns,
            total_ns,
            holds: most(|hot| hot.holds),
            longest_ns: most(|hot| hot.longest_ns),
            p99_ns: most(|hot| hot.p99_ns),
            hottest_ns: 0,
            label,
        }
    };
    fold(label_totals(&report.call_tree).map(row).collect(), |row| {
        identity_of(&row.label)
    })
}

/// The innermost nodes that are not frames, with their totals.
fn label_totals(tree: &CallTree) -> impl Iterator<Item = (Arc<str>, u64)> {
    let is_label = |index: &u32| {
        tree.nodes
            .get(*index as usize)
            .is_some_and(|node| node.location.is_none())
    };
    tree.nodes
        .iter()
        .skip(1)
        .filter(move |node| node.location.is_none() && !node.children.iter().any(is_label))
        .map(|node| (node.label.clone(), node.total_ns))
}

impl Rows for Hot {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let row = &self.rows[row];
        let time = |ns| Cell::new(format::duration_or_dash(ns)).tone(self.thresholds.tone(ns));
        match column {
            0 => Cell::new(format::percent(row.self_ns, self.held_ns)),
            1 => Cell::new(format::duration_or_dash(row.self_ns)),
            2 => Cell::new(format::duration_or_dash(row.total_ns)),
            3 => Cell::new(format::count(row.holds)),
            4 => time(row.longest_ns),
            5 => time(row.p99_ns),
            6 => place_cell(row.location.as_ref()),
            _ if row.label.is_empty() => Cell::new("(callback)").tone(Tone::Dim),
            _ => Cell::new(clean(&row.label)),
        }
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        let row = &self.rows[row];
        match column {
            0 | 1 => SortKey::Number(row.self_ns),
            2 => SortKey::Number(row.total_ns),
            3 => SortKey::Number(row.holds),
            4 => SortKey::Number(row.longest_ns),
            5 => SortKey::Number(row.p99_ns),
            6 => place_key(row.location.as_ref()),
            _ => SortKey::Text(row.label.clone()),
        }
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let row = &self.rows[row];
        visit(&row.label);
        if let Some(location) = &row.location {
            visit(&location.function);
            visit(&location.file);
        }
    }

    fn identity(&self, row: usize) -> u64 {
        let row = &self.rows[row];
        match (self.by, &row.location) {
            (By::Line, location) => identity_of(location),
            (By::Function, Some(place)) => identity_of(&(&place.function, &place.file)),
            _ => identity_of(&row.label),
        }
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        let row = &self.rows[row];
        let mut document = Document::default();
        match (&row.location, self.by) {
            (_, By::Task) | (None, _) => document.heading(format!("Task {}", clean(&row.label))),
            (Some(place), By::Function) => {
                document.heading(format!("Function {}", clean(&place.function)));
            }
            (Some(place), By::Line) => document.heading(format!("Line {}", full_place(place))),
        }
        self.describe(&mut document, row);
        if let Some(place) = &row.location {
            let stack = heaviest_way(&self.report.call_tree, place);
            document.heading("Heaviest way there, innermost first");
            let shown = if stack.is_empty() {
                std::slice::from_ref(place)
            } else {
                &stack
            };
            document.stack(shown, sources);
        }
        document
    }

    fn first_sort(&self) -> Option<Sort> {
        Some(Sort {
            column: if self.by == By::Line { 0 } else { 2 },
            descending: true,
        })
    }

    fn empty_text(&self) -> &'static str {
        "No sample has caught a loop at work yet"
    }
}

impl Hot {
    fn describe(&self, document: &mut Document, row: &Row) {
        let share = |ns| {
            format!(
                "{} ({})",
                format::duration(ns),
                format::percent(ns, self.held_ns)
            )
        };
        document.fact(
            "self",
            format!("{} of the time that loops were held", share(row.self_ns)),
        );
        document.fact(
            "total",
            format!("{} with what it calls", share(row.total_ns)),
        );
        document.fact("held the loop", format::plural(row.holds, "time"));
        let longest = format!(
            "{} (99 of 100 within {})",
            format::duration_or_dash(row.longest_ns),
            format::duration_or_dash(row.p99_ns)
        );
        document.toned_fact("longest", longest, self.thresholds.tone(row.longest_ns));
        if !row.label.is_empty() && self.by != By::Task {
            document.fact("mostly by", format!("task {}", clean(&row.label)));
        }
    }
}

/// The stack through which a place got the most time, innermost first; empty if the tree does
/// not have the place.
fn heaviest_way(tree: &CallTree, place: &Location) -> Vec<Location> {
    let here = |node: &asyncspy_model::report::CallNode| node.location.as_ref() == Some(place);
    let found = tree.nodes.iter().enumerate().filter(|(_, node)| here(node));
    let Some((mut index, _)) = found.max_by_key(|(_, node)| node.total_ns) else {
        return Vec::new();
    };
    let mut parents = vec![None; tree.nodes.len()];
    for (parent, node) in tree.nodes.iter().enumerate() {
        for child in &node.children {
            // A child comes after its parent: so the way up ends.
            if *child as usize > parent && (*child as usize) < parents.len() {
                parents[*child as usize] = Some(parent);
            }
        }
    }
    let mut stack = Vec::new();
    loop {
        stack.extend(tree.nodes[index].location.clone());
        match parents[index] {
            Some(parent) => index = parent,
            None => return stack,
        }
    }
}
