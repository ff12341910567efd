//! The call tree of the made-up service.

use asyncspy_model::report::{CallNode, CallTree};
use asyncspy_model::{FrameKind, Location};

use super::{HOSTILE, culprit, library, location};

/// A node with what stands below it; its total is its own time and theirs.
struct Branch {
    label: String,
    location: Option<Location>,
    self_ms: u64,
    below: Vec<Branch>,
}

fn group(label: &str, below: Vec<Branch>) -> Branch {
    Branch {
        label: label.into(),
        location: None,
        self_ms: 0,
        below,
    }
}

fn frame(place: Location, self_ms: u64, below: Vec<Branch>) -> Branch {
    let file = place.file.rsplit('/').next().unwrap_or_default();
    let label = format!("{} {file}:{}", place.function, place.line);
    Branch {
        label,
        location: Some(place),
        self_ms,
        below,
    }
}

pub fn call_tree() -> CallTree {
    let mut tree = CallTree::default();
    add(&mut tree, story());
    tree
}

fn own(function: &str, file: &str, line: u32) -> Location {
    location(function, &format!("/srv/shop/{file}"), line)
}

fn leaf(place: Location, self_ms: u64) -> Branch {
    frame(place, self_ms, Vec::new())
}

fn story() -> Branch {
    let push = group("push", vec![leaf(own("push", "metrics.py", 30), 30)]);
    group(
        "all",
        vec![main_loop(), group("metrics-loop (uvloop)", vec![push])],
    )
}

fn main_loop() -> Branch {
    let serve = frame(own("serve", "app.py", 12), 0, vec![leaf(culprit(), 8_400)]);
    let evil = leaf(location(HOSTILE, "/tmp/\x1b]0;owned\x07/日本語.py", 7), 120);
    let report = vec![render(), leaf(own("Report.render", "report.py", 121), 640)];
    let below = vec![
        group("blocker", vec![serve]),
        group("Report.render", report),
        group(
            "ticker",
            vec![leaf(own("Ticker._tick", "ticker.py", 9), 290)],
        ),
        group(
            "on_timer",
            vec![leaf(own("on_timer", "timers.py", 71), 215)],
        ),
        group(HOSTILE, vec![evil]),
    ];
    group("MainThread (asyncio)", below)
}

fn render() -> Branch {
    let iterate = leaf(
        library("JSONEncoder.iterencode", "json/encoder.py", 258),
        5_070,
    );
    let encode = frame(
        library("JSONEncoder.encode", "json/encoder.py", 200),
        0,
        vec![iterate],
    );
    frame(own("Report.render", "report.py", 118), 310, vec![encode])
}

/// Adds a branch and returns its index and total.
fn add(tree: &mut CallTree, branch: Branch) -> (u32, u64) {
    let index = tree.nodes.len();
    let self_ns = branch.self_ms * 1_000_000;
    let kind = if branch.location.is_some() {
        FrameKind::Sync
    } else {
        FrameKind::Machinery
    };
    tree.nodes.push(CallNode {
        label: branch.label.into(),
        location: branch.location,
        kind,
        total_ns: self_ns,
        self_ns,
        children: Vec::new(),
    });
    let mut children: Vec<(u32, u64)> = branch
        .below
        .into_iter()
        .map(|below| add(tree, below))
        .collect();
    children.sort_by_key(|(_, total_ns)| std::cmp::Reverse(*total_ns));
    let total_ns = self_ns + children.iter().map(|(_, total_ns)| total_ns).sum::<u64>();
    tree.nodes[index].total_ns = total_ns;
    tree.nodes[index].children = children.iter().map(|(child, _)| *child).collect();
    (index as u32, total_ns)
}
