//! The rows of the tree of tasks: the await graph depth first, equal tasks folded.

use std::collections::HashMap;
use std::sync::Arc;

use asyncspy_model::{AwaitGraph, Snapshot, TaskInfo};

use super::identity_of;

/// From this many on equal tasks are folded.
const FOLDED: usize = 3;

/// A task, or several equal ones that await no other task.
pub(crate) struct Row {
    /// Indices into the census; never empty.
    pub(crate) tasks: Vec<usize>,
    /// The row of the task that awaits it.
    pub(crate) parent: Option<u32>,
    pub(crate) depth: u32,
    /// True for the last below its parent.
    pub(crate) last: bool,
    /// True if the task stands further up already, with what it awaits.
    pub(crate) again: bool,
}

/// Makes the rows: goes through the graph depth first, each task once.
pub(crate) struct Walk<'a> {
    snapshot: &'a Snapshot,
    graph: &'a AwaitGraph,
    folding: bool,
    seen: Vec<bool>,
    rows: Vec<Row>,
    /// Rows to be added, the next one last. A stack of our own: chains may be long.
    pending: Vec<Row>,
}

impl<'a> Walk<'a> {
    /// At the beginning.
    pub(crate) fn new(snapshot: &'a Snapshot, graph: &'a AwaitGraph, folding: bool) -> Self {
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

    /// The rows in the order of the tree.
    pub(crate) fn run(mut self) -> Vec<Row> {
        let graph = self.graph;
        // Of each circle one task stands before all others.
        for circle in graph.cycles() {
            self.descend_from(circle.path.first().copied());
        }
        self.descend_from(graph.roots().iter().copied());
        self.rows
    }

    /// Adds those that do not stand in the tree yet, with all that they await.
    fn descend_from(&mut self, roots: impl IntoIterator<Item = usize>) {
        let seen = &self.seen;
        let roots: Vec<usize> = roots.into_iter().filter(|task| !seen[*task]).collect();
        self.push_pending(&roots, None, 0);
        while let Some(mut row) = self.pending.pop() {
            let first = row.tasks.first().copied().unwrap_or(0);
            row.again = self.seen[first];
            for task in &row.tasks {
                self.seen[*task] = true;
            }
            let index = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            let (descend, depth) = (!row.again && row.tasks.len() == 1, row.depth + 1);
            self.rows.push(row);
            if descend {
                let graph = self.graph;
                self.push_pending(graph.children(first), Some(index), depth);
            }
        }
    }

    /// Puts siblings on the stack, equal ones folded, the first one on top.
    fn push_pending(&mut self, tasks: &[usize], parent: Option<u32>, depth: u32) {
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
    fn fold(&self, tasks: &[usize]) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut positions: HashMap<u64, usize> = HashMap::new();
        for &task in tasks {
            let foldable = self.folding && self.graph.children(task).is_empty() && !self.seen[task];
            if !foldable {
                groups.push(vec![task]);
                continue;
            }
            let key = likeness(&self.snapshot.tasks[task]);
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

/// The outermost coroutine's name: what equal tasks share where their names differ.
pub(crate) fn kind_of(task: &TaskInfo) -> Arc<str> {
    task.coroutine_stack
        .last()
        .map_or_else(|| task.label(), |outermost| outermost.function.clone())
}

/// What equal tasks have in common.
pub(crate) fn likeness(task: &TaskInfo) -> u64 {
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
