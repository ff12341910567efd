//! The help: the table of keys, and what the words and bars mean.

use crate::document::Document;
use crate::keys::{Group, TABLE};
use crate::spark;

/// Words of the screen and their meaning.
const WORDS: &[(&str, &str)] = &[
    (
        "turn",
        "one round of the loop: all callbacks between two polls",
    ),
    (
        "STALLED",
        "one turn has outlasted the threshold: nothing else is served",
    ),
    (
        "busy",
        "share of the last minute that the loop ran callbacks",
    ),
    ("p99, worst", "turn times of the last minute"),
    ("ready", "callbacks that wait for their turn"),
    (
        "late",
        "timers whose time has passed; in the second line: late samples",
    ),
    (
        "torn",
        "samples of which only a part is proven to belong to one moment",
    ),
    (
        "incomplete",
        "tasks changed faster than they could be read: some may be missing",
    ),
    (
        "interrupted",
        "the target was stopped from outside (signal, debugger, freezer, suspend)",
    ),
    ("runnable", "a task that only waits for the loop"),
    (
        "since",
        "how long each census, one a second, has found the task in this wait",
    ),
    ("within", "the true duration is at most that far off"),
];

/// The help as a document.
pub(crate) fn document() -> Document {
    let mut document = Document::default();
    for group in Group::ALL {
        document.heading(group.title());
        for binding in TABLE.iter().filter(|binding| binding.group == group) {
            document.fact(&binding.names(), binding.help);
        }
    }
    document.heading("Words");
    for (word, meaning) in WORDS {
        document.fact(word, *meaning);
    }
    document.fact("bars", spark::LEGEND);
    document
}
