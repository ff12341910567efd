//! Who awaits whom: the tasks of a snapshot as a graph, from each task's `awaited_by`.
//!
//! Tasks are named by their position in the snapshot. Nothing here recurses: the target decides
//! how deep the graph is.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use asyncspy_model::{TaskId, TaskInfo};

/// The graph: an edge leads from a task to one that it waits for.
pub(super) struct AwaitGraph {
    children: Vec<Vec<usize>>,
    awaiters: Vec<usize>,
    roots: Vec<usize>,
    cycles: Vec<Cycle>,
    bottom_up: Vec<usize>,
    in_cycle: Vec<bool>,
}

/// Tasks that wait for each other.
pub(super) struct Cycle {
    /// One shortest way around, beginning at the task that comes first in the snapshot; the last
    /// of them waits for the first.
    pub(super) path: Vec<usize>,
    /// All tasks that lie on some cycle with these.
    pub(super) members: usize,
}

impl AwaitGraph {
    /// Builds the graph. Awaiters that are not among `tasks` are left out.
    pub(super) fn build(tasks: &[TaskInfo]) -> Self {
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
    pub(super) fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The tasks that a task waits for, in the order of the snapshot.
    pub(super) fn children(&self, task: usize) -> &[usize] {
        &self.children[task]
    }

    /// How many listed tasks wait for a task.
    pub(super) fn awaiters(&self, task: usize) -> usize {
        self.awaiters[task]
    }

    /// Deadlocks: tasks that wait for each other, a cycle for each knot of them.
    pub(super) fn cycles(&self) -> &[Cycle] {
        &self.cycles
    }

    /// True if the task waits for itself, over others or directly.
    pub(super) fn in_cycle(&self, task: usize) -> bool {
        self.in_cycle[task]
    }

    /// All tasks, each after those that it waits for, as far as cycles allow that.
    pub(super) fn bottom_up(&self) -> &[usize] {
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
    let mut awaiters = vec![0; tasks.len()];
    for (index, task) in tasks.iter().enumerate() {
        for awaiter in task.awaited_by.iter().filter_map(|id| index_of.get(id)) {
            // An awaiter that is listed twice is one; its last child tells.
            if children[*awaiter].last() != Some(&index) {
                children[*awaiter].push(index);
                awaiters[index] += 1;
            }
        }
    }
    (children, awaiters)
}

/// Strongly connected components, each after those that it leads to (Tarjan 1972, with a stack
/// of our own instead of recursion).
fn components(children: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        children,
        number: vec![0; children.len()],
        low: vec![0; children.len()],
        waiting: vec![false; children.len()],
        pending: Vec::new(),
        next_number: 1,
        found: Vec::new(),
    };
    for start in 0..children.len() {
        if search.number[start] == 0 {
            search.run_from(start);
        }
    }
    search.found
}

struct Search<'a> {
    children: &'a [Vec<usize>],
    /// Order of discovery, from 1; 0 for a task not seen yet.
    number: Vec<usize>,
    /// Lowest number that can be reached within the component.
    low: Vec<usize>,
    /// True while the task's component is not complete.
    waiting: Vec<bool>,
    pending: Vec<usize>,
    next_number: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn run_from(&mut self, start: usize) {
        let mut path = vec![(start, 0)];
        self.discover(start);
        while let Some((task, next)) = path.last_mut() {
            let task = *task;
            let Some(&child) = self.children[task].get(*next) else {
                path.pop();
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[task]);
                }
                self.close(task);
                continue;
            };
            *next += 1;
            if self.number[child] == 0 {
                self.discover(child);
                path.push((child, 0));
            } else if self.waiting[child] {
                self.low[task] = self.low[task].min(self.number[child]);
            }
        }
    }

    fn discover(&mut self, task: usize) {
        self.number[task] = self.next_number;
        self.low[task] = self.next_number;
        self.next_number += 1;
        self.waiting[task] = true;
        self.pending.push(task);
    }

    /// Takes the component off the stack if `task` is its first.
    fn close(&mut self, task: usize) {
        if self.low[task] != self.number[task] {
            return;
        }
        let start = self
            .pending
            .iter()
            .rposition(|member| *member == task)
            .unwrap_or(0);
        let component = self.pending.split_off(start);
        for member in &component {
            self.waiting[*member] = false;
        }
        self.found.push(component);
    }
}

/// A shortest way from a task back to itself, breadth first. The last task waits for the first.
fn shortest_cycle(
    children: &[Vec<usize>],
    start: usize,
    is_inside: impl Fn(&usize) -> bool,
) -> Vec<usize> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(task) = queue.pop_front() {
        for &child in children[task].iter().filter(|child| is_inside(child)) {
            if child == start {
                return path_to(task, start, &came_from);
            }
            if let Entry::Vacant(unseen) = came_from.entry(child) {
                unseen.insert(task);
                queue.push_back(child);
            }
        }
    }
    vec![start]
}

fn path_to(last: usize, start: usize, came_from: &HashMap<usize, usize>) -> Vec<usize> {
    let mut path = vec![last];
    let mut task = last;
    while task != start {
        match came_from.get(&task) {
            Some(&previous) => task = previous,
            None => break,
        }
        path.push(task);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::{task, task_id};
    use super::*;

    /// Tasks from (task, those who await it) pairs; tasks are numbered from 0.
    fn graph(awaited_by: &[&[u64]]) -> AwaitGraph {
        let tasks: Vec<TaskInfo> = (0_u64..)
            .zip(awaited_by)
            .map(|(number, awaiters)| TaskInfo {
                awaited_by: awaiters.iter().map(|awaiter| task_id(*awaiter)).collect(),
                ..task(number, "t")
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
                ..task(number, "t")
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
