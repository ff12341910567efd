//! A profile as our own JSON: the tree of frames with the time in each.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use asyncspy_model::SamplingQuality;
use serde::Serialize;

use super::json_line::write_line;
use super::profile::{FrameLabel, Profile};
use super::units::Moment;

/// Writes the tree as one object on one line; times in nanoseconds, text as the target has it.
///
/// `nodes` is flat: the root comes first, holds all time and has no function; `children` are
/// positions in it, the largest first. With `by_function` the lines of a function are one node
/// and `line` is left out.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_profile_json(
    out: &mut dyn io::Write,
    profile: &Profile,
    by_function: bool,
) -> io::Result<()> {
    let session = &profile.session;
    let file = File {
        schema: "asyncspy.profile",
        schema_version: 1,
        title: &profile.title,
        mode: &profile.mode,
        pid: session.pid,
        command: &session.command,
        python: &session.python,
        began_monotonic_ns: session.began_monotonic_ns,
        began_unix_ns: session.began_unix_ns,
        began_wall: Moment::new(session.began_unix_ns, 0).rfc3339(),
        interval_ns: session.interval_ns,
        duration_ns: profile.duration_ns,
        quality: profile.quality,
        nodes: tree(profile, by_function),
    };
    write_line(out, &file)
}

#[derive(Serialize)]
struct File<'a> {
    schema: &'static str,
    schema_version: u32,
    title: &'a str,
    mode: &'a str,
    pid: i32,
    command: &'a str,
    python: &'a str,
    began_monotonic_ns: u64,
    began_unix_ns: u64,
    began_wall: String,
    interval_ns: u64,
    duration_ns: u64,
    quality: SamplingQuality,
    nodes: Vec<Node<'a>>,
}

#[derive(Default, Serialize)]
struct Node<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    total_ns: u64,
    self_ns: u64,
    children: Vec<usize>,
}

impl<'a> Node<'a> {
    fn new(key: Key<'a>) -> Self {
        match key {
            Key::Plain(label) => Self {
                label: Some(label),
                ..Self::default()
            },
            Key::Code(function, file, line) => Self {
                function: Some(function),
                file: Some(file),
                line,
                ..Self::default()
            },
        }
    }
}

/// What two frames of one parent must have in common to be one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Plain(&'a Arc<str>),
    Code(&'a Arc<str>, &'a Arc<str>, Option<u32>),
}

impl<'a> Key<'a> {
    fn new(label: &'a FrameLabel, by_function: bool) -> Self {
        match label {
            FrameLabel::Plain(text) => Self::Plain(text),
            FrameLabel::Code(at) => {
                Self::Code(&at.function, &at.file, (!by_function).then_some(at.line))
            }
        }
    }
}

fn tree(profile: &Profile, by_function: bool) -> Vec<Node<'_>> {
    let mut nodes = vec![Node {
        label: Some("all"),
        ..Node::default()
    }];
    let mut index_of: HashMap<(usize, Key<'_>), usize> = HashMap::new();
    for (stack, ns) in profile.stacks.iter().filter(|(_, ns)| *ns > 0) {
        let mut at = 0;
        add_time(&mut nodes[at].total_ns, *ns);
        for label in stack {
            let key = Key::new(label, by_function);
            let parent = at;
            at = *index_of.entry((parent, key)).or_insert_with(|| {
                nodes.push(Node::new(key));
                let index = nodes.len() - 1;
                nodes[parent].children.push(index);
                index
            });
            add_time(&mut nodes[at].total_ns, *ns);
        }
        add_time(&mut nodes[at].self_ns, *ns);
    }
    sort_children(&mut nodes);
    nodes
}

const fn add_time(total: &mut u64, ns: u64) {
    *total = total.saturating_add(ns);
}

fn sort_children(nodes: &mut [Node<'_>]) {
    let totals: Vec<u64> = nodes.iter().map(|node| node.total_ns).collect();
    for node in nodes {
        node.children
            .sort_by_key(|child| std::cmp::Reverse(totals[*child]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixtures::{ClosedPipe, text};
    use super::super::profile_fixtures::{hostile_profile, plain, shop_profile};
    use super::*;

    fn parsed(profile: &Profile, by_function: bool) -> Value {
        serde_json::from_str(&text(|out| write_profile_json(out, profile, by_function))).unwrap()
    }

    #[test]
    fn shop_is_golden() {
        let shop = parsed(&shop_profile(), false);
        insta::assert_snapshot!(serde_json::to_string_pretty(&shop).unwrap());
    }

    #[test]
    fn lines_of_a_function_are_one_node() {
        let count = |by_function| {
            let shop = parsed(&shop_profile(), by_function);
            let nodes = shop["nodes"].as_array().unwrap();
            nodes
                .iter()
                .filter(|node| node["function"] == "Client.post")
                .count()
        };
        assert_eq!((count(false), count(true)), (2, 1));
    }

    #[test]
    fn times_add_up() {
        for profile in [shop_profile(), hostile_profile()] {
            let value = parsed(&profile, false);
            let nodes = value["nodes"].as_array().unwrap();
            for node in nodes {
                let children = node["children"].as_array().unwrap();
                let total = |index: &Value| {
                    nodes[usize::try_from(index.as_u64().unwrap()).unwrap()]["total_ns"]
                        .as_u64()
                        .unwrap()
                };
                let below: u64 = children.iter().map(total).sum();
                assert_eq!(
                    node["total_ns"].as_u64().unwrap(),
                    below + node["self_ns"].as_u64().unwrap()
                );
            }
        }
    }

    #[test]
    fn deep_and_empty_profiles_are_written() {
        let mut profile = shop_profile();
        profile.stacks = vec![(vec![plain("f"); 100_000], 5)];
        assert_eq!(
            parsed(&profile, false)["nodes"].as_array().unwrap().len(),
            100_001
        );
        profile.stacks.clear();
        assert_eq!(parsed(&profile, false)["nodes"][0]["total_ns"], 0);
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        let result = write_profile_json(&mut ClosedPipe(99), &shop_profile(), false);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
