//! `ps`: the tasks of a process as a table, a group for each loop.

use std::borrow::Cow;
use std::io;

use asyncspy_model::{LoopId, Snapshot, TaskInfo, TaskState};
use regex::Regex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::escape::escape;
use super::grid::{Cell, Column, Layout, column};
use super::loop_text::write_heading;
use super::process_text::{TasksById, write_incomplete, write_process};
use super::short_id;
use super::style::{LineWriter, Role, Style};
pub use super::task_rows::SortKey;
use super::task_rows::{Row, fold, matches, sort, state_text};

/// How the table is made.
#[derive(Clone, Debug)]
pub struct TaskTableOptions {
    /// The target's command line, unescaped; empty when unknown.
    pub command: String,
    /// True to give each task its own line.
    pub all: bool,
    /// What to sort each loop's tasks by; `None` for the running task first, then the target's
    /// order.
    pub sort: Option<SortKey>,
    /// Lists only tasks whose name, place, chain, state or wait it finds.
    pub filter: Option<Regex>,
    /// Columns of the terminal; no line of the table is wider.
    pub width: usize,
    /// How it looks.
    pub style: Style,
}

/// Writes the table; its last line says so if the snapshot is not complete.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_task_table(
    out: &mut dyn io::Write,
    snapshot: &Snapshot,
    options: &TaskTableOptions,
) -> io::Result<()> {
    let lines = &mut LineWriter::new(out, options.style, options.width);
    let tasks = TasksById::new(snapshot);
    write_process(lines, snapshot, &options.command)?;
    let groups = Groups::new(snapshot, &tasks, options);
    if let Some(filter) = &options.filter {
        let text = format!(
            "{} of {} match {}",
            groups.matching,
            snapshot.tasks.len(),
            escape(filter.as_str())
        );
        lines.plain(&text)?;
    }
    let id_digits = match options.width {
        WIDE.. => short_id::FULL,
        _ => short_id::digits(snapshot),
    };
    let table = Table::new(&groups, id_digits, options.width);
    for loop_info in &snapshot.loops {
        lines.line("")?;
        write_heading(lines, snapshot, &tasks, loop_info)?;
        table.write_rows(lines, loop_info.id)?;
    }
    write_strays(lines, snapshot, &groups, &table)?;
    if snapshot.loops.is_empty() && snapshot.tasks.is_empty() {
        lines.plain("no event loop and no task was found")?;
    }
    if groups.folded {
        lines.line("")?;
        lines.painted(
            Role::Faint,
            "equal tasks share a line; --all gives each its own",
        )?;
    }
    write_incomplete(lines, snapshot)
}

/// Leaves in the snapshot only the tasks that the filter of [`TaskTableOptions`] lists.
pub fn keep_matching(snapshot: &mut Snapshot, filter: &Regex) {
    let tasks = TasksById::new(snapshot);
    let kept = snapshot.tasks.iter();
    let kept = kept.filter(|task| matches(filter, task, &tasks)).cloned();
    snapshot.tasks = kept.collect();
}

/// Writes tasks whose loop is not among the loops of the snapshot.
fn write_strays(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    groups: &Groups<'_>,
    table: &Table<'_>,
) -> io::Result<()> {
    let known: FxHashSet<LoopId> = snapshot.loops.iter().map(|info| info.id).collect();
    for id in groups.order.iter().filter(|id| !known.contains(id)) {
        lines.line("")?;
        lines.painted(
            Role::Warning,
            &format!("tasks of loop {id}, which could not be read"),
        )?;
        table.write_rows(lines, *id)?;
    }
    Ok(())
}

/// The rows of each loop.
struct Groups<'a> {
    rows: FxHashMap<LoopId, Vec<Row<'a>>>,
    /// Loops in the order of their first task.
    order: Vec<LoopId>,
    /// Tasks that the filter let through.
    matching: usize,
    /// True if a row stands for several tasks.
    folded: bool,
}

impl<'a> Groups<'a> {
    fn new(snapshot: &'a Snapshot, tasks: &TasksById<'a>, options: &TaskTableOptions) -> Self {
        let mut members: FxHashMap<LoopId, Vec<&'a TaskInfo>> = FxHashMap::default();
        let mut order = Vec::new();
        let mut matching = 0;
        for task in &snapshot.tasks {
            let filter = options.filter.as_ref();
            if filter.is_some_and(|filter| !matches(filter, task, tasks)) {
                continue;
            }
            matching += 1;
            let group = members.entry(task.loop_id).or_default();
            if group.is_empty() {
                order.push(task.loop_id);
            }
            group.push(task);
        }
        let mut rows = FxHashMap::default();
        for (id, members) in &members {
            let mut group = fold(members, tasks, options.all);
            sort(&mut group, options.sort);
            rows.insert(*id, group);
        }
        let folded = rows.values().flatten().any(|row| row.count > 1);
        Self {
            rows,
            order,
            matching,
            folded,
        }
    }
}

/// The columns, in their order on the line.
const COLUMNS: [Column; 6] = [
    column("ID", 16, 0, 3),
    column("TASK", 10, 2, 0),
    column("STATE", 11, 0, 0),
    column("WAITS FOR", 9, 0, 1),
    column("WHERE", 14, 5, 0),
    column("CHAIN", 12, 0, 2),
];

/// From this width on an id is written in full.
const WIDE: usize = 120;

fn cells<'a>(row: &'a Row<'_>, id_digits: usize) -> Vec<Cell<'a>> {
    let name = match row.count {
        1 => Cow::Borrowed(&*row.name),
        count => Cow::Owned(format!("{count}x {}", row.name)),
    };
    let wait = if row.wait.is_empty() { "-" } else { &row.wait };
    vec![
        Cell::Text(short_id::text(row.task.id, id_digits).into()),
        Cell::Text(name),
        Cell::Text(state_text(row.task).into()),
        Cell::Text(wait.into()),
        Cell::Place(row.task.user_location()),
        Cell::Chain(&row.task.coroutine_stack),
    ]
}

/// One row of the table as it is written.
struct Line<'a> {
    cells: Vec<Cell<'a>>,
    role: Option<Role>,
}

/// The rows of every loop, in columns of the same width, so that the eye can run down the page.
struct Table<'a> {
    layout: Layout,
    lines: FxHashMap<LoopId, Vec<Line<'a>>>,
}

impl<'a> Table<'a> {
    fn new(groups: &'a Groups<'_>, id_digits: usize, width: usize) -> Self {
        let line = |row: &'a Row<'_>| Line {
            cells: cells(row, id_digits),
            role: row_role(row.task),
        };
        let lines: FxHashMap<LoopId, Vec<Line<'a>>> = groups
            .rows
            .iter()
            .map(|(id, rows)| (*id, rows.iter().map(line).collect()))
            .collect();
        let all = lines.values().flatten().map(|line| &*line.cells);
        Self {
            layout: Layout::new(&COLUMNS, all, width),
            lines,
        }
    }

    fn write_rows(&self, out: &mut LineWriter<'_>, loop_id: LoopId) -> io::Result<()> {
        let Some(lines) = self.lines.get(&loop_id) else {
            return Ok(());
        };
        self.layout.write_titles(out)?;
        for line in lines {
            self.layout.write_row(out, &line.cells, line.role)?;
        }
        Ok(())
    }
}

const fn row_role(task: &TaskInfo) -> Option<Role> {
    match task.state {
        TaskState::Running => Some(Role::Active),
        _ if task.torn => Some(Role::Warning),
        _ => None,
    }
}
