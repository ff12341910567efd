//! Tree: which task awaits which. Equal tasks below one awaiter are folded into one row.
//!
//! ```text
//! task                     state    waits for    since where
//! main                     waiting  gather       2m06s app.py:88 main
//! ├─ 12 × Worker.run       waiting  Queue.get    1m10s worker.py:17 Worker.run
//! └─ Task-2                waiting  task         1m26s app.py:31 serve_forever
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{Snapshot, TaskInfo};

use super::tasks::{age_cell, since, state_cell, visit_task_texts};
use super::{Rows, SortKey, SourceLines, identity_of, place_cell};
use crate::document::Document;
use crate::graph::AwaitGraph;
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

/// From this many on equal tasks are folded.
const FOLDED: usize = 3;

/// Deeper rows are indented no further.
const DEEPEST: usize = 12;

/// A task, or several equal ones that await no other task.
struct Row {
    /// Indices into the census; never empty.
    tasks: Vec<u32>,
    /// The row of the task that awaits it.
    parent: Option<u32>,
    depth: u32,
    /// True for the last below its parent.
    last: bool,
    /// True if the task stands further up already, with what it awaits.
    again: bool,
}

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
        self.snapshot
            .as_ref()?
            .tasks
            .get(*row.tasks.first()? as usize)
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
        let waited = row
            .tasks
            .iter()
            .filter_map(|index| tasks.get(*index as usize));
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
            .is_some_and(|index| self.graph.is_circular(*index));
        match (circular, row.again) {
            (true, true) => Cell::new(format!("{branches}DEADLOCK back to {name}")).tone(Tone::Bad),
            (true, false) => Cell::new(format!("{branches}DEADLOCK {name}")).tone(Tone::Bad),
            (false, true) => Cell::new(format!("{branches}{name} (see above)")).tone(Tone::Dim),
            (false, false) => Cell::new(format!("{branches}{name}")),
        }
    }
}

/// The outermost coroutine's name: what equal tasks share where their names differ.
fn kind_of(task: &TaskInfo) -> Arc<str> {
    task.coroutine_stack
        .last()
        .map_or_else(|| task.label(), |outermost| outermost.function.clone())
}

/// What equal tasks have in common.
fn likeness(task: &TaskInfo) -> u64 {
    let kind = task
        .waits_on
        .as_ref()
        .map(|waits| (&waits.kind, &waits.leaf));
    identity_of(&(
        kind_of(task),
        task.state.word(),
        task.cancelling,
        kind,
        task.user_location(),
        task.loop_id,
    ))
}

/// Makes the rows: goes through the graph depth first, each task once.
struct Walk<'a> {
    snapshot: &'a Snapshot,
    graph: &'a AwaitGraph,
    folding: bool,
    seen: Vec<bool>,
    rows: Vec<Row>,
    /// Rows to be added, the next one last. A stack of our own: chains may be long.
    pending: Vec<Row>,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, graph: &'a AwaitGraph, folding: bool) -> Self {
        let seen = vec![false; snapshot.tasks.len()];
        Self {
            snapshot,
            graph,
            folding,
            seen,
            rows: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Row> {
        let all = 0..self.graph.len();
        // Circles have no root; one of each stands for it, before all others.
        for task in all.clone().filter(|task| self.graph.is_circular(*task)) {
            if !self.seen[task as usize] {
                self.descend_from(vec![task]);
            }
        }
        let roots = all
            .clone()
            .filter(|task| self.graph.is_root(*task))
            .collect();
        self.descend_from(roots);
        // Nothing is left, unless the graph contradicts itself.
        let missed = all.filter(|task| !self.seen[*task as usize]).collect();
        self.descend_from(missed);
        self.rows
    }

    fn descend_from(&mut self, roots: Vec<u32>) {
        self.push_pending(&roots, None, 0);
        while let Some(mut row) = self.pending.pop() {
            let first = row.tasks.first().copied().unwrap_or(0);
            row.again = self.seen[first as usize];
            for task in &row.tasks {
                self.seen[*task as usize] = true;
            }
            let index = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            let (descend, depth) = (!row.again && row.tasks.len() == 1, row.depth + 1);
            self.rows.push(row);
            if descend {
                let graph = self.graph;
                self.push_pending(graph.awaited_by(first), Some(index), depth);
            }
        }
    }

    /// Puts siblings on the stack, equal ones folded, the first one on top.
    fn push_pending(&mut self, tasks: &[u32], parent: Option<u32>, depth: u32) {
        let mut groups = self.fold(tasks);
        let mut last = true;
        while let Some(tasks) = groups.pop() {
            self.pending.push(Row {
                tasks,
                parent,
                depth,
                last,
                again: false,
            });
            last = false;
        }
    }

    /// Groups of equal tasks that await no other, and each other task by itself.
    fn fold(&self, tasks: &[u32]) -> Vec<Vec<u32>> {
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut positions: HashMap<u64, usize> = HashMap::new();
        for &task in tasks {
            let foldable =
                self.folding && self.graph.awaited_by(task).is_empty() && !self.seen[task as usize];
            if !foldable {
                groups.push(vec![task]);
                continue;
            }
            let key = likeness(&self.snapshot.tasks[task as usize]);
            let position = *positions.entry(key).or_insert(groups.len());
            match groups.get_mut(position) {
                Some(group) => group.push(task),
                None => groups.push(vec![task]),
            }
        }
        let unfolded = groups.into_iter().flat_map(|group| {
            if group.len() < FOLDED {
                group.into_iter().map(|task| vec![task]).collect()
            } else {
                vec![group]
            }
        });
        unfolded.collect()
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
            if self.graph.is_circular(*index) {
                visit("deadlock");
            }
            if let Some(task) = tasks.get(*index as usize) {
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
            for task in row
                .tasks
                .iter()
                .filter_map(|index| tasks.get(*index as usize))
            {
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
