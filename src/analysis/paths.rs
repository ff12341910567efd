//! The path of what held a loop: process, thread, loop, tasks, frames.

use std::sync::Arc;

use asyncspy_model::sample::{LoopDefinition, Session};
use asyncspy_model::{FrameKind, StackId, TaskIndex};
use rustc_hash::FxHashMap;

use super::definitions::Definitions;
use super::tree::{Label, LabelNumber, NodeId, Tree};

/// How many paths are remembered to spare the walk from the root, at some 25 bytes each; forgotten
/// all at once.
const MAX_CACHED: usize = 50_000;
/// How many stacks are remembered as labels of the tree; forgotten all at once.
const MAX_STACKS: usize = 8192;

/// Stands above the proven part of a stack whose inner part could not be read.
const TORN: &str = "(torn)";

/// What a loop is to the tree: its outermost labels.
#[derive(Clone, Debug)]
pub(super) struct LoopPath {
    /// Number of the loop in this analysis, never reused.
    pub serial: u32,
    name: Arc<str>,
    labels: Arc<[Label]>,
}

impl LoopPath {
    /// The path of a loop of this process.
    pub fn new(serial: u32, session: Option<&Session>, definition: &LoopDefinition) -> Self {
        Self {
            serial,
            name: format!("{} {}", definition.thread_name, definition.class).into(),
            labels: loop_labels(
                session.map_or(0, |session| session.pid),
                &definition.thread_name,
                &definition.class,
            ),
        }
    }

    /// What a person calls it.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Its labels, outermost first.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }
}

/// Process, thread and loop.
pub(super) fn loop_labels(pid: i32, thread_name: &Arc<str>, class: &Arc<str>) -> Arc<[Label]> {
    Arc::new([
        Label::plain(&format!("python {pid}").into()),
        Label::plain(thread_name),
        Label::plain(class),
    ])
}

/// Where a task's path begins, the number of its loop, and the task.
type TaskKey = (NodeId, u32, Option<TaskIndex>);
/// The task's path, the stack, and whether it is torn.
type StackKey = (NodeId, Option<StackId>, bool);

/// Finds paths in a tree without walking from its root each time.
#[derive(Debug, Default)]
pub(super) struct PathCache {
    tasks: FxHashMap<TaskKey, NodeId>,
    stacks: FxHashMap<StackKey, NodeId>,
    /// What was asked for last, which mostly is asked for again.
    last: Option<(TaskKey, Option<StackId>, bool, NodeId)>,
    frames: FxHashMap<StackId, Arc<[LabelNumber]>>,
}

/// What ran, with the outermost labels that it gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running<'a> {
    pub loop_path: &'a LoopPath,
    pub task: Option<TaskIndex>,
    pub stack: Option<StackId>,
    pub torn: bool,
}

impl PathCache {
    /// The path of what ran, below `root`.
    pub fn find(
        &mut self,
        tree: &mut Tree,
        root: NodeId,
        running: Running,
        definitions: &Definitions,
    ) -> NodeId {
        let task_key = (root, running.loop_path.serial, running.task);
        if let Some((last_task, stack, torn, path)) = self.last
            && (last_task, stack, torn) == (task_key, running.stack, running.torn)
        {
            return path;
        }
        if self.tasks.len() + self.stacks.len() > MAX_CACHED {
            self.tasks.clear();
            self.stacks.clear();
        }
        let path = self.look_up(tree, task_key, &running, definitions);
        self.last = Some((task_key, running.stack, running.torn, path));
        path
    }

    fn look_up(
        &mut self,
        tree: &mut Tree,
        task_key: TaskKey,
        running: &Running,
        definitions: &Definitions,
    ) -> NodeId {
        let task = *self.tasks.entry(task_key).or_insert_with(|| {
            let parent = tree.descend(task_key.0, running.loop_path.labels());
            add_task(tree, parent, running.task, definitions)
        });
        let stack_key = (task, running.stack, running.torn);
        if let Some(path) = self.stacks.get(&stack_key) {
            return *path;
        }
        let path = self.add_frames(tree, task, running, definitions);
        self.stacks.insert(stack_key, path);
        path
    }

    /// The path over a stack's frames, outermost first, without the loop's machinery.
    fn add_frames(
        &mut self,
        tree: &mut Tree,
        task: NodeId,
        running: &Running,
        definitions: &Definitions,
    ) -> NodeId {
        let mut path = task;
        if let Some(stack) = running.stack {
            if self.frames.len() > MAX_STACKS {
                self.frames.clear();
            }
            let frames = self.frames.entry(stack).or_insert_with(|| {
                let outermost_first = definitions.frames(Some(stack)).iter().rev();
                let shown = outermost_first.filter(|frame| frame.kind != FrameKind::Machinery);
                shown
                    .map(|frame| tree.number(&Label::code(frame)))
                    .collect()
            });
            for frame in frames.iter() {
                path = tree.numbered_child(path, *frame);
            }
        }
        if running.torn {
            path = tree.child(path, &Label::plain(&TORN.into()));
        }
        path
    }
}

/// The path over a task's awaiters, outermost first, and the task itself.
fn add_task(
    tree: &mut Tree,
    parent: NodeId,
    task: Option<TaskIndex>,
    definitions: &Definitions,
) -> NodeId {
    let Some(task) = definitions.task(task) else {
        return parent;
    };
    let outermost_first = task.awaiters.iter().rev().chain([&task.label]);
    outermost_first.fold(parent, |parent, label| {
        tree.child(parent, &Label::plain(label))
    })
}
