//! What the screen shows, at the sizes that must work.

use super::{Desk, healthy_report, sample_report};

/// Sizes that must work: the least one, the usual one, a roomy one.
const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (120, 40)];

/// Takes a snapshot at each size after these keys.
fn snapshots(name: &str, keys: &str) {
    for (width, height) in SIZES {
        let mut desk = Desk::sick(width, height);
        desk.type_keys(keys);
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), desk.screen());
    }
}

#[test]
fn stalls() {
    snapshots("stalls", "");
}

#[test]
fn stall_story() {
    snapshots("stall_story", "\n");
}

#[test]
fn tasks() {
    snapshots("tasks", "t");
}

#[test]
fn hot() {
    snapshots("hot", "o");
}

#[test]
fn tree() {
    snapshots("tree", "e");
}

#[test]
fn waits() {
    snapshots("waits", "w");
}

#[test]
fn threads() {
    snapshots("threads", "a");
}

#[test]
fn help() {
    snapshots("help", "?");
}
