//! Flame: where the loops' time went, as a graph of bars; each bar's width is its share.
//!
//! ```text
//! handler app.py:42   8.40 s (55%), self 8.40 s
//! │all───────────────────────────────────────────────
//! │MainThread (asyncio)──────────────────────────────
//! │blocker──────────────────│Report.render───────────
//! │serve app.py:12──────────│render report.py:118────
//! ```

use std::sync::Arc;

use asyncspy_model::report::{CallNode, CallTree};

use super::SourceLines;
use super::flame_layout::{Bar, Links, lay_out};
use crate::document::Document;
use crate::format;
use crate::text::{Needle, clean};

/// A way through the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the caller.
    Out,
    /// To the widest callee.
    In,
    Left,
    Right,
    /// To the bar that is zoomed in on.
    First,
    /// Along the widest bars to the end.
    Last,
}

/// The graph and what a person has set up for it.
#[derive(Debug, Default)]
pub(crate) struct Flame {
    /// True for the root at the bottom.
    pub(crate) inverted: bool,
    pub(super) tree: Arc<CallTree>,
    links: Links,
    pub(super) bars: Vec<Bar>,
    columns: u16,
    zoom: u32,
    pub(super) selected: u32,
    /// Labels from the root's child down: nodes get new indices with each report.
    zoom_way: Vec<Arc<str>>,
    selected_way: Vec<Arc<str>>,
    /// For each node whether the search finds it; empty without a search.
    pub(super) found: Vec<bool>,
    found_ns: u64,
    /// Levels above the first visible one.
    pub(super) skip: usize,
}

impl Flame {
    /// Takes a new tree and finds in it what was selected and zoomed.
    pub(crate) fn update(&mut self, tree: &Arc<CallTree>, needle: &Needle) {
        self.tree = Arc::clone(tree);
        self.links = Links::new(tree);
        self.zoom = self.follow(&self.zoom_way);
        self.selected = self.follow(&self.selected_way);
        self.search(needle);
        self.lay_out();
    }

    /// Adapts to a width and makes the selected bar visible among so many levels.
    pub(crate) fn fit(&mut self, columns: u16, levels: usize) {
        if columns != self.columns {
            self.columns = columns;
            self.lay_out();
        }
        let Some(depth) = self.bar(self.selected).map(|bar| bar.depth) else {
            return;
        };
        let lowest = (depth + 1).saturating_sub(levels.max(1));
        self.skip = self.skip.clamp(lowest, depth);
        self.skip = self.skip.min(self.depth().saturating_sub(levels));
    }

    /// Marks what the search finds. Time in what is found is counted once, at the outermost.
    fn search(&mut self, needle: &Needle) {
        self.found.clear();
        self.found_ns = 0;
        if needle.is_empty() {
            return;
        }
        let nodes = &self.tree.nodes;
        let matches = |node: &CallNode| {
            needle.matches(|visit| {
                visit(&node.label);
                if let Some(place) = &node.location {
                    visit(&place.file);
                    visit(&place.function);
                }
            })
        };
        self.found = nodes.iter().map(matches).collect();
        let mut below_found = vec![false; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            // Parents come first.
            let parent = u32::try_from(index)
                .ok()
                .and_then(|index| self.links.parent(index));
            let counted = parent.is_some_and(|parent| below_found[parent as usize]);
            below_found[index] = counted || self.found[index];
            if self.found[index] && !counted {
                self.found_ns = self.found_ns.saturating_add(node.total_ns);
            }
        }
    }

    fn lay_out(&mut self) {
        self.bars = lay_out(&self.tree, &self.links, self.zoom, self.columns);
    }

    /// The node at the end of a way, or the last one on it that still exists.
    fn follow(&self, way: &[Arc<str>]) -> u32 {
        let mut node = 0;
        for label in way {
            let mut children = self.links.children(&self.tree, node);
            match children.find(|(_, child)| child.label == *label) {
                Some((child, _)) => node = child,
                None => break,
            }
        }
        node
    }

    fn way_to(&self, node: u32) -> Vec<Arc<str>> {
        let way = self.links.way_to(node).into_iter().skip(1);
        way.filter_map(|node| self.node(node).map(|node| node.label.clone()))
            .collect()
    }

    pub(super) fn node(&self, node: u32) -> Option<&CallNode> {
        self.tree.nodes.get(node as usize)
    }

    fn bar(&self, node: u32) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.node == node)
    }

    /// How many levels there are.
    fn depth(&self) -> usize {
        self.bars.iter().map(|bar| bar.depth + 1).max().unwrap_or(0)
    }

    fn select(&mut self, node: u32) {
        self.selected = node;
        self.selected_way = self.way_to(node);
    }

    /// Moves the selection.
    pub(crate) fn go(&mut self, step: Step) {
        let target = match step {
            Step::Out => self.links.parent(self.selected),
            Step::In => self.widest_below(self.selected),
            Step::Left => self.neighbour(false),
            Step::Right => self.neighbour(true),
            Step::First => Some(self.zoom),
            Step::Last => {
                let mut last = self.selected;
                while let Some(next) = self.widest_below(last) {
                    last = next;
                }
                Some(last)
            }
        };
        if let Some(node) = target {
            self.select(node);
        }
    }

    fn widest_below(&self, node: u32) -> Option<u32> {
        let below = self
            .bars
            .iter()
            .filter(|bar| self.links.parent(bar.node) == Some(node));
        // Of equal ones the first.
        below.rev().max_by_key(|bar| bar.width).map(|bar| bar.node)
    }

    /// The next visible bar on the same level.
    fn neighbour(&self, right: bool) -> Option<u32> {
        let here = *self.bar(self.selected)?;
        let mut level = self.bars.iter().filter(|bar| bar.depth == here.depth);
        let found = if right {
            level.find(|bar| bar.x > here.x)
        } else {
            level.rfind(|bar| bar.x < here.x)
        };
        found.map(|bar| bar.node)
    }

    /// Gives the selected node the full width.
    pub(crate) fn zoom_in(&mut self) {
        self.zoom = self.selected;
        self.zoom_way = self.way_to(self.zoom);
        self.lay_out();
    }

    /// Gives the node above the full width; false if there is none.
    pub(crate) fn zoom_out(&mut self) -> bool {
        let Some(parent) = self.links.parent(self.zoom) else {
            return false;
        };
        self.zoom = parent;
        self.zoom_way = self.way_to(parent);
        self.lay_out();
        true
    }

    /// Shows everything again.
    pub(crate) fn reset(&mut self) {
        self.zoom = 0;
        self.zoom_way.clear();
        self.lay_out();
    }

    /// The whole story of the selected node.
    pub(crate) fn document(&self, sources: SourceLines<'_>) -> Document {
        let mut document = Document::default();
        let Some(node) = self.node(self.selected) else {
            return document;
        };
        document.heading(clean(&node.label));
        document.fact("total", self.share(node.total_ns));
        document.fact("self", self.share(node.self_ns));
        let way = self.links.way_to(self.selected);
        let nodes = || way.iter().rev().filter_map(|node| self.node(*node));
        let groups: Vec<String> = nodes()
            .filter(|node| node.location.is_none())
            .map(|node| clean(&node.label))
            .collect();
        document.fact("below", groups.join(", in "));
        document.heading("Stack, innermost first");
        let stack: Vec<_> = nodes().filter_map(|node| node.location.clone()).collect();
        document.stack(&stack, sources);
        document
    }

    pub(super) fn share(&self, ns: u64) -> String {
        let all = self.node(0).map_or(0, |root| root.total_ns);
        format!(
            "{} ({} of all)",
            format::duration(ns),
            format::percent(ns, all)
        )
    }

    /// What the search has found, in words; `None` without a search.
    pub(crate) fn found_words(&self) -> Option<String> {
        let number = self.found.iter().filter(|found| **found).count() as u64;
        let found = format!("{} found: {}", number, self.share(self.found_ns));
        (!self.found.is_empty()).then_some(found)
    }
}
