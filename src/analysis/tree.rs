//! A tree of labels with the time spent at each path.

use std::sync::Arc;

use asyncspy_model::{FrameKind, FrameLabel, StackFrame};
use rustc_hash::FxHashMap;

/// How many paths are told apart: some 50 bytes each. Beyond that new ones are folded into
/// [`MORE`] below the deepest known part of their path.
const MAX_NODES: usize = 300_000;

/// Stands for paths that did not fit.
const MORE: &str = "(more)";

/// One level of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    pub name: FrameLabel,
    /// What a frame runs; [`FrameKind::Machinery`] for what is not a frame.
    pub kind: FrameKind,
}

impl Label {
    /// A process, thread, loop, task, cause or wait.
    pub fn plain(text: &Arc<str>) -> Self {
        Self {
            name: FrameLabel::Plain(Arc::clone(text)),
            kind: FrameKind::Machinery,
        }
    }

    /// A frame.
    pub fn code(frame: &StackFrame) -> Self {
        Self {
            name: FrameLabel::Code(frame.location.clone()),
            kind: frame.kind,
        }
    }
}

/// A place in the tree. The root is [`NodeId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The root, which has no label.
    pub const ROOT: Self = Self(0);

    /// Position in [`Tree::nodes`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A label of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LabelNumber(u32);

impl LabelNumber {
    /// The number of [`MORE`].
    const MORE: Self = Self(0);
}

/// The tree. A node comes after its parent.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    children: FxHashMap<(NodeId, LabelNumber), NodeId>,
    labels: Vec<Label>,
    numbers: FxHashMap<Label, LabelNumber>,
    max_nodes: usize,
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The path without its last label; the root's is the root.
    pub parent: NodeId,
    label: LabelNumber,
    /// Time at this very path.
    pub self_ns: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let more = Label::plain(&MORE.into());
        let root = Node {
            parent: NodeId::ROOT,
            label: LabelNumber(u32::MAX),
            self_ns: 0,
        };
        Self {
            nodes: vec![root],
            children: FxHashMap::default(),
            numbers: FxHashMap::from_iter([(more.clone(), LabelNumber::MORE)]),
            labels: vec![more],
            max_nodes: MAX_NODES,
        }
    }
}

impl Tree {
    /// The path that leads from `parent` over `label`; made if it is new.
    pub fn child(&mut self, parent: NodeId, label: &Label) -> NodeId {
        let number = self.number(label);
        self.numbered_child(parent, number)
    }

    /// The number of a label; made if it is new.
    pub fn number(&mut self, label: &Label) -> LabelNumber {
        if let Some(number) = self.numbers.get(label) {
            return *number;
        }
        if self.labels.len() >= self.max_nodes {
            return LabelNumber::MORE;
        }
        let number = LabelNumber(u32::try_from(self.labels.len()).unwrap_or_default());
        self.labels.push(label.clone());
        self.numbers.insert(label.clone(), number);
        number
    }

    /// The path that leads from `parent` over a label with this number; made if it is new.
    pub fn numbered_child(&mut self, parent: NodeId, number: LabelNumber) -> NodeId {
        if let Some(child) = self.children.get(&(parent, number)) {
            return *child;
        }
        let parent_label = self.nodes.get(parent.index()).map(|node| node.label);
        if parent_label.is_none_or(|label| label == LabelNumber::MORE) {
            return parent;
        }
        if self.nodes.len() < self.max_nodes {
            return self.add_child(parent, number);
        }
        match self.children.get(&(parent, LabelNumber::MORE)) {
            Some(more) => *more,
            None => self.add_child(parent, LabelNumber::MORE),
        }
    }

    /// The path that leads from `parent` over all these labels.
    pub fn descend<'a>(
        &mut self,
        parent: NodeId,
        labels: impl IntoIterator<Item = &'a Label>,
    ) -> NodeId {
        let labels = labels.into_iter();
        labels.fold(parent, |parent, label| self.child(parent, label))
    }

    fn add_child(&mut self, parent: NodeId, label: LabelNumber) -> NodeId {
        let child = NodeId(u32::try_from(self.nodes.len()).unwrap_or_default());
        self.nodes.push(Node {
            parent,
            label,
            self_ns: 0,
        });
        self.children.insert((parent, label), child);
        child
    }

    /// Adds time at a path.
    pub fn add(&mut self, node: NodeId, weight_ns: u64) {
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.self_ns = node.self_ns.saturating_add(weight_ns);
        }
    }

    /// All paths, each after its parent.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All paths with their names, each after its parent.
    pub fn ids(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    /// The last label of a path; `None` for the root.
    pub fn label(&self, node: &Node) -> Option<&Label> {
        self.labels.get(node.label.0 as usize)
    }

    /// All labels of a path, outermost first.
    pub fn path(&self, node: NodeId) -> Vec<FrameLabel> {
        let mut labels = Vec::new();
        let mut next = node;
        while let Some(node) = self
            .nodes
            .get(next.index())
            .filter(|_| next != NodeId::ROOT)
        {
            labels.extend(self.label(node).map(|label| label.name.clone()));
            next = node.parent;
        }
        labels.reverse();
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(path: &str) -> Vec<Label> {
        path.split(' ')
            .map(|word| Label::plain(&word.into()))
            .collect()
    }

    fn text(tree: &Tree, node: NodeId) -> String {
        let names = tree.path(node).into_iter().map(|name| match name {
            FrameLabel::Plain(text) => text.to_string(),
            FrameLabel::Code(place) => place.function.to_string(),
        });
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn equal_paths_are_one() {
        let mut tree = Tree::default();
        for (path, weight) in [("a b c", 1), ("a b", 2), ("a b c", 4), ("b", 8)] {
            let node = tree.descend(NodeId::ROOT, &labels(path));
            tree.add(node, weight);
            assert_eq!(text(&tree, node), path);
        }
        let weights: Vec<u64> = tree.nodes().iter().map(|node| node.self_ns).collect();
        assert_eq!(weights, [0, 0, 2, 5, 8]);
    }

    #[test]
    fn a_full_tree_says_so_and_loses_no_time() {
        let mut tree = Tree {
            max_nodes: 4,
            ..Tree::default()
        };
        for (path, expected) in [
            ("a b c", "a b c"),
            ("a b d", "a b (more)"),
            ("a b d e", "a b (more)"),
            ("x y", "(more)"),
            ("a b c", "a b c"),
        ] {
            let node = tree.descend(NodeId::ROOT, &labels(path));
            tree.add(node, 1);
            assert_eq!(text(&tree, node), expected);
        }
        assert_eq!(tree.nodes().iter().map(|node| node.self_ns).sum::<u64>(), 5);
        assert!(tree.labels.len() <= 5);
    }
}
