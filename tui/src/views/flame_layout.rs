//! Which bar of the flame graph stands where.

use asyncspy_model::report::{CallNode, CallTree};

/// No graph is laid out deeper than this.
const DEEPEST: usize = 1_000;

/// A node that got at least one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Index into the tree.
    pub(crate) node: u32,
    /// Levels below the root.
    pub(crate) depth: usize,
    pub(crate) x: u16,
    pub(crate) width: u16,
}

/// A call tree whose links are proven: each child comes after its parent and has but one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    parents: Vec<Option<u32>>,
}

impl Links {
    /// Reads the links off a tree.
    pub(crate) fn new(tree: &CallTree) -> Self {
        let mut parents = vec![None; tree.nodes.len()];
        for (parent, node) in (0..).zip(&tree.nodes) {
            for child in &node.children {
                if *child > parent
                    && let Some(link @ None) = parents.get_mut(*child as usize)
                {
                    *link = Some(parent);
                }
            }
        }
        Self { parents }
    }

    /// The node above.
    pub(crate) fn parent(&self, node: u32) -> Option<u32> {
        self.parents.get(node as usize).copied().flatten()
    }

    /// The nodes from the root down to this one.
    pub(crate) fn way_to(&self, node: u32) -> Vec<u32> {
        let mut way = vec![node];
        while let Some(parent) = way.last().and_then(|last| self.parent(*last)) {
            way.push(parent);
        }
        way.reverse();
        way
    }

    /// The nodes below whose link is proven.
    pub(crate) fn children<'a>(
        &'a self,
        tree: &'a CallTree,
        node: u32,
    ) -> impl Iterator<Item = (u32, &'a CallNode)> {
        let children = tree
            .nodes
            .get(node as usize)
            .map_or(&[][..], |node| &node.children);
        children
            .iter()
            .filter(move |child| self.parent(**child) == Some(node))
            .filter_map(|child| tree.nodes.get(*child as usize).map(|node| (*child, node)))
    }
}

/// Lays the tree out with `zoom` and what stands above it in full width. Bars come depth first;
/// nodes too narrow for a cell are left out, with all below them.
pub(crate) fn lay_out(tree: &CallTree, links: &Links, zoom: u32, columns: u16) -> Vec<Bar> {
    if tree.nodes.is_empty() || columns == 0 {
        return Vec::new();
    }
    let way = links.way_to(zoom);
    let mut bars = Vec::new();
    for (depth, node) in way.iter().enumerate() {
        bars.push(Bar {
            node: *node,
            depth,
            x: 0,
            width: columns,
        });
    }
    let mut pending: Vec<Bar> = bars.pop().into_iter().collect();
    while let Some(bar) = pending.pop() {
        bars.push(bar);
        if bar.depth >= DEEPEST {
            continue;
        }
        let first = pending.len();
        pending.extend(below(tree, links, bar));
        // The stack gives the last one first.
        pending[first..].reverse();
    }
    bars
}

/// The bars below a bar, side by side.
fn below<'a>(tree: &'a CallTree, links: &'a Links, bar: Bar) -> impl Iterator<Item = Bar> + 'a {
    let total = tree
        .nodes
        .get(bar.node as usize)
        .map_or(0, |node| node.total_ns)
        .max(1);
    // Both ends of each bar are rounded alike, so that no gap and no overlap comes of it.
    let column = move |ns: u64| {
        let cells = u128::from(ns.min(total)) * u128::from(bar.width) / u128::from(total);
        u16::try_from(cells).unwrap_or(bar.width)
    };
    let mut before = 0_u64;
    links
        .children(tree, bar.node)
        .filter_map(move |(node, child)| {
            let from = column(before);
            before = before.saturating_add(child.total_ns);
            let width = column(before) - from;
            (width > 0).then_some(Bar {
                node,
                depth: bar.depth + 1,
                x: bar.x + from,
                width,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use asyncspy_model::FrameKind;

    fn tree(nodes: &[(u64, &[u32])]) -> CallTree {
        let node = |(total_ns, children): &(u64, &[u32])| CallNode {
            label: "x".into(),
            location: None,
            kind: FrameKind::Sync,
            total_ns: *total_ns,
            self_ns: 0,
            children: children.to_vec(),
        };
        CallTree {
            nodes: nodes.iter().map(node).collect(),
        }
    }

    fn bars(tree: &CallTree, zoom: u32, columns: u16) -> Vec<(u32, usize, u16, u16)> {
        let links = Links::new(tree);
        let bars = lay_out(tree, &links, zoom, columns);
        bars.iter()
            .map(|bar| (bar.node, bar.depth, bar.x, bar.width))
            .collect()
    }

    #[test]
    fn bars_share_the_width_by_time() {
        let tree = tree(&[
            (100, &[1, 2, 3]),
            (60, &[4]),
            (39, &[]),
            (1, &[]),
            (30, &[]),
        ]);
        let expected = [
            (0, 0, 0, 10),
            (1, 1, 0, 6),
            (4, 2, 0, 3),
            (2, 1, 6, 3),
            (3, 1, 9, 1),
        ];
        assert_eq!(bars(&tree, 0, 10), expected);
        assert_eq!(
            bars(&tree, 1, 10),
            [(0, 0, 0, 10), (1, 1, 0, 10), (4, 2, 0, 5)]
        );
    }

    #[test]
    fn broken_trees_end() {
        let tree = tree(&[(0, &[0, 1, 9]), (7, &[1, 0, 2, 2]), (u64::MAX, &[1])]);
        assert_eq!(
            bars(&tree, 0, 10),
            [(0, 0, 0, 10), (1, 1, 0, 10), (2, 2, 0, 10)]
        );
        assert_eq!(bars(&CallTree::default(), 3, 10), []);
        assert_eq!(bars(&tree, 77, 10), [(77, 0, 0, 10)]);
    }
}
