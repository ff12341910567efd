//! The tree of the report: a tree of paths with sums.

use std::sync::{Arc, OnceLock};

use asyncspy_model::report::{CallNode, CallTree};
use asyncspy_model::{FrameKind, FrameLabel, Location};

use super::tree::{Label, NodeId, Tree};

/// Paths with less than this part of all time are left out; their time stays in the totals of the
/// paths that they belong to. A screen has a few hundred columns.
const SMALLEST_SHOWN: u64 = 10_000;
/// Least time between two trees: a view is drawn at most ten times a second.
const LEAST_AGE_NS: u64 = 100_000_000;
/// More time for each path, so that a tree takes some thousandths of a core at most, at the 50 to
/// 100 ns that each path costs.
const AGE_NS_PER_PATH: u64 = 10_000;

/// The last tree that was made; a new one is made when it has become old.
#[derive(Debug, Default)]
pub(super) struct CachedCallTree {
    made: OnceLock<(u64, Arc<CallTree>)>,
}

impl CachedCallTree {
    /// Notes that it is now `now`, so that the next tree will be made anew if this one is old.
    pub fn grow_older(&mut self, now: u64, tree: &Tree) {
        let paths = u64::try_from(tree.nodes().len()).unwrap_or(u64::MAX);
        let lifetime = paths.saturating_mul(AGE_NS_PER_PATH).max(LEAST_AGE_NS);
        let is_old = |(made, _): &(u64, Arc<CallTree>)| now >= made.saturating_add(lifetime);
        if self.made.get().is_some_and(is_old) {
            self.made = OnceLock::new();
        }
    }

    /// The tree, as it was a moment ago.
    pub fn get(&self, now: u64, tree: &Tree) -> Arc<CallTree> {
        let (_, made) = self.made.get_or_init(|| (now, Arc::new(call_tree(tree))));
        Arc::clone(made)
    }
}

/// The tree with sums, without what is too small to be seen. It begins at the outermost label if
/// there is only one.
fn call_tree(tree: &Tree) -> CallTree {
    let totals = totals(tree);
    let total_of = |id: NodeId| totals.get(id.index()).copied().unwrap_or_default();
    let smallest = (total_of(NodeId::ROOT) / SMALLEST_SHOWN).max(1);
    let top = only_child(tree).unwrap_or(NodeId::ROOT);
    let mut positions: Vec<Option<u32>> = vec![None; totals.len()];
    let mut report = CallTree::default();
    for (id, node) in tree.ids() {
        let is_shown = id == top || (id > top && total_of(id) >= smallest);
        if !is_shown {
            continue;
        }
        let position = u32::try_from(report.nodes.len()).unwrap_or(u32::MAX);
        if let Some(known) = positions.get_mut(id.index()) {
            *known = Some(position);
        }
        let parent = positions.get(node.parent.index()).copied().flatten();
        if let Some(parent) = parent.filter(|_| id != top)
            && let Some(parent) = report.nodes.get_mut(parent as usize)
        {
            parent.children.push(position);
        }
        report
            .nodes
            .push(call_node(tree.label(node), total_of(id), node.self_ns));
    }
    sort_children(&mut report);
    report
}

/// The node below the root, if there is only one and the root has no time of its own.
fn only_child(tree: &Tree) -> Option<NodeId> {
    let is_child = |(id, parent): (NodeId, NodeId)| parent == NodeId::ROOT && id != NodeId::ROOT;
    let parents = tree.ids().map(|(id, node)| (id, node.parent));
    let mut children = parents.filter(|pair| is_child(*pair)).map(|(id, _)| id);
    let first = children.next()?;
    children.next().is_none().then_some(first)
}

/// Time of each path with all below it.
fn totals(tree: &Tree) -> Vec<u64> {
    let mut totals: Vec<u64> = tree.nodes().iter().map(|node| node.self_ns).collect();
    // A node comes after its parent.
    for (index, node) in tree.nodes().iter().enumerate().skip(1).rev() {
        let total = totals.get(index).copied().unwrap_or_default();
        if let Some(parent) = totals.get_mut(node.parent.index()) {
            *parent = parent.saturating_add(total);
        }
    }
    totals
}

fn call_node(label: Option<&Label>, total_ns: u64, self_ns: u64) -> CallNode {
    let (text, location): (Arc<str>, Option<Location>) = match label.map(|label| &label.name) {
        None => ("all".into(), None),
        Some(FrameLabel::Plain(text)) => (Arc::clone(text), None),
        Some(FrameLabel::Code(place)) => {
            let text = format!("{}:{}", place.function, place.line);
            (text.into(), Some(place.clone()))
        }
    };
    CallNode {
        label: text,
        location,
        kind: label.map_or(FrameKind::Machinery, |label| label.kind),
        total_ns,
        self_ns,
        children: Vec::new(),
    }
}

fn sort_children(report: &mut CallTree) {
    let totals: Vec<u64> = report.nodes.iter().map(|node| node.total_ns).collect();
    let total_of = |child: &u32| totals.get(*child as usize).copied().unwrap_or_default();
    for node in &mut report.nodes {
        node.children
            .sort_by_key(|child| std::cmp::Reverse(total_of(child)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::stack;

    /// A tree with these times; a path's words are labels, with a colon they are frames.
    fn tree(paths: &[(&str, u64)]) -> Tree {
        let mut tree = Tree::default();
        for (path, weight_ns) in paths {
            let labels = path.split(' ').map(|word| match word.contains(':') {
                true => Label::code(&stack(word)[0]),
                false => Label::plain(&word.into()),
            });
            let labels: Vec<_> = labels.collect();
            let node = tree.descend(NodeId::ROOT, &labels);
            tree.add(node, *weight_ns);
        }
        tree
    }

    /// Each node as `label total/self [children]`.
    fn text(report: &CallTree) -> Vec<String> {
        let node = |node: &CallNode| {
            let CallNode {
                label,
                total_ns,
                self_ns,
                children,
                ..
            } = node;
            format!("{label} {total_ns}/{self_ns} {children:?}")
        };
        report.nodes.iter().map(node).collect()
    }

    #[test]
    fn a_parent_holds_the_time_of_its_children() {
        let report = call_tree(&tree(&[("p a:1~ b:2", 5), ("p a:1~", 1), ("p c", 7)]));
        assert_eq!(
            text(&report),
            ["p 13/0 [3, 1]", "a:1 6/1 [2]", "b:2 5/5 []", "c 7/7 []"]
        );
        let kinds: Vec<_> = report.nodes.iter().map(|node| node.kind).collect();
        use FrameKind::{Coroutine, Machinery, Sync};
        assert_eq!(kinds, [Machinery, Coroutine, Sync, Machinery]);
        assert_eq!(
            report.nodes[2].location.as_ref().map(|place| place.line),
            Some(2)
        );
    }

    #[test]
    fn several_processes_have_a_root_of_their_own() {
        let report = call_tree(&tree(&[("p", 1), ("q", 2)]));
        assert_eq!(text(&report), ["all 3/0 [2, 1]", "p 1/1 []", "q 2/2 []"]);
        assert_eq!(text(&call_tree(&tree(&[]))), ["all 0/0 []"]);
    }

    #[test]
    fn what_is_too_small_to_be_seen_is_left_out_of_the_nodes_only() {
        let report = call_tree(&tree(&[("p a", 1_000_000), ("p b", 99), ("p c d", 0)]));
        assert_eq!(text(&report), ["p 1000099/0 [1]", "a 1000000/1000000 []"]);
    }

    #[test]
    fn a_tree_is_made_anew_only_after_some_time() {
        let mut cached = CachedCallTree::default();
        let early = tree(&[("p", 1)]);
        let late = tree(&[("p", 2)]);
        let total = |tree: &Arc<CallTree>| tree.nodes[0].total_ns;
        assert_eq!(total(&cached.get(0, &early)), 1);
        cached.grow_older(LEAST_AGE_NS - 1, &late);
        assert_eq!(total(&cached.get(LEAST_AGE_NS - 1, &late)), 1);
        cached.grow_older(LEAST_AGE_NS, &late);
        assert_eq!(total(&cached.get(LEAST_AGE_NS, &late)), 2);
    }
}
