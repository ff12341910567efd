//! Which task awaits which, and who waits in a circle.

use std::collections::HashMap;

use asyncspy_model::{Snapshot, TaskId};

/// The await graph of one census. Tasks are named by their index in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AwaitGraph {
    /// For each task those that it awaits, each once, in the order of the census.
    awaits: Vec<Vec<u32>>,
    /// For each task how many await it.
    awaiters: Vec<u32>,
    /// For each task whether it is part of a circle.
    circular: Vec<bool>,
}

impl AwaitGraph {
    /// Reads the graph off a census: off both sides of each edge, since either may be missing.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let tasks = &snapshot.tasks;
        let index_of: HashMap<TaskId, u32> =
            (0..).zip(tasks).map(|(i, task)| (task.id, i)).collect();
        let mut awaits = vec![Vec::new(); tasks.len()];
        for (index, task) in (0..).zip(tasks) {
            let awaited = task.waits_on.as_ref().map_or(&[][..], |waits| &waits.tasks);
            awaits[index as usize].extend(awaited.iter().filter_map(|id| index_of.get(id)));
            for parent in task.awaited_by.iter().filter_map(|id| index_of.get(id)) {
                awaits[*parent as usize].push(index);
            }
        }
        let mut awaiters = vec![0_u32; tasks.len()];
        for awaited in &mut awaits {
            awaited.sort_unstable();
            awaited.dedup();
            for index in awaited.iter() {
                awaiters[*index as usize] += 1;
            }
        }
        let circular = find_circles(&awaits);
        Self {
            awaits,
            awaiters,
            circular,
        }
    }

    /// The tasks that this one awaits.
    pub(crate) fn awaited_by(&self, task: u32) -> &[u32] {
        self.awaits.get(task as usize).map_or(&[], Vec::as_slice)
    }

    /// True if no task awaits this one.
    pub(crate) fn is_root(&self, task: u32) -> bool {
        self.awaiters
            .get(task as usize)
            .is_none_or(|count| *count == 0)
    }

    /// True if the task waits, through others, for itself.
    pub(crate) fn is_circular(&self, task: u32) -> bool {
        self.circular
            .get(task as usize)
            .copied()
            .unwrap_or_default()
    }

    /// How many tasks wait in circles.
    pub(crate) fn circular_count(&self) -> usize {
        self.circular.iter().filter(|circular| **circular).count()
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.awaits.len()).unwrap_or(u32::MAX)
    }
}

/// Marks what is left when first those that await nothing are taken away, again and again, and
/// then those that nobody awaits: the circles, and what lies between two of them.
fn find_circles(awaits: &[Vec<u32>]) -> Vec<bool> {
    let mut reversed = vec![Vec::new(); awaits.len()];
    for (index, awaited) in (0..).zip(awaits) {
        for target in awaited {
            reversed[*target as usize].push(index);
        }
    }
    let mut left = vec![true; awaits.len()];
    peel(awaits, &reversed, &mut left);
    peel(&reversed, awaits, &mut left);
    left
}

/// Takes away those without an edge to one that is left, until each has one.
fn peel(edges: &[Vec<u32>], reversed: &[Vec<u32>], left: &mut [bool]) {
    let degree = |index: usize, left: &[bool]| {
        edges[index]
            .iter()
            .filter(|target| left[**target as usize])
            .count()
    };
    let mut degrees: Vec<usize> = (0..edges.len()).map(|index| degree(index, left)).collect();
    let mut bare: Vec<usize> = (0..edges.len())
        .filter(|index| left[*index] && degrees[*index] == 0)
        .collect();
    while let Some(index) = bare.pop() {
        left[index] = false;
        for source in &reversed[index] {
            let source = *source as usize;
            degrees[source] = degrees[source].saturating_sub(1);
            if left[source] && degrees[source] == 0 {
                bare.push(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_circles_are_circular() {
        // 0 → 1 → 2 → 1, 3 → 3, 2 → 4, 5 alone.
        let awaits = vec![vec![1], vec![2], vec![1, 4], vec![3], vec![], vec![]];
        assert_eq!(
            find_circles(&awaits),
            [false, true, true, true, false, false]
        );
    }

    #[test]
    fn a_long_chain_is_no_circle() {
        let mut awaits: Vec<Vec<u32>> = (1..100_000).map(|next| vec![next]).collect();
        awaits.push(Vec::new());
        assert!(!find_circles(&awaits).contains(&true));
        awaits[99_999].push(50_000);
        assert_eq!(
            find_circles(&awaits)
                .iter()
                .filter(|circular| **circular)
                .count(),
            50_000
        );
    }
}
