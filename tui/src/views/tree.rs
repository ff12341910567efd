//! Tree: which task awaits which. Equal tasks below one awaiter are folded into one row.
//!
//! ```text
//! task                     state    waits for    since where
//! main                     waiting  gather       2m06s app.py:88 main
//! ├─ 12 × Worker.run       waiting  Queue.get    1m10s worker.py:17 Worker.run
//! └─ Task-2                waiting  task         1m26s app.py:31 serve_forever
//! ```

use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{AwaitGraph, Snapshot, TaskInfo};

use super::tasks::{age_cell, since, state_cell, visit_task_texts};
use super::tree_walk::{Row, Walk, kind_of, likeness};
use super::{Rows, SortKey, SourceLines, identity_of, place_cell};
use crate::document::Document;
use crate::table::{Cell, Column, Sort};
use crate::task_story::{describe_task, waits_words_in};
use crate::text::{Needle, clean};
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column::text("task", 24, 60, 0),
    Column::text("state", 10, 10, 1),
    Column::text("waits for", 11, 32, 3),
    Column::number("since", 6, 2),
    Column::text("where", 18, 60, 0),
];

/// Deeper rows are indented no further.
const DEEPEST: usize = 12;

/// The rows of the view, in the order of the tree.
pub(crate) struct Tree {
    report: Arc<Report>,
    snapshot: Option<Arc<Snapshot>>,
    graph: Arc<AwaitGraph>,
    rows: Vec<Row>,
}

impl Tree {
    /// From the last census of a report and its graph.
    pub(crate) fn new(report: Arc<Report>, graph: Arc<AwaitGraph>, folding: bool) -> Self {
        let snapshot = report.snapshot.clone();
        let rows = match &snapshot {
            Some(snapshot) => Walk::new(snapshot, &graph, folding).run(),
            None => Vec::new(),
        };
        Self {
            report,
            snapshot,
            graph,
            rows,
        }
    }

    fn task(&self, row: &Row) -> Option<&TaskInfo> {
        self.snapshot.as_ref()?.tasks.get(*row.tasks.first()?)
    }

    fn waiting_ns(&self, task: &TaskInfo) -> u64 {
        let history = self
            .report
            .task_history
            .get(&task.id)
            .copied()
            .unwrap_or_default();
        since(&self.report, history.waiting_since_monotonic_ns)
    }

    /// The longest that a task of the row has waited.
    fn longest_ns(&self, row: &Row) -> u64 {
        let tasks = self
            .snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.tasks);
        let waited = row.tasks.iter().filter_map(|index| tasks.get(*index));
        waited.map(|task| self.waiting_ns(task)).max().unwrap_or(0)
    }

    /// Lines that lead from the parent to the row.
    fn branches(&self, row: &Row) -> String {
        let mut parts = Vec::new();
        if row.depth > 0 {
            parts.push(if row.last { "└─ " } else { "├─ " });
        }
        let mut above = row.parent;
        while let Some(parent) = above.and_then(|index| self.rows.get(index as usize)) {
            if parent.depth > 0 {
                parts.push(if parent.last { "   " } else { "│  " });
            }
            if parts.len() > DEEPEST {
                parts.push("… ");
                break;
            }
            above = parent.parent;
        }
        parts.reverse();
        parts.concat()
    }

    fn name_cell(&self, row: &Row, task: &TaskInfo) -> Cell {
        let branches = self.branches(row);
        if row.tasks.len() > 1 {
            return Cell::new(format!(
                "{branches}{} × {}",
                row.tasks.len(),
                clean(&kind_of(task))
            ));
        }
        let name = clean(&task.name);
        let circular = row
            .tasks
            .first()
            .is_some_and(|index| self.graph.in_cycle(*index));
        match (circular, row.again) {
            (true, true) => Cell::new(format!("{branches}DEADLOCK back to {name}")).tone(Tone::Bad),
            (true, false) => Cell::new(format!("{branches}DEADLOCK {name}")).tone(Tone::Bad),
            (false, true) => Cell::new(format!("{branches}{name} (see above)")).tone(Tone::Dim),
            (false, false) => Cell::new(format!("{branches}{name}")),
        }
    }
}

impl Rows for Tree {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let row = &self.rows[row];
        let Some(task) = self.task(row) else {
            return Cell::default();
        };
        match column {
            0 => self.name_cell(row, task),
            1 => state_cell(task),
            2 => Cell::new(waits_words_in(self.snapshot.as_deref(), task)),
            3 => age_cell(self.longest_ns(row)),
            _ => place_cell(task.user_location()),
        }
    }

    fn sort_key(&self, row: usize, _column: usize) -> SortKey {
        // The tree has but one order.
        SortKey::Number(row as u64)
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let tasks = self
            .snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.tasks);
        for index in &self.rows[row].tasks {
            if self.graph.in_cycle(*index) {
                visit("deadlock");
            }
            if let Some(task) = tasks.get(*index) {
                visit_task_texts(task, visit);
            }
        }
    }

    fn identity(&self, row: usize) -> u64 {
        let row = &self.rows[row];
        let parent = row
            .parent
            .and_then(|index| self.task(&self.rows[index as usize]));
        let parent = parent.map(|task| task.id);
        match self.task(row) {
            Some(task) if row.tasks.len() > 1 => identity_of(&(parent, likeness(task))),
            task => identity_of(&(parent, task.map(|task| task.id), row.again)),
        }
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        let row = &self.rows[row];
        let mut document = Document::default();
        let tasks = self
            .snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.tasks);
        if row.tasks.len() > 1 {
            document.heading(format!("{} equal tasks", row.tasks.len()));
            for task in row.tasks.iter().filter_map(|index| tasks.get(*index)) {
                let waited = age_cell(self.waiting_ns(task)).text;
                document.text(format!("  {waited:>6}  {}", clean(&task.name)), Tone::Plain);
            }
        }
        if let Some(task) = self.task(row) {
            describe_task(&mut document, &self.report, task, sources);
        }
        document
    }

    fn first_sort(&self) -> Option<Sort> {
        None
    }

    fn is_sortable(&self) -> bool {
        false
    }

    fn empty_text(&self) -> &'static str {
        if self.snapshot.is_some() {
            "No task is alive"
        } else {
            "No census of tasks yet"
        }
    }

    /// The rows that match, and those above them in the tree.
    fn order(&self, needle: &Needle, _sort: Option<Sort>) -> Vec<u32> {
        let mut kept: Vec<bool> = (0..self.rows.len())
            .map(|row| needle.matches(|visit| self.visit_texts(row, visit)))
            .collect();
        // A parent comes before its children: from the end each is marked before it is looked at.
        for row in (0..self.rows.len()).rev() {
            if kept[row]
                && let Some(parent) = self.rows[row].parent
            {
                kept[parent as usize] = true;
            }
        }
        (0..)
            .zip(kept)
            .filter_map(|(row, kept)| kept.then_some(row))
            .collect()
    }
}
