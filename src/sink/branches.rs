//! Which branches of the await tree look the same, so that a thousand of them are written once.

use std::collections::HashMap;

use asyncspy_model::{AwaitGraph, TaskInfo};

use super::likeness::{FOLD_FROM, Likeness};

/// Which branches look the same.
pub(super) struct Shape {
    /// Equal numbers for equal branches; empty if nothing is to be folded.
    classes: Vec<usize>,
}

impl Shape {
    pub(super) fn new(tasks: &[TaskInfo], graph: &AwaitGraph, all: bool) -> Self {
        let mut classes = Vec::new();
        if all {
            return Self { classes };
        }
        let mut known: HashMap<(Likeness<'_>, Vec<usize>), usize> = HashMap::new();
        classes.resize(tasks.len(), 0);
        for (order, &index) in graph.bottom_up().iter().enumerate() {
            // What is shown once and then referred to must not vanish in a fold.
            if graph.awaiters(index) > 1 || graph.in_cycle(index) {
                classes[index] = order;
                continue;
            }
            let mut below: Vec<usize> = graph
                .children(index)
                .iter()
                .map(|child| classes[*child])
                .collect();
            below.sort_unstable();
            let key = (Likeness::of(&tasks[index]), below);
            classes[index] = *known.entry(key).or_insert(order);
        }
        Self { classes }
    }

    /// Siblings as branches: equal ones together from [`FOLD_FROM`] on, at the place of the first.
    pub(super) fn branches(&self, siblings: &[usize]) -> Vec<Branch> {
        if self.classes.is_empty() || siblings.len() < FOLD_FROM {
            return siblings
                .iter()
                .map(|index| Branch::single(*index))
                .collect();
        }
        let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
        for &index in siblings {
            members.entry(self.classes[index]).or_default().push(index);
        }
        let mut branches = Vec::new();
        for &index in siblings {
            let equal = members
                .get(&self.classes[index])
                .filter(|equal| equal.len() >= FOLD_FROM);
            match equal {
                None => branches.push(Branch::single(index)),
                Some(equal) if equal[0] == index => branches.push(Branch {
                    task: index,
                    equal: equal.clone(),
                }),
                Some(_) => {}
            }
        }
        branches
    }
}

/// A task below another one, or several that look the same.
pub(super) struct Branch {
    /// The task, or the first of several.
    pub(super) task: usize,
    /// All of them where they are folded, else none.
    pub(super) equal: Vec<usize>,
}

impl Branch {
    const fn single(task: usize) -> Self {
        Self {
            task,
            equal: Vec::new(),
        }
    }
}
