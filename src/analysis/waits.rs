//! How long tasks waited, by what awaits what.

use std::sync::Arc;

use asyncspy_model::{FrameKind, LoopId, Snapshot, StackFrame, TaskId, TaskInfo, TaskState};
use rustc_hash::FxHashMap;

use super::loop_time::{Profile, add_stacks};
use super::paths::loop_labels;
use super::tree::{Label, NodeId, Tree};

/// How many awaiters are followed outwards from a task.
const MAX_AWAITERS: usize = 64;

/// Time that tasks spent waiting, summed over tasks.
///
/// A census stands for half of the time to each of its neighbours. A task that two censuses in a
/// row show at the same place so gets all the time between them, and tasks that live for less
/// are right on average.
#[derive(Debug, Default)]
pub(super) struct Waits {
    tree: Tree,
    /// When the last census was, and the path of each task that waited.
    last: Option<(u64, Vec<NodeId>)>,
}

impl Waits {
    /// Takes over a census.
    pub fn add_census(&mut self, snapshot: &Snapshot) {
        let at = snapshot.began_monotonic_ns;
        let census = Census::new(snapshot);
        let waiting = snapshot
            .tasks
            .iter()
            .filter(|task| task.state == TaskState::Waiting);
        let paths: Vec<NodeId> = waiting
            .map(|task| census.path(&mut self.tree, task))
            .collect();
        if let Some((before, previous)) = &self.last {
            let half_ns = at.saturating_sub(*before) / 2;
            for path in previous.iter().chain(&paths) {
                self.tree.add(*path, half_ns);
            }
        }
        self.last = Some((at, paths));
    }

    /// Forgets all time.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All waits, each with its time.
    pub fn profile(&self) -> Profile {
        let mut profile = Profile::default();
        add_stacks(&mut profile, &self.tree, &[]);
        profile
    }
}

/// A census with its tasks and loops by their ids.
struct Census<'a> {
    tasks: FxHashMap<TaskId, &'a TaskInfo>,
    loops: FxHashMap<LoopId, Arc<[Label]>>,
}

impl<'a> Census<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let labels = |class: &Arc<str>, tid: Option<i32>| {
            let thread = snapshot
                .threads
                .iter()
                .find(|thread| Some(thread.tid) == tid);
            let name =
                thread.map_or_else(|| "(no thread)".into(), |thread| Arc::clone(&thread.name));
            loop_labels(snapshot.pid, &name, class)
        };
        let loops = snapshot.loops.iter();
        Self {
            tasks: snapshot.tasks.iter().map(|task| (task.id, task)).collect(),
            loops: loops
                .map(|info| (info.id, labels(&info.class, info.tid)))
                .collect(),
        }
    }

    /// Process, thread, loop, the tasks that wait for it from the outermost on, the task, its
    /// coroutines from the outermost on, and the call that it waits in.
    fn path(&self, tree: &mut Tree, task: &TaskInfo) -> NodeId {
        let loop_labels = self
            .loops
            .get(&task.loop_id)
            .map_or(&[][..], |labels| labels);
        let mut node = tree.descend(NodeId::ROOT, loop_labels);
        for awaiter in self.awaiters(task).iter().rev() {
            node = tree.child(node, &Label::plain(&awaiter.label()));
        }
        node = tree.child(node, &Label::plain(&task.label()));
        for location in task.coroutine_stack.iter().rev() {
            let frame = StackFrame {
                location: location.clone(),
                kind: FrameKind::Coroutine,
            };
            node = tree.child(node, &Label::code(&frame));
        }
        match &task.waits_on {
            Some(wait) => tree.child(node, &Label::plain(&wait.kind)),
            None => node,
        }
    }

    /// The first awaiter of the task, that one's first awaiter, and so on.
    fn awaiters(&self, task: &TaskInfo) -> Vec<&'a TaskInfo> {
        let mut awaiters: Vec<&TaskInfo> = Vec::new();
        let mut next = self.first_awaiter(task);
        while let Some(awaiter) = next {
            let is_cycle =
                awaiter.id == task.id || awaiters.iter().any(|known| known.id == awaiter.id);
            if is_cycle || awaiters.len() >= MAX_AWAITERS {
                break;
            }
            awaiters.push(awaiter);
            next = self.first_awaiter(awaiter);
        }
        awaiters
    }

    fn first_awaiter(&self, task: &TaskInfo) -> Option<&'a TaskInfo> {
        let mut listed = task.awaited_by.iter().filter_map(|id| self.tasks.get(id));
        listed.next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{MS, path_text, snapshot, task_id, task_info, waiting};

    /// (path, seconds) of every wait.
    fn waits(censuses: &[(u64, Vec<TaskInfo>)]) -> Vec<(String, u64)> {
        let mut waits = Waits::default();
        for (at_ms, tasks) in censuses {
            waits.add_census(&snapshot(*at_ms, tasks.clone()));
        }
        let stacks = waits.profile().stacks;
        let mut rows: Vec<_> = stacks
            .iter()
            .map(|(path, ns)| (path_text(path), ns / MS))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn waiting_tasks_add_up_by_who_awaits_them() {
        let server = waiting(task_info(1, "server"), "gather");
        let awaited = |id, name| {
            let mut task = waiting(task_info(id, name), "sleep");
            task.awaited_by = vec![task_id(1)];
            task
        };
        let all = vec![server, awaited(2, "fetch"), awaited(3, "fetch")];
        assert_eq!(
            waits(&[(1_000, all.clone()), (2_000, all.clone()), (4_000, all)]),
            [
                (
                    "python 42 > main > Loop > server > fetch > fetch:7 > sleep".into(),
                    6_000
                ),
                (
                    "python 42 > main > Loop > server > server:7 > gather".into(),
                    3_000
                ),
            ]
        );
    }

    #[test]
    fn a_task_that_moves_on_shares_the_time() {
        let path = |kind: &str| format!("python 42 > main > Loop > job > job:7 > {kind}");
        let at = |kind| vec![waiting(task_info(1, "job"), kind)];
        assert_eq!(
            waits(&[
                (0, at("sleep")),
                (1_000, at("Lock.acquire")),
                (2_000, vec![])
            ]),
            [(path("Lock.acquire"), 1_000), (path("sleep"), 500)]
        );
        assert_eq!(waits(&[(0, at("sleep"))]), []);
        assert_eq!(
            waits(&[(0, vec![task_info(1, "job")]), (1_000, vec![])]),
            []
        );
    }

    #[test]
    fn tasks_that_wait_for_each_other_end_the_chain() {
        let of = |id, name, awaiter| {
            let mut task = waiting(task_info(id, name), "task");
            task.awaited_by = vec![task_id(awaiter)];
            task
        };
        let tasks = vec![of(1, "a", 2), of(2, "b", 1)];
        let rows = waits(&[(0, tasks.clone()), (1_000, tasks)]);
        assert_eq!(rows[0].0, "python 42 > main > Loop > a > b > b:7 > task");
        assert_eq!(rows[1].0, "python 42 > main > Loop > b > a > a:7 > task");
    }
}
