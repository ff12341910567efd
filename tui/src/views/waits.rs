//! Waits: tasks grouped by where and on what they wait, counted and aged.
//!
//! ```text
//! count  oldest  median waits for   where                   why
//!    12   1m10s    59 s Queue.get   worker.py:17 Worker.run -
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{Location, Snapshot, TaskInfo, TaskState};

use super::tasks::{age_cell, since, visit_task_texts};
use super::{Rows, SortKey, SourceLines, identity_of, place_cell, place_key};
use crate::document::Document;
use crate::format;
use crate::table::{Cell, Column, Sort};
use crate::text::clean;
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column::number("count", 5, 0),
    Column::number("oldest", 6, 0),
    Column::number("median", 6, 3),
    Column::text("waits for", 14, 36, 0),
    Column::text("where", 18, 70, 0),
    Column::text("why", 12, 40, 2),
];

/// At most this many tasks of a group are listed.
const LISTED: usize = 200;

/// What the tasks that are ready to run are said to wait for.
const TURN: &str = "its turn";

/// Tasks that wait for the same at the same place.
struct Row {
    kind: Arc<str>,
    /// Class of the object at the end of the chain; empty for tasks that are ready to run.
    leaf: Arc<str>,
    location: Option<Location>,
    /// Indices into the census, the one that has waited longest first.
    tasks: Vec<u32>,
    oldest_ns: u64,
    median_ns: u64,
    /// Details, if all tasks of the group have the same.
    why: Option<Arc<str>>,
}

/// The rows of the view.
pub(crate) struct Waits {
    report: Arc<Report>,
    snapshot: Option<Arc<Snapshot>>,
    rows: Vec<Row>,
}

impl Waits {
    /// Groups the tasks of the last census that do not run.
    pub(crate) fn new(report: Arc<Report>) -> Self {
        let snapshot = report.snapshot.clone();
        let rows = snapshot
            .as_ref()
            .map_or_else(Vec::new, |census| group(&report, census));
        Self {
            report,
            snapshot,
            rows,
        }
    }

    fn task(&self, index: u32) -> Option<&TaskInfo> {
        self.snapshot.as_ref()?.tasks.get(index as usize)
    }
}

/// What the tasks of a group have in common: kind and leaf of the wait, and the place.
type Likeness = (Arc<str>, Arc<str>, Option<Location>);

fn group(report: &Report, snapshot: &Snapshot) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut positions: HashMap<Likeness, usize> = HashMap::new();
    for (index, task) in (0..).zip(&snapshot.tasks) {
        let (kind, leaf) = match (&task.waits_on, task.state) {
            (Some(waits), _) => (waits.kind.clone(), waits.leaf.clone()),
            (None, TaskState::Runnable) => (TURN.into(), "".into()),
            _ => continue,
        };
        let location = task.user_location().cloned();
        let key = (kind.clone(), leaf.clone(), location.clone());
        let position = *positions.entry(key).or_insert(rows.len());
        if position == rows.len() {
            let (tasks, oldest_ns, median_ns) = (Vec::new(), 0, 0);
            rows.push(Row {
                kind,
                leaf,
                location,
                tasks,
                oldest_ns,
                median_ns,
                why: None,
            });
        }
        rows[position].tasks.push(index);
    }
    for row in &mut rows {
        age(row, report, snapshot);
    }
    rows
}

/// Fills in how long the tasks of a group have waited, and what they have in common.
fn age(row: &mut Row, report: &Report, snapshot: &Snapshot) {
    let waited = |index: &u32| waited_ns(report, &snapshot.tasks[*index as usize]);
    row.tasks
        .sort_by_cached_key(|index| std::cmp::Reverse(waited(index)));
    row.oldest_ns = row.tasks.first().map_or(0, waited);
    row.median_ns = row.tasks.get(row.tasks.len() / 2).map_or(0, waited);
    let detail = |index: &u32| {
        let waits = snapshot.tasks[*index as usize].waits_on.as_ref();
        waits.and_then(|waits| waits.detail.clone())
    };
    let first = row.tasks.first().and_then(detail);
    row.why = first.filter(|first| {
        row.tasks
            .iter()
            .all(|index| detail(index).as_ref() == Some(first))
    });
}

fn waited_ns(report: &Report, task: &TaskInfo) -> u64 {
    let history = report
        .task_history
        .get(&task.id)
        .copied()
        .unwrap_or_default();
    since(report, history.waiting_since_monotonic_ns)
}

impl Rows for Waits {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let row = &self.rows[row];
        match column {
            0 => Cell::new(format::count(row.tasks.len() as u64)),
            1 => age_cell(row.oldest_ns),
            2 => age_cell(row.median_ns),
            3 if row.leaf.is_empty() => Cell::new(TURN).tone(Tone::Warn),
            3 => Cell::new(clean(&row.kind)),
            4 => place_cell(row.location.as_ref()),
            _ => Cell::new(row.why.as_deref().map_or_else(|| "-".into(), clean)),
        }
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        let row = &self.rows[row];
        match column {
            0 => SortKey::Number(row.tasks.len() as u64),
            1 => SortKey::Number(row.oldest_ns),
            2 => SortKey::Number(row.median_ns),
            3 => SortKey::Text(row.kind.clone()),
            4 => place_key(row.location.as_ref()),
            _ => SortKey::Text(row.why.clone().unwrap_or_default()),
        }
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let row = &self.rows[row];
        visit(&row.kind);
        if let Some(why) = &row.why {
            visit(why);
        }
        for task in row.tasks.iter().filter_map(|index| self.task(*index)) {
            visit_task_texts(task, visit);
        }
    }

    fn identity(&self, row: usize) -> u64 {
        let row = &self.rows[row];
        identity_of(&(&row.kind, &row.leaf, &row.location))
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        let row = &self.rows[row];
        let mut document = Document::default();
        let tasks = format::plural(row.tasks.len() as u64, "task");
        let verb = if row.tasks.len() == 1 {
            "waits"
        } else {
            "wait"
        };
        document.heading(format!("{tasks} {verb} for {}", clean(&row.kind)));
        if !row.leaf.is_empty() {
            document.fact("object", clean(&row.leaf));
        }
        let oldest = age_cell(row.oldest_ns).text;
        document.fact(
            "waiting",
            format!("oldest {oldest}, median {}", age_cell(row.median_ns).text),
        );
        if let Some(why) = &row.why {
            document.fact("why", clean(why));
        }
        if let Some(task) = row.tasks.first().and_then(|index| self.task(*index)) {
            document.heading("Await chain of the one that has waited longest, innermost first");
            document.stack(&task.coroutine_stack, sources);
        }
        document.heading("Tasks, the one that has waited longest first");
        for task in row
            .tasks
            .iter()
            .take(LISTED)
            .filter_map(|index| self.task(*index))
        {
            let waited = age_cell(waited_ns(&self.report, task)).text;
            let detail = task
                .waits_on
                .as_ref()
                .and_then(|waits| waits.detail.as_deref());
            let detail = detail.map(clean).unwrap_or_default();
            document.text(
                format!("  {waited:>6}  {}  {detail}", clean(&task.name)),
                Tone::Plain,
            );
        }
        if row.tasks.len() > LISTED {
            document.text(format!("  … {} more", row.tasks.len() - LISTED), Tone::Dim);
        }
        document
    }

    fn first_sort(&self) -> Option<Sort> {
        Some(Sort {
            column: 0,
            descending: true,
        })
    }

    fn empty_text(&self) -> &'static str {
        if self.snapshot.is_some() {
            "No task waits"
        } else {
            "No census of tasks yet"
        }
    }
}
