//! `pstree`: who awaits whom, as a tree; cycles are named as the deadlocks that they are.

use std::collections::HashSet;
use std::io;

use asyncspy_model::{AwaitGraph, Cycle, LoopId, Snapshot, TaskInfo, TaskState};

use super::branch_writer::TreeWriter;
use super::escape::escape_to;
use super::loop_text::write_heading;
use super::process_text::{TasksById, write_incomplete, write_process};
use super::style::{LineWriter, Role, Style};
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
    let mut tree = TreeWriter::new(lines, snapshot, &graph, &tasks, options.all);
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
