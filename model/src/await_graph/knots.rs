//! Knots of a graph: which nodes can reach each other, and a shortest way around.
//!
//! Nothing here recurses: the target decides how deep the graph is.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// Strongly connected components, each after those that it leads to (Tarjan 1972, with a stack
/// of our own instead of recursion).
pub(super) fn components(children: &[Vec<usize>]) -> Vec<Vec<usize>> {
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
pub(super) fn shortest_cycle(
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
