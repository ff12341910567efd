//! `pstree`: who awaits whom, as a tree; cycles are named as the deadlocks that they are.

use std::collections::HashSet;
use std::io;

use asyncspy_model::{LoopId, Snapshot, TaskId, TaskInfo, TaskState};

use super::await_graph::{AwaitGraph, Cycle};
use super::branches::{Branch, Shape};
use super::escape::{escape_to, width};
use super::likeness::name_pattern;
use super::loop_text::write_heading;
use super::place::frame;
use super::process_text::{TasksById, write_incomplete, write_process};
use super::style::{LineWriter, Role, Style};
use super::task_rows::{state_text, wait_text};
use super::units::counted;

/// How the tree is made.
#[derive(Clone, Debug)]
pub struct TaskTreeOptions {
    /// The target's command line, unescaped; empty when unknown.
    pub command: String,
    /// True to write each of many equal branches.
    pub all: bool,
    /// Columns of the terminal; no line of the tree is wider.
    pub width: usize,
    /// How it looks.
    pub style: Style,
}

/// Writes the tree of each loop: a task stands above those that it waits for, with its
/// coroutines, outermost first. A task that several wait for is written once in full.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_task_tree(
    out: &mut dyn io::Write,
    snapshot: &Snapshot,
    options: &TaskTreeOptions,
) -> io::Result<()> {
    let mut lines = LineWriter::new(out, options.style, options.width);
    let graph = AwaitGraph::build(&snapshot.tasks);
    let tasks = TasksById::new(snapshot);
    write_process(&mut lines, snapshot, &options.command)?;
    write_deadlocks(&mut lines, snapshot, &graph, &tasks)?;
    if snapshot.tasks.is_empty() {
        lines.plain("no task was found")?;
    }
    let mut tree = TreeWriter {
        lines,
        snapshot,
        shape: Shape::new(&snapshot.tasks, &graph, options.all),
        graph: &graph,
        tasks: &tasks,
        progress: vec![Progress::New; snapshot.tasks.len()],
        folded: false,
    };
    for loop_info in &snapshot.loops {
        tree.lines.line("")?;
        write_heading(&mut tree.lines, snapshot, &tasks, loop_info)?;
        tree.write_roots(loop_info.id)?;
    }
    for id in stray_loops(snapshot) {
        tree.lines.line("")?;
        let text = format!("tasks of loop {id}, which could not be read");
        tree.lines.painted(Role::Warning, &text)?;
        tree.write_roots(id)?;
    }
    if tree.folded {
        tree.lines.line("")?;
        let text = "equal branches are written once; --all writes each";
        tree.lines.painted(Role::Faint, text)?;
    }
    write_incomplete(&mut tree.lines, snapshot)
}

/// Loops that tasks belong to and that the snapshot does not list, each once.
fn stray_loops(snapshot: &Snapshot) -> Vec<LoopId> {
    let mut seen: HashSet<LoopId> = snapshot.loops.iter().map(|info| info.id).collect();
    let ids = snapshot.tasks.iter().map(|task| task.loop_id);
    ids.filter(|id| seen.insert(*id)).collect()
}

/// Tasks of a cycle that are named; of a longer one the middle is left out.
const MAX_NAMED: usize = 8;

fn write_deadlocks(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    graph: &AwaitGraph,
    tasks: &TasksById<'_>,
) -> io::Result<()> {
    for cycle in graph.cycles() {
        let text = deadlock_text(&snapshot.tasks, cycle, tasks);
        // Not cut to the width: this line is why somebody called.
        lines.line(&lines.style.paint(Role::Alert, &text))?;
    }
    Ok(())
}

/// `deadlock: A → B → A`.
fn deadlock_text(tasks: &[TaskInfo], cycle: &Cycle, by_id: &TasksById<'_>) -> String {
    let path = &cycle.path;
    let is_proven =
        |index: &usize| tasks[*index].state == TaskState::Waiting && !tasks[*index].torn;
    let title = match path.iter().all(is_proven) {
        true => "deadlock",
        false => "possible deadlock, read while it changed",
    };
    let name = |index: &usize| escape_to(&by_id.label(&tasks[*index]), 48).into_owned();
    let mut names: Vec<String> = path.iter().take(MAX_NAMED).map(name).collect();
    if path.len() > MAX_NAMED {
        names.push(format!("… {} more …", path.len() - MAX_NAMED));
    }
    names.extend(path.first().map(name));
    let others = match cycle.members - path.len() {
        0 => String::new(),
        others => format!(
            " ({} in further cycles with these)",
            counted(others as u64, "task")
        ),
    };
    format!("{title}: {}{others}", names.join(" → "))
}

/// How far a task has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    New,
    /// What is being written stands below it.
    Open,
    Done,
}

/// One level of the tree that is being written.
struct Level {
    branches: std::vec::IntoIter<Branch>,
    /// Length of the indentation in front of these branches.
    indent: usize,
    /// The task that they belong to; `None` for the roots.
    parent: Option<usize>,
}

struct TreeWriter<'a> {
    lines: LineWriter<'a>,
    snapshot: &'a Snapshot,
    shape: Shape,
    graph: &'a AwaitGraph,
    tasks: &'a TasksById<'a>,
    progress: Vec<Progress>,
    /// True once a fold has been written.
    folded: bool,
}

impl TreeWriter<'_> {
    fn write_roots(&mut self, loop_id: LoopId) -> io::Result<()> {
        let tasks = &self.snapshot.tasks;
        let is_here = |index: &usize| tasks[*index].loop_id == loop_id;
        let roots: Vec<usize> = self.graph.roots().iter().copied().filter(is_here).collect();
        let mut indent = String::new();
        let mut levels = vec![self.level(&roots, &indent, None)];
        while let Some(level) = levels.last_mut() {
            indent.truncate(level.indent);
            let Some(branch) = level.branches.next() else {
                let parent = level.parent;
                levels.pop();
                if let Some(parent) = parent {
                    self.progress[parent] = Progress::Done;
                }
                continue;
            };
            let is_last = level.branches.len() == 0;
            let depth = levels.len() - 1;
            if !self.write_branch(&branch, &mut indent, depth, is_last)? {
                continue;
            }
            let children = self.graph.children(branch.task);
            levels.push(self.level(children, &indent, Some(branch.task)));
        }
        Ok(())
    }

    fn level(&self, siblings: &[usize], indent: &str, parent: Option<usize>) -> Level {
        Level {
            branches: self.shape.branches(siblings).into_iter(),
            indent: indent.len(),
            parent,
        }
    }

    /// Writes a task with its frames and makes `indent` that of its children; false if it was
    /// written before and only referred to.
    fn write_branch(
        &mut self,
        branch: &Branch,
        indent: &mut String,
        depth: usize,
        is_last: bool,
    ) -> io::Result<bool> {
        let fits = width(indent) + STEP <= self.lines.width / 2;
        let corner = match (depth, is_last) {
            (0, _) => "",
            (_, true) => "└── ",
            (_, false) => "├── ",
        };
        let level = if fits || depth == 0 {
            String::new()
        } else {
            format!("[depth {depth}] ")
        };
        let front = format!("{indent}{corner}{level}");
        if depth > 0 && fits {
            indent.push_str(if is_last { "    " } else { "│   " });
        }
        let note = match self.progress[branch.task] {
            Progress::New => "",
            Progress::Open => "closes the cycle, see deadlock",
            Progress::Done => "shown above",
        };
        self.write_title(branch, &front, note)?;
        if !note.is_empty() {
            return Ok(false);
        }
        self.progress[branch.task] = Progress::Open;
        self.write_frames(branch.task, indent)?;
        Ok(true)
    }

    fn write_title(&mut self, branch: &Branch, front: &str, note: &str) -> io::Result<()> {
        let task = &self.snapshot.tasks[branch.task];
        let room = self.lines.width.saturating_sub(width(front));
        let name = escape_to(&self.name(branch), room / 2).into_owned();
        let text = match note {
            "" => format!("{name}  {}{}", self.state(task), self.unlisted(task)),
            note => format!("{name}  {note}"),
        };
        let text = escape_to(&text, room);
        let shown = self.lines.style.paint(title_role(task), &text);
        self.folded |= !branch.equal.is_empty();
        self.lines
            .line(&format!("{}{shown}", escape_to(front, self.lines.width)))
    }

    fn name(&self, branch: &Branch) -> String {
        let tasks = &self.snapshot.tasks;
        match &*branch.equal {
            [] => self.tasks.label(&tasks[branch.task]),
            equal => {
                let names = equal.iter().map(|index| &*tasks[*index].name);
                format!("{}x {}", equal.len(), name_pattern(names))
            }
        }
    }

    fn state(&self, task: &TaskInfo) -> String {
        match wait_text(task, self.tasks) {
            wait if wait.is_empty() => state_text(task),
            wait => format!("{}: {wait}", state_text(task)),
        }
    }

    /// Says so if the task is awaited by tasks that are not listed.
    fn unlisted(&self, task: &TaskInfo) -> String {
        let is_unlisted = |id: &&TaskId| self.tasks.get(**id).is_none();
        match task.awaited_by.iter().filter(is_unlisted).count() {
            0 => String::new(),
            count => format!(", awaited by {} not listed", counted(count as u64, "task")),
        }
    }

    /// Writes the coroutines, then a running task's ordinary frames, outermost first; recursion
    /// of one line as a count.
    fn write_frames(&mut self, index: usize, indent: &str) -> io::Result<()> {
        let task = &self.snapshot.tasks[index];
        let bar = if self.graph.children(index).is_empty() {
            "    "
        } else {
            "│   "
        };
        let front = format!("{indent}{bar}");
        let room = self.lines.width.saturating_sub(width(&front));
        let outermost_first = task.coroutine_stack.iter().rev();
        let mut frames = outermost_first
            .chain(task.sync_stack.iter().rev())
            .peekable();
        while let Some(location) = frames.next() {
            let mut more = 0_u64;
            while frames.next_if_eq(&location).is_some() {
                more += 1;
            }
            let times = if more == 0 {
                String::new()
            } else {
                format!(" and {more} more")
            };
            let text = format!(
                "{}{times}",
                frame(location, room.saturating_sub(times.len()))
            );
            self.lines.plain(&format!("{front}{text}"))?;
        }
        Ok(())
    }
}

/// Columns that a level is indented by.
const STEP: usize = 4;

const fn title_role(task: &TaskInfo) -> Role {
    match task.state {
        TaskState::Running => Role::Active,
        _ if task.torn => Role::Warning,
        _ => Role::Heading,
    }
}
