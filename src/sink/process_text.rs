//! What every text output of a snapshot says of the process: its first and its last lines.

use std::collections::HashMap;
use std::io;

use asyncspy_model::{FaultKind, Snapshot, TaskId, TaskInfo};

use super::escape::{escape, escape_to};
use super::short_id;
use super::style::{LineWriter, Role};
use super::units::{counted, duration};

/// The tasks of a snapshot by id; of two with one id the first.
pub(super) struct TasksById<'a> {
    by_id: HashMap<TaskId, &'a TaskInfo>,
    /// How often a name is used.
    uses: HashMap<&'a str, usize>,
    id_digits: usize,
}

impl<'a> TasksById<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let mut by_id = HashMap::with_capacity(snapshot.tasks.len());
        let mut uses = HashMap::new();
        for task in &snapshot.tasks {
            by_id.entry(task.id).or_insert(task);
            *uses.entry(&*task.name).or_insert(0) += 1;
        }
        Self {
            by_id,
            uses,
            id_digits: short_id::digits(snapshot),
        }
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&'a TaskInfo> {
        self.by_id.get(&id).copied()
    }

    /// The task's name, escaped; with the end of its id where others have the same name.
    pub(super) fn label(&self, task: &TaskInfo) -> String {
        let name = escape_to(&task.name, 60);
        match self.uses.get(&*task.name) {
            Some(2..) => format!("{name} ({})", short_id::text(task.id, self.id_digits)),
            _ => name.into_owned(),
        }
    }

    /// The label of the task with this id; the id itself if it is not listed.
    pub(super) fn name(&self, id: TaskId) -> String {
        match self.get(id) {
            Some(task) => self.label(task),
            None => format!("{id} (not listed)"),
        }
    }
}

/// Writes pid, Python, numbers of tasks and loops, and the command line where it is known.
pub(super) fn write_process(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    command: &str,
) -> io::Result<()> {
    let text = format!(
        "pid {}, Python {}, {} on {}, read in {}",
        snapshot.pid,
        escape(&snapshot.python),
        counted(snapshot.tasks.len() as u64, "task"),
        counted(snapshot.loops.len() as u64, "loop"),
        duration(snapshot.elapsed_ns),
    );
    lines.painted(Role::Heading, &text)?;
    if !command.is_empty() {
        lines.painted(Role::Faint, &escape_to(command, lines.width))?;
    }
    Ok(())
}

/// Writes what the snapshot lacks, a line for each kind of fault, nothing if it is complete.
///
/// Comes last in every output, so that the end of a long table is never taken for the whole. Not
/// cut to the width: what is lacking must not itself be lacking.
pub(super) fn write_incomplete(lines: &mut LineWriter<'_>, snapshot: &Snapshot) -> io::Result<()> {
    let mut spoiling = snapshot
        .faults
        .0
        .iter()
        .filter(|(kind, _)| kind.spoils())
        .peekable();
    if spoiling.peek().is_none() && !snapshot.complete {
        let text = "incomplete: tasks may be missing, the reason was not recorded";
        return lines.line(&lines.style.paint(Role::Warning, text));
    }
    for (kind, count) in spoiling {
        let text = format!(
            "incomplete: {} ({} {count})",
            fault_text(*kind, *count),
            word(*kind)
        );
        lines.line(&lines.style.paint(Role::Warning, &text))?;
    }
    Ok(())
}

fn fault_text(kind: FaultKind, count: u64) -> String {
    match count {
        0 | 1 => kind.describe().to_owned(),
        _ => format!("{count} {}", kind.describe()),
    }
}

/// The name that the JSON form uses.
fn word(kind: FaultKind) -> String {
    serde_json::to_string(&kind).map_or_else(|_| format!("{kind:?}"), |text| text.replace('"', ""))
}
