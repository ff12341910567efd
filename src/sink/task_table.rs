//! `ps`: the tasks of a process as a table, a group for each loop.

use std::collections::{HashMap, HashSet};
use std::io;

use asyncspy_model::{LoopId, Snapshot, TaskInfo, TaskState};
use regex::Regex;

use super::columns::{GAP, Wish, fit};
use super::escape::{MAX_COLUMNS, escape, escape_to, width};
use super::loop_text::write_heading;
use super::place::{chain, place};
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
    let layout = Layout::new(snapshot, &groups, options.width);
    for loop_info in &snapshot.loops {
        lines.line("")?;
        write_heading(lines, snapshot, &tasks, loop_info)?;
        write_rows(lines, &layout, groups.of(loop_info.id))?;
    }
    write_strays(lines, snapshot, &groups, &layout)?;
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

/// Writes tasks whose loop is not among the loops of the snapshot.
fn write_strays(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    groups: &Groups<'_>,
    layout: &Layout,
) -> io::Result<()> {
    let known: HashSet<LoopId> = snapshot.loops.iter().map(|info| info.id).collect();
    for id in groups.order.iter().filter(|id| !known.contains(id)) {
        lines.line("")?;
        lines.painted(
            Role::Warning,
            &format!("tasks of loop {id}, which could not be read"),
        )?;
        write_rows(lines, layout, groups.of(*id))?;
    }
    Ok(())
}

/// The rows of each loop.
struct Groups<'a> {
    rows: HashMap<LoopId, Vec<Row<'a>>>,
    /// Loops in the order of their first task.
    order: Vec<LoopId>,
    /// Tasks that the filter let through.
    matching: usize,
    /// True if a row stands for several tasks.
    folded: bool,
}

impl<'a> Groups<'a> {
    fn new(snapshot: &'a Snapshot, tasks: &TasksById<'a>, options: &TaskTableOptions) -> Self {
        let mut members: HashMap<LoopId, Vec<&'a TaskInfo>> = HashMap::new();
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
        let mut rows = HashMap::new();
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

    fn of(&self, id: LoopId) -> &[Row<'a>] {
        self.rows.get(&id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The columns, in their order on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    State,
    Wait,
    Where,
    Chain,
}

impl Column {
    const ALL: [Self; 6] = [
        Self::Id,
        Self::Name,
        Self::State,
        Self::Wait,
        Self::Where,
        Self::Chain,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Name => "TASK",
            Self::State => "STATE",
            Self::Wait => "WAITS FOR",
            Self::Where => "WHERE",
            Self::Chain => "CHAIN",
        }
    }

    /// Least legible width, head start when all shrink, and the rank by which it is dropped.
    const fn limits(self) -> (usize, usize, u8) {
        match self {
            Self::Id => (16, 0, 3),
            Self::Name => (10, 2, 0),
            Self::State => (11, 0, 0),
            Self::Wait => (9, 0, 1),
            Self::Where => (14, 5, 0),
            Self::Chain => (12, 0, 2),
        }
    }
}

/// The width of each column, the same for every loop so that the eye can run down the page.
struct Layout {
    widths: Vec<Option<usize>>,
    id_digits: usize,
}

impl Layout {
    fn new(snapshot: &Snapshot, groups: &Groups<'_>, width_limit: usize) -> Self {
        let id_digits = match width_limit {
            WIDE.. => short_id::FULL,
            _ => short_id::digits(snapshot),
        };
        let rows = || groups.rows.values().flatten();
        let wishes = Column::ALL.map(|column| {
            let content = rows().map(|row| width(&cell(row, column, MAX_COLUMNS, id_digits)));
            let widest = content.max().unwrap_or(0);
            let (min, head_start, drop_rank) = column.limits();
            Wish {
                min,
                natural: widest.max(column.title().len()),
                head_start,
                drop_rank,
            }
        });
        Self {
            widths: fit(&wishes, width_limit),
            id_digits,
        }
    }

    /// The columns that are shown, with their widths.
    fn columns(&self) -> impl Iterator<Item = (Column, usize)> {
        let pairs = Column::ALL.into_iter().zip(&self.widths);
        pairs.filter_map(|(column, width)| width.map(|width| (column, width)))
    }
}

/// From this width on an id is written in full.
const WIDE: usize = 120;

fn cell(row: &Row<'_>, column: Column, columns: usize, id_digits: usize) -> String {
    let cut = |text: &str| escape_to(text, columns).into_owned();
    match column {
        Column::Id => short_id::text(row.task.id, id_digits),
        Column::Name if row.count > 1 => cut(&format!("{}x {}", row.count, escape(&row.name))),
        Column::Name => cut(&row.name),
        Column::State => state_text(row.task),
        Column::Wait if row.wait.is_empty() => "-".to_owned(),
        Column::Wait => cut(&row.wait),
        Column::Where => match row.task.user_location() {
            Some(location) => place(location, columns),
            None => "?".to_owned(),
        },
        Column::Chain => chain(&row.task.coroutine_stack, columns),
    }
}

fn write_rows(lines: &mut LineWriter<'_>, layout: &Layout, rows: &[Row<'_>]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let titles = layout
        .columns()
        .map(|(column, columns)| (column.title().to_owned(), columns));
    let titles = join(titles, lines.width);
    lines.painted(Role::Heading, &titles)?;
    for row in rows {
        let cells = layout
            .columns()
            .map(|(column, columns)| (cell(row, column, columns, layout.id_digits), columns));
        let text = join(cells, lines.width);
        let shown = match row_role(row.task) {
            Some(role) => lines.style.paint(role, &text),
            None => text,
        };
        lines.line(&shown)?;
    }
    Ok(())
}

fn row_role(task: &TaskInfo) -> Option<Role> {
    match task.state {
        TaskState::Running => Some(Role::Active),
        _ if task.torn => Some(Role::Warning),
        _ => None,
    }
}

/// Cells side by side, none padded at the end of the line.
fn join(cells: impl Iterator<Item = (String, usize)>, width_limit: usize) -> String {
    let mut line = String::new();
    let mut target = 0;
    for (cell, columns) in cells {
        let missing = usize::saturating_sub(target, width(&line));
        line.extend(std::iter::repeat_n(' ', missing));
        line.push_str(&escape_to(&cell, columns));
        target += columns + GAP;
    }
    match width(&line) > width_limit {
        true => escape_to(&line, width_limit).into_owned(),
        false => line,
    }
}
