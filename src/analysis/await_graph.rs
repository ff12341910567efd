//! Who awaits whom: the tasks of a census as a graph.
//!
//! Nothing here recurses: the target decides how deep the graph is.

use std::collections::BTreeMap;

use asyncspy_model::{Snapshot, TaskId};
use rustc_hash::FxHashMap;

/// The tasks of a census, joined by who waits for whom.
///
/// Tasks that the census names but does not list are left out: they have ended, or could not be
/// read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwaitGraph {
    /// Tasks that nobody waits for, and of each cycle that nobody outside waits for its first
    /// task; in the order of the census. Every task can be reached from them.
    pub roots: Vec<TaskId>,
    /// The tasks that each task waits for, in the order of the census; tasks that wait for none
    /// are absent.
    pub waits_for: BTreeMap<TaskId, Vec<TaskId>>,
    /// Tasks that wait for each other and so will wait for ever, each group in the order of the
    /// census. A task that waits for itself is a group of one.
    pub cycles: Vec<Vec<TaskId>>,
}

impl AwaitGraph {
    /// The graph of a census.
    #[must_use]
    pub fn build(snapshot: &Snapshot) -> Self {
        let children = edges(snapshot);
        let components = Components::find(&children);
        let is_awaited = components.awaited_from_outside(&children);
        let id_of = |index: usize| snapshot.tasks.get(index).map(|task| task.id);
        let mut groups = components.groups();
        // Groups come in the order in which they were closed; people read in the census' order.
        groups.sort_by_key(|(_, members)| members.first().copied());
        let mut graph = Self::default();
        for (number, members) in &groups {
            let Some(&first) = members.first() else {
                continue;
            };
            if !is_awaited.get(*number).copied().unwrap_or(true) {
                graph.roots.extend(id_of(first));
            }
            let waits_for_itself = children.get(first).is_some_and(|all| all.contains(&first));
            if members.len() > 1 || waits_for_itself {
                graph
                    .cycles
                    .push(members.iter().copied().filter_map(id_of).collect());
            }
        }
        let listed = snapshot.tasks.iter().zip(&children);
        let awaiting = listed.filter(|(_, children)| !children.is_empty());
        graph.waits_for = awaiting
            .map(|(task, children)| {
                (
                    task.id,
                    children.iter().copied().filter_map(id_of).collect(),
                )
            })
            .collect();
        graph
    }
}

/// The tasks that each task waits for, by position, in order.
fn edges(snapshot: &Snapshot) -> Vec<Vec<usize>> {
    let listed = snapshot.tasks.iter().enumerate();
    let positions: FxHashMap<TaskId, usize> =
        listed.clone().map(|(at, task)| (task.id, at)).collect();
    let mut children = vec![Vec::new(); snapshot.tasks.len()];
    let mut add = |parent: Option<&usize>, child: Option<&usize>| {
        if let (Some(&parent), Some(&child)) = (parent, child)
            && let Some(children) = children.get_mut(parent)
        {
            children.push(child);
        }
    };
    for (position, task) in listed {
        for awaiter in &task.awaited_by {
            add(positions.get(awaiter), Some(&position));
        }
        for awaited in task.waits_on.iter().flat_map(|wait| &wait.tasks) {
            add(Some(&position), positions.get(awaited));
        }
    }
    for children in &mut children {
        children.sort_unstable();
        children.dedup();
    }
    children
}

/// Strongly connected components: tasks from each of which every other can be reached.
struct Components {
    /// Component of each task.
    of: Vec<usize>,
    count: usize,
}

/// A task in the course of the search.
#[derive(Clone, Copy, Default)]
struct Visit {
    /// Order of discovery, from 1; 0 before.
    found: usize,
    /// The earliest task on the path that can be reached from it.
    lowest: usize,
}

impl Components {
    /// Tarjan's algorithm (SIAM J. Comput. 1(2), 1972) with the call stack as data.
    fn find(children: &[Vec<usize>]) -> Self {
        let mut search = Search {
            visits: vec![Visit::default(); children.len()],
            of: vec![usize::MAX; children.len()],
            ..Search::default()
        };
        for root in 0..children.len() {
            if search.visit(root).found == 0 {
                search.explore(root, children);
            }
        }
        Self {
            of: search.of,
            count: search.components,
        }
    }

    /// For each component, whether a task outside of it waits for one inside.
    fn awaited_from_outside(&self, children: &[Vec<usize>]) -> Vec<bool> {
        let mut is_awaited = vec![false; self.count];
        for (own, children) in self.of.iter().zip(children) {
            let others = children.iter().filter_map(|&child| self.of.get(child));
            for other in others.filter(|other| *other != own) {
                if let Some(awaited) = is_awaited.get_mut(*other) {
                    *awaited = true;
                }
            }
        }
        is_awaited
    }

    /// Number and members of each component, members in order.
    fn groups(&self) -> Vec<(usize, Vec<usize>)> {
        let mut groups: Vec<(usize, Vec<usize>)> =
            (0..self.count).map(|number| (number, Vec::new())).collect();
        for (task, &component) in self.of.iter().enumerate() {
            if let Some((_, members)) = groups.get_mut(component) {
                members.push(task);
            }
        }
        groups
    }
}

#[derive(Default)]
struct Search {
    visits: Vec<Visit>,
    of: Vec<usize>,
    components: usize,
    found: usize,
    /// Tasks that have no component yet, in the order of discovery.
    pending: Vec<usize>,
}

impl Search {
    fn visit(&self, task: usize) -> Visit {
        self.visits.get(task).copied().unwrap_or_default()
    }

    fn discover(&mut self, task: usize) {
        self.found += 1;
        let (found, lowest) = (self.found, self.found);
        if let Some(visit) = self.visits.get_mut(task) {
            *visit = Visit { found, lowest };
        }
        self.pending.push(task);
    }

    fn lower(&mut self, task: usize, to: usize) {
        if let Some(visit) = self.visits.get_mut(task) {
            visit.lowest = visit.lowest.min(to);
        }
    }

    fn explore(&mut self, root: usize, children: &[Vec<usize>]) {
        self.discover(root);
        let mut path = vec![(root, 0)];
        while let Some((task, next)) = path.last_mut() {
            let task = *task;
            let child = children.get(task).and_then(|children| children.get(*next));
            *next += 1;
            let Some(&child) = child else {
                path.pop();
                self.finish(task);
                if let Some(&(parent, _)) = path.last() {
                    self.lower(parent, self.visit(task).lowest);
                }
                continue;
            };
            if self.visit(child).found == 0 {
                self.discover(child);
                path.push((child, 0));
            } else if self.of.get(child) == Some(&usize::MAX) {
                self.lower(task, self.visit(child).found);
            }
        }
    }

    /// Closes the component that `task` is the first of, if it is.
    fn finish(&mut self, task: usize) {
        let visit = self.visit(task);
        if visit.lowest != visit.found {
            return;
        }
        while let Some(member) = self.pending.pop() {
            if let Some(component) = self.of.get_mut(member) {
                *component = self.components;
            }
            if member == task {
                break;
            }
        }
        self.components += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{MS, snapshot, task_id, task_info};

    /// The graph of tasks 1, 2, … whose awaiters are these.
    fn build(awaiters: &[&[u64]]) -> AwaitGraph {
        let tasks = awaiters.iter().zip(1..).map(|(awaiters, id)| {
            let mut task = task_info(id, "task");
            task.awaited_by = awaiters.iter().map(|&id| task_id(id)).collect();
            task
        });
        AwaitGraph::build(&snapshot(MS, tasks.collect()))
    }

    fn ids(numbers: &[u64]) -> Vec<TaskId> {
        numbers.iter().map(|&number| task_id(number)).collect()
    }

    #[test]
    fn roots_and_cycles_are_found() {
        // For each task its awaiters; the roots; the cycles.
        type Case<'a> = (&'a [&'a [u64]], &'a [u64], &'a [&'a [u64]]);
        let cases: [Case; 9] = [
            (&[], &[], &[]),
            (&[&[]], &[1], &[]),
            (&[&[], &[1], &[1], &[3]], &[1], &[]),
            // A task that two others wait for.
            (&[&[], &[], &[1, 2]], &[1, 2], &[]),
            // Tasks that have ended are not listed.
            (&[&[77]], &[1], &[]),
            (&[&[1]], &[1], &[&[1]]),
            (&[&[2], &[1]], &[1], &[&[1, 2]]),
            // A cycle that somebody waits for.
            (&[&[2, 3], &[1], &[]], &[3], &[&[1, 2]]),
            // Two knots, one waiting for the other.
            (&[&[2], &[1], &[4, 2], &[3]], &[1], &[&[1, 2], &[3, 4]]),
        ];
        for (awaiters, roots, cycles) in cases {
            let graph = build(awaiters);
            assert_eq!(graph.roots, ids(roots), "{awaiters:?}");
            let expected: Vec<_> = cycles.iter().map(|cycle| ids(cycle)).collect();
            assert_eq!(graph.cycles, expected, "{awaiters:?}");
        }
    }

    #[test]
    fn an_edge_that_both_ends_tell_is_one() {
        let mut parent = task_info(1, "parent");
        parent.waits_on = Some(asyncspy_model::WaitsOn {
            kind: "gather".into(),
            leaf: "_GatheringFuture".into(),
            tasks: ids(&[3, 2, 99]),
            detail: None,
        });
        let mut child = task_info(2, "child");
        child.awaited_by = ids(&[1, 1]);
        let graph = AwaitGraph::build(&snapshot(MS, vec![parent, child, task_info(3, "other")]));
        assert_eq!(
            graph.waits_for,
            BTreeMap::from([(task_id(1), ids(&[2, 3]))])
        );
        assert_eq!(graph.roots, ids(&[1]));
    }

    #[test]
    fn a_hundred_thousand_tasks_in_a_row_are_walked() {
        let count = 100_000;
        let tasks = (1..=count).map(|id| {
            let mut task = task_info(id, "task");
            task.awaited_by = vec![task_id(if id == 1 { count } else { id - 1 })];
            task
        });
        let graph = AwaitGraph::build(&snapshot(MS, tasks.collect()));
        assert_eq!(graph.roots, ids(&[1]));
        assert_eq!(graph.cycles.len(), 1);
        assert_eq!(graph.cycles[0].len(), 100_000);
    }
}
