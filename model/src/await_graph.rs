//! Who awaits whom: the tasks of a snapshot as a graph, from what each task waits for and who
//! waits for it, since either side of an edge may be missing.
//!
//! Tasks are named by their position in the snapshot. Nothing here recurses: the target decides
//! how deep the graph is.

mod knots;

use std::collections::{HashMap, HashSet};

use crate::{TaskId, TaskInfo};
use knots::{components, shortest_cycle};

/// The graph: an edge leads from a task to one that it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwaitGraph {
    children: Vec<Vec<usize>>,
    awaiters: Vec<usize>,
    roots: Vec<usize>,
    cycles: Vec<Cycle>,
    bottom_up: Vec<usize>,
    in_cycle: Vec<bool>,
}

/// Tasks that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// One shortest way around, beginning at the task that comes first in the snapshot; the last
    /// of them waits for the first.
    pub path: Vec<usize>,
    /// All tasks that lie on some cycle with these.
    pub members: usize,
}

impl AwaitGraph {
    /// Builds the graph. Awaiters that are not among `tasks` are left out.
    #[must_use]
    pub fn build(tasks: &[TaskInfo]) -> Self {
        let (children, awaiters) = edges(tasks);
        let components = components(&children);
        let mut graph = Self {
            roots: Vec::new(),
            cycles: Vec::new(),
            bottom_up: components.concat(),
            in_cycle: vec![false; tasks.len()],
            children,
            awaiters,
        };
        for component in &components {
            graph.add_component(component);
        }
        graph.roots.sort_unstable();
        graph.cycles.sort_by_key(|cycle| cycle.path[0]);
        graph
    }

    /// Tasks that nobody awaits, and of each cycle that nobody else awaits the first task; in the
    /// order of the snapshot. Every task can be reached from them.
    #[must_use]
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The tasks that a task waits for, in the order of the snapshot.
    #[must_use]
    pub fn children(&self, task: usize) -> &[usize] {
        self.children.get(task).map_or(&[], Vec::as_slice)
    }

    /// How many listed tasks wait for a task.
    #[must_use]
    pub fn awaiters(&self, task: usize) -> usize {
        self.awaiters.get(task).copied().unwrap_or(0)
    }

    /// Deadlocks: tasks that wait for each other, a cycle for each knot of them.
    #[must_use]
    pub fn cycles(&self) -> &[Cycle] {
        &self.cycles
    }

    /// True if the task waits for itself, over others or directly.
    #[must_use]
    pub fn in_cycle(&self, task: usize) -> bool {
        self.in_cycle.get(task).copied().unwrap_or(false)
    }

    /// How many tasks wait for themselves, over others or directly.
    #[must_use]
    pub fn in_cycles(&self) -> usize {
        self.in_cycle.iter().filter(|in_cycle| **in_cycle).count()
    }

    /// All tasks, each after those that it waits for, as far as cycles allow that.
    #[must_use]
    pub fn bottom_up(&self) -> &[usize] {
        &self.bottom_up
    }

    fn add_component(&mut self, component: &[usize]) {
        let Some(&first) = component.iter().min() else {
            return;
        };
        let is_cycle = component.len() > 1 || self.children[first].contains(&first);
        if !is_cycle {
            if self.awaiters[first] == 0 {
                self.roots.push(first);
            }
            return;
        }
        for &task in component {
            self.in_cycle[task] = true;
        }
        let inside: HashSet<usize> = component.iter().copied().collect();
        let is_inside = |task: &usize| inside.contains(task);
        let awaited_inside: usize = component
            .iter()
            .map(|&task| {
                self.children[task]
                    .iter()
                    .filter(|child| is_inside(child))
                    .count()
            })
            .sum();
        let awaited: usize = component.iter().map(|&task| self.awaiters[task]).sum();
        if awaited == awaited_inside {
            self.roots.push(first);
        }
        self.cycles.push(Cycle {
            path: shortest_cycle(&self.children, first, is_inside),
            members: component.len(),
        });
    }
}

/// Children of each task, and how many tasks wait for it.
fn edges(tasks: &[TaskInfo]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut index_of: HashMap<TaskId, usize> = HashMap::with_capacity(tasks.len());
    for (index, task) in tasks.iter().enumerate() {
        index_of.entry(task.id).or_insert(index);
    }
    let mut children = vec![Vec::new(); tasks.len()];
    for (index, task) in tasks.iter().enumerate() {
        for awaiter in task.awaited_by.iter().filter_map(|id| index_of.get(id)) {
            children[*awaiter].push(index);
        }
        let awaited = task.waits_on.iter().flat_map(|wait| &wait.tasks);
        children[index].extend(awaited.filter_map(|id| index_of.get(id)));
    }
    let mut awaiters = vec![0; tasks.len()];
    for children in &mut children {
        children.sort_unstable();
        children.dedup();
        for child in children.iter() {
            awaiters[*child] += 1;
        }
    }
    (children, awaiters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{LoopId, RemoteAddr, TaskState, WaitsOn};

    fn task_id(number: u64) -> TaskId {
        TaskId(RemoteAddr(number))
    }

    fn task(number: u64) -> TaskInfo {
        TaskInfo {
            id: task_id(number),
            name: "t".into(),
            class: "Task".into(),
            loop_id: LoopId(RemoteAddr(1)),
            state: TaskState::Waiting,
            cancelling: false,
            coroutine_stack: [].into(),
            sync_stack: [].into(),
            awaited_by: Vec::new(),
            waits_on: None,
            torn: false,
        }
    }

    /// Tasks from (task, those who await it) pairs; tasks are numbered from 0.
    fn graph(awaited_by: &[&[u64]]) -> AwaitGraph {
        let tasks: Vec<TaskInfo> = (0_u64..)
            .zip(awaited_by)
            .map(|(number, awaiters)| TaskInfo {
                awaited_by: awaiters.iter().map(|awaiter| task_id(*awaiter)).collect(),
                ..task(number)
            })
            .collect();
        AwaitGraph::build(&tasks)
    }

    fn paths(graph: &AwaitGraph) -> Vec<Vec<usize>> {
        graph
            .cycles()
            .iter()
            .map(|cycle| cycle.path.clone())
            .collect()
    }

    #[test]
    fn roots_are_awaited_by_nobody_that_is_listed() {
        let graph = graph(&[&[], &[0, 0], &[0, 1], &[99]]);
        assert_eq!(graph.roots(), [0, 3]);
        assert_eq!(graph.children(0), [1, 2]);
        assert_eq!((graph.awaiters(1), graph.awaiters(2)), (1, 2));
        assert!(graph.cycles().is_empty());
    }

    #[test]
    fn an_edge_that_both_ends_tell_is_one() {
        let mut parent = task(0);
        parent.waits_on = Some(WaitsOn {
            kind: "gather".into(),
            leaf: "_GatheringFuture".into(),
            tasks: vec![task_id(2), task_id(1), task_id(99)],
            detail: None,
        });
        let mut child = task(1);
        child.awaited_by = vec![task_id(0), task_id(0)];
        let graph = AwaitGraph::build(&[parent, child, task(2)]);
        assert_eq!(graph.children(0), [1, 2]);
        assert_eq!((graph.roots(), graph.awaiters(1)), (&[0][..], 1));
        assert_eq!(graph.in_cycles(), 0);
    }

    #[test]
    fn cycles_are_found_with_and_without_awaiters() {
        let lone = graph(&[&[1], &[0]]);
        assert_eq!((lone.roots(), paths(&lone)), (&[0][..], vec![vec![0, 1]]));
        let itself = graph(&[&[0]]);
        assert_eq!((itself.roots(), paths(&itself)), (&[0][..], vec![vec![0]]));
        let awaited = graph(&[&[], &[0, 2], &[1]]);
        assert_eq!(
            (awaited.roots(), paths(&awaited)),
            (&[0][..], vec![vec![1, 2]])
        );
        let knot = graph(&[&[2], &[0], &[1, 3], &[2]]);
        assert_eq!(paths(&knot), [[0, 1, 2]]);
        assert_eq!(knot.cycles()[0].members, 4);
    }

    #[test]
    fn a_chain_of_100_000_is_no_trouble() {
        let last = 99_999_u64;
        let tasks: Vec<TaskInfo> = (0..=last)
            .map(|number| TaskInfo {
                awaited_by: vec![task_id(if number == 0 { last } else { number - 1 })],
                ..task(number)
            })
            .collect();
        let cycle = AwaitGraph::build(&tasks);
        assert_eq!(cycle.cycles()[0].path.len(), 100_000);
        let chain = AwaitGraph::build(&tasks[..99_999]);
        assert_eq!((chain.roots(), chain.bottom_up()[0]), (&[0][..], 99_998));
    }

    proptest! {
        #[test]
        fn every_task_is_reached(edges in prop::collection::vec(prop::collection::vec(0_u64..12, 0..4), 1..12)) {
            let edges: Vec<&[u64]> = edges.iter().map(Vec::as_slice).collect();
            let graph = graph(&edges);
            let mut reached = vec![false; edges.len()];
            let mut stack = graph.roots().to_vec();
            while let Some(task) = stack.pop() {
                if !std::mem::replace(&mut reached[task], true) {
                    stack.extend(graph.children(task));
                }
            }
            prop_assert!(reached.iter().all(|reached| *reached));
            for cycle in graph.cycles() {
                for (index, task) in cycle.path.iter().enumerate() {
                    let next = cycle.path[(index + 1) % cycle.path.len()];
                    prop_assert!(graph.children(*task).contains(&next));
                }
            }
        }
    }
}
