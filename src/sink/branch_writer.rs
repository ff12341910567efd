//! The branches of the await tree, drawn one below the other.

use std::io;

use asyncspy_model::{AwaitGraph, LoopId, Snapshot, TaskId, TaskInfo, TaskState};

use super::branches::{Branch, Shape};
use super::escape::{escape_to, width};
use super::likeness::name_pattern;
use super::place::frame;
use super::process_text::TasksById;
use super::style::{LineWriter, Role};
use super::task_rows::{state_text, wait_text};
use super::units::counted;

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

/// Writes the branches of the trees, remembering what has been written.
pub(super) struct TreeWriter<'a> {
    pub(super) lines: LineWriter<'a>,
    snapshot: &'a Snapshot,
    shape: Shape,
    graph: &'a AwaitGraph,
    tasks: &'a TasksById<'a>,
    progress: Vec<Progress>,
    /// True once a fold has been written.
    pub(super) folded: bool,
}

impl<'a> TreeWriter<'a> {
    pub(super) fn new(
        lines: LineWriter<'a>,
        snapshot: &'a Snapshot,
        graph: &'a AwaitGraph,
        tasks: &'a TasksById<'a>,
        all: bool,
    ) -> Self {
        Self {
            lines,
            snapshot,
            shape: Shape::new(&snapshot.tasks, graph, all),
            graph,
            tasks,
            progress: vec![Progress::New; snapshot.tasks.len()],
            folded: false,
        }
    }

    /// Writes the trees whose root belongs to a loop. Iterative: the target decides how deep a
    /// tree is.
    pub(super) fn write_roots(&mut self, loop_id: LoopId) -> io::Result<()> {
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
        let front = self.step_in(indent, depth, is_last);
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

    /// What stands in front of a task. Makes `indent` that of its children, up to half the width:
    /// deeper levels stand below each other and name their depth.
    fn step_in(&self, indent: &mut String, depth: usize, is_last: bool) -> String {
        if depth == 0 {
            return String::new();
        }
        let (corner, below) = if is_last {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        if width(indent) + STEP > self.lines.width / 2 {
            return format!("{indent}{corner}[depth {depth}] ");
        }
        let front = format!("{indent}{corner}");
        indent.push_str(below);
        front
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
