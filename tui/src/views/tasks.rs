//! Tasks: state, name, age, share of the loop, what each waits for since when and where.
//!
//! ```text
//! state    name        age   loop waits for     since where
//! running  blocker     3m05s  71% -                 - app.py:42 handler
//! waiting  worker-7    3m05s  <1% Queue.get      12 s worker.py:17 run
//! ```

use std::cmp::Reverse;
use std::sync::Arc;

use asyncspy_model::report::{Report, TaskHistory};
use asyncspy_model::{Snapshot, TaskInfo, TaskState};

use super::{Rows, SortKey, SourceLines, identity_of, place_cell, place_key};
use crate::document::Document;
use crate::format;
use crate::table::{Cell, Column, Sort};
use crate::task_story::{describe_task, waits_words, waits_words_in};
use crate::text::clean;
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column::text("state", 10, 10, 0),
    Column::text("name", 14, 40, 0),
    Column::number("age", 6, 3),
    Column::number("loop", 4, 2),
    Column::text("waits for", 11, 32, 1),
    Column::number("since", 6, 1),
    Column::text("where", 18, 60, 0),
];

/// The rows of the view: the tasks of the last census, those that held a loop most first, then
/// those that have waited longest.
pub(crate) struct Tasks {
    report: Arc<Report>,
    snapshot: Option<Arc<Snapshot>>,
    /// Indices into the tasks of the census.
    order: Vec<u32>,
}

impl Tasks {
    /// From the last census of a report.
    pub(crate) fn new(report: Arc<Report>) -> Self {
        let snapshot = report.snapshot.clone();
        let count = snapshot.as_ref().map_or(0, |snapshot| snapshot.tasks.len());
        let order = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        let mut tasks = Self {
            report,
            snapshot,
            order,
        };
        let mut order = std::mem::take(&mut tasks.order);
        order.sort_by_cached_key(|index| {
            let task = tasks.task_at(*index)?;
            let history = tasks.history(task);
            let since = history.waiting_since_monotonic_ns;
            let number = number_at_end(&task.name);
            Some((Reverse(history.held_ns), since, number, task.name.clone()))
        });
        tasks.order = order;
        tasks
    }

    fn task_at(&self, index: u32) -> Option<&TaskInfo> {
        self.snapshot.as_ref()?.tasks.get(index as usize)
    }

    fn task(&self, row: usize) -> Option<&TaskInfo> {
        self.task_at(*self.order.get(row)?)
    }

    fn history(&self, task: &TaskInfo) -> TaskHistory {
        self.report
            .task_history
            .get(&task.id)
            .copied()
            .unwrap_or_default()
    }

    fn age_ns(&self, task: &TaskInfo) -> u64 {
        since(&self.report, self.history(task).first_seen_monotonic_ns)
    }

    fn waiting_ns(&self, task: &TaskInfo) -> u64 {
        since(&self.report, self.history(task).waiting_since_monotonic_ns)
    }

    fn cell_of(&self, task: &TaskInfo, column: usize) -> Cell {
        match column {
            0 => state_cell(task),
            1 => Cell::new(clean(&task.name)),
            2 => age_cell(self.age_ns(task)),
            3 => {
                let held = self.history(task).held_ns;
                Cell::new(if held == 0 {
                    "-".into()
                } else {
                    format::percent(held, self.age_ns(task).max(held))
                })
            }
            4 => Cell::new(waits_words_in(self.snapshot.as_deref(), task)),
            5 => age_cell(self.waiting_ns(task)),
            _ => place_cell(task.user_location()),
        }
    }

    fn key_of(&self, task: &TaskInfo, column: usize) -> SortKey {
        match column {
            0 => SortKey::Number(state_rank(task)),
            1 => SortKey::Text(task.name.clone()),
            2 => SortKey::Number(self.age_ns(task)),
            3 => SortKey::Number(self.history(task).held_ns),
            4 => SortKey::Text(waits_words(task).into()),
            5 => SortKey::Number(self.waiting_ns(task)),
            _ => place_key(task.user_location()),
        }
    }
}

/// The number that a name ends in, so that `job-10` comes after `job-9`.
fn number_at_end(name: &str) -> u64 {
    let digits = name.len()
        - name
            .trim_end_matches(|last: char| last.is_ascii_digit())
            .len();
    name[name.len() - digits..].parse().unwrap_or(0)
}

/// Time from a moment to the report; 0 for the moment 0, which stands for "not known".
pub(crate) fn since(report: &Report, moment_monotonic_ns: u64) -> u64 {
    match moment_monotonic_ns {
        0 => 0,
        moment => report.at_monotonic_ns.saturating_sub(moment),
    }
}

/// An age, or a dash for "not known".
pub(crate) fn age_cell(ns: u64) -> Cell {
    Cell::new(if ns == 0 { "-".into() } else { format::age(ns) })
}

/// The state of a task; a cancellation that is under way says more than "waiting".
pub(crate) fn state_cell(task: &TaskInfo) -> Cell {
    if task.cancelling && task.state != TaskState::Running {
        return Cell::new("cancelling").tone(Tone::Warn);
    }
    let tone = match task.state {
        TaskState::Running => Tone::Strong,
        TaskState::Runnable => Tone::Warn,
        TaskState::Waiting => Tone::Plain,
        TaskState::Done => Tone::Dim,
    };
    Cell::new(task.state.word()).tone(tone)
}

/// Running first, then who waits for the loop, then the rest.
fn state_rank(task: &TaskInfo) -> u64 {
    match (task.state, task.cancelling) {
        (TaskState::Running, _) => 0,
        (TaskState::Runnable, _) => 1,
        (_, true) => 2,
        (TaskState::Waiting, _) => 3,
        (TaskState::Done, _) => 4,
    }
}

impl Rows for Tasks {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        self.task(row)
            .map(|task| self.cell_of(task, column))
            .unwrap_or_default()
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        self.task(row)
            .map_or(SortKey::Number(0), |task| self.key_of(task, column))
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        if let Some(task) = self.task(row) {
            visit_task_texts(task, visit);
        }
    }

    fn identity(&self, row: usize) -> u64 {
        self.task(row).map_or(0, |task| identity_of(&task.id))
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        let mut document = Document::default();
        if let Some(task) = self.task(row) {
            describe_task(&mut document, &self.report, task, sources);
        }
        document
    }

    fn first_sort(&self) -> Option<Sort> {
        Some(Sort {
            column: 0,
            descending: false,
        })
    }

    fn empty_text(&self) -> &'static str {
        if self.snapshot.is_some() {
            "No task is alive"
        } else {
            "No census of tasks yet"
        }
    }
}

/// Hands the texts of a task that a filter may match to `visit`.
pub(crate) fn visit_task_texts(task: &TaskInfo, visit: &mut dyn FnMut(&str)) {
    visit(&task.name);
    visit(&task.class);
    visit(task.state.word());
    if task.cancelling {
        visit("cancelling");
    }
    if let Some(waits) = &task.waits_on {
        visit(&waits.kind);
    }
    for location in task.sync_stack.iter().chain(task.coroutine_stack.iter()) {
        visit(&location.function);
        visit(&location.file);
    }
}
