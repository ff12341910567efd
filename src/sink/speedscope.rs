//! Profiles for speedscope: one for each loop, in the order of time, so that stalls stand where
//! they happened.
//!
//! Format: speedscope's `src/lib/file-format-spec.ts`. Opened frames are closed in reverse order,
//! and `at` never decreases.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::escape::escape;
use super::json_line::write_line;
use super::profile::{FrameName, LabelOptions, Profile, Run, Timeline};

/// Writes the file. A profile without timelines is written as weighted stacks, without an order
/// in time.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_speedscope(
    out: &mut dyn io::Write,
    profile: &Profile,
    options: LabelOptions,
) -> io::Result<()> {
    let frames = FrameTable::new(profile, options);
    let mut profiles: Vec<ProfileEntry<'_>> = profile
        .timelines
        .iter()
        .map(|timeline| evented(timeline, &frames.stacks))
        .collect();
    if profiles.is_empty() {
        profiles.push(sampled(profile, &frames.stacks));
    }
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: concat!("asyncspy ", env!("CARGO_PKG_VERSION")),
        name: format!("{}, {}", escape(&profile.title), profile.subtitle()),
        active_profile_index: 0,
        shared: Shared {
            frames: &frames.entries,
        },
        profiles,
    };
    write_line(out, &file)
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: String,
    #[serde(rename = "activeProfileIndex")]
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<ProfileEntry<'a>>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: &'a [FrameEntry],
}

#[derive(Serialize)]
struct FrameEntry {
    name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// Distinct frames, and each stack as indices of them.
struct FrameTable {
    entries: Vec<FrameEntry>,
    stacks: Vec<Vec<usize>>,
}

impl FrameTable {
    fn new(profile: &Profile, options: LabelOptions) -> Self {
        let mut index_of: HashMap<FrameName, usize> = HashMap::new();
        let mut entries = Vec::new();
        let mut stacks = Vec::with_capacity(profile.stacks.len());
        for (stack, _) in &profile.stacks {
            let indices = stack.iter().map(|label| {
                let frame = options.frame_name(label);
                *index_of.entry(frame).or_insert_with_key(|frame| {
                    entries.push(FrameEntry {
                        name: frame.name.clone(),
                        file: frame.file.clone(),
                        line: (frame.line > 0).then_some(frame.line),
                    });
                    entries.len() - 1
                })
            });
            stacks.push(indices.collect());
        }
        Self { entries, stacks }
    }
}

#[derive(Serialize)]
struct ProfileEntry<'a> {
    name: String,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: u64,
    #[serde(rename = "endValue")]
    end_value: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Body<'a> {
    Evented {
        events: Events<'a>,
    },
    Sampled {
        samples: Vec<&'a [usize]>,
        weights: Vec<u64>,
    },
}

fn evented<'a>(timeline: &'a Timeline, stacks: &'a [Vec<usize>]) -> ProfileEntry<'a> {
    let starts = timeline.runs.iter().map(|run| run.from_ns);
    let start_value = starts.min().unwrap_or(0);
    let ends = timeline.runs.iter().map(|run| run.to_ns.max(run.from_ns));
    let end_value = ends.max().unwrap_or(0);
    let events = Events {
        runs: &timeline.runs,
        stacks,
    };
    ProfileEntry {
        name: escape(&timeline.name).into_owned(),
        unit: "nanoseconds",
        start_value,
        end_value,
        body: Body::Evented { events },
    }
}

fn sampled<'a>(profile: &Profile, stacks: &'a [Vec<usize>]) -> ProfileEntry<'a> {
    let weights: Vec<u64> = profile.stacks.iter().map(|(_, ns)| *ns).collect();
    ProfileEntry {
        name: escape(&profile.mode).into_owned(),
        unit: "nanoseconds",
        start_value: 0,
        end_value: weights.iter().fold(0, |sum, ns| sum.saturating_add(*ns)),
        body: Body::Sampled {
            samples: stacks.iter().map(Vec::as_slice).collect(),
            weights,
        },
    }
}

/// The opening and closing of frames, made while it is written: an hour has millions of them.
struct Events<'a> {
    runs: &'a [Run],
    stacks: &'a [Vec<usize>],
}

#[derive(Serialize)]
struct Event {
    #[serde(rename = "type")]
    kind: &'static str,
    frame: usize,
    at: u64,
}

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut open: &[usize] = &[];
        let mut now = 0;
        for (run, span) in self.spans() {
            if span.start > now {
                close(&mut seq, open, 0, now)?;
                open = &[];
            }
            let stack = run.stack.and_then(|index| self.stacks.get(index));
            let stack = stack.map(Vec::as_slice).unwrap_or_default();
            let common = open.iter().zip(stack).take_while(|(a, b)| a == b).count();
            close(&mut seq, open, common, span.start)?;
            for &frame in &stack[common..] {
                let at = span.start;
                seq.serialize_element(&Event {
                    kind: "O",
                    frame,
                    at,
                })?;
            }
            open = stack;
            now = span.end;
        }
        close(&mut seq, open, 0, now)?;
        seq.end()
    }
}

impl Events<'_> {
    /// The runs with the part of time that none before them took; those without any are left out.
    fn spans(&self) -> impl Iterator<Item = (&Run, Range<u64>)> {
        let mut taken_until = 0;
        self.runs.iter().filter_map(move |run| {
            let start = run.from_ns.max(taken_until);
            if run.to_ns <= start {
                return None;
            }
            taken_until = run.to_ns;
            Some((run, start..run.to_ns))
        })
    }
}

/// Closes the open frames from the innermost up to, not including, the outer `keep` ones.
fn close<S: SerializeSeq>(
    seq: &mut S,
    open: &[usize],
    keep: usize,
    at: u64,
) -> Result<(), S::Error> {
    for &frame in open[keep..].iter().rev() {
        seq.serialize_element(&Event {
            kind: "C",
            frame,
            at,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixtures::{ClosedPipe, text};
    use super::super::profile_fixtures::{hostile_profile, shop_profile};
    use super::*;

    fn file(profile: &Profile, options: LabelOptions) -> Value {
        serde_json::from_str(&text(|out| write_speedscope(out, profile, options))).unwrap()
    }

    fn number(value: &Value) -> u64 {
        value.as_u64().unwrap()
    }

    /// The rules of `file-format-spec.ts` and of speedscope's importer.
    fn check(file: &Value) {
        assert_eq!(
            file["$schema"],
            "https://www.speedscope.app/file-format-schema.json"
        );
        let frames = file["shared"]["frames"].as_array().unwrap();
        assert!(frames.iter().all(|frame| frame["name"].is_string()));
        let profiles = file["profiles"].as_array().unwrap();
        assert!(number(&file["activeProfileIndex"]) < profiles.len() as u64);
        for profile in profiles {
            assert_eq!(profile["unit"], "nanoseconds");
            let (start, end) = (number(&profile["startValue"]), number(&profile["endValue"]));
            assert!(start <= end && profile["name"].is_string());
            match profile["type"].as_str().unwrap() {
                "evented" => check_events(&profile["events"], start..end, frames.len()),
                _ => assert_eq!(
                    profile["samples"].as_array().map(Vec::len),
                    profile["weights"].as_array().map(Vec::len)
                ),
            }
        }
    }

    fn check_events(events: &Value, span: Range<u64>, frames: usize) {
        let (mut open, mut now) = (Vec::new(), span.start);
        for event in events.as_array().unwrap() {
            let (frame, at) = (number(&event["frame"]), number(&event["at"]));
            assert!(
                frame < frames as u64 && at >= now && at <= span.end,
                "{event}"
            );
            now = at;
            match event["type"].as_str().unwrap() {
                "O" => open.push(frame),
                _ => assert_eq!(open.pop(), Some(frame), "{event}"),
            }
        }
        assert!(open.is_empty());
    }

    #[test]
    fn shop_is_golden() {
        let shop = file(&shop_profile(), LabelOptions::default());
        check(&shop);
        insta::assert_snapshot!(serde_json::to_string_pretty(&shop).unwrap());
    }

    #[test]
    fn equal_outer_frames_stay_open() {
        let options = LabelOptions {
            by_function: true,
            full_filenames: false,
        };
        let shop = file(&shop_profile(), options);
        check(&shop);
        let events = shop["profiles"][0]["events"].as_array().unwrap();
        let at_2240 = events
            .iter()
            .filter(|event| event["at"] == 2_240_000_000_u64);
        assert_eq!(at_2240.count(), 0, "the two lines are one function");
    }

    #[test]
    fn without_timelines_stacks_are_weighed() {
        let mut profile = shop_profile();
        profile.timelines.clear();
        let shop = file(&profile, LabelOptions::default());
        check(&shop);
        assert_eq!(shop["profiles"][0]["type"], "sampled");
        assert_eq!(shop["profiles"][0]["endValue"], 1_610_000_000_u64);
    }

    #[test]
    fn hostile_and_empty_profiles_keep_the_rules() {
        let mut profile = hostile_profile();
        check(&file(&profile, LabelOptions::default()));
        profile.timelines[0].runs.clear();
        profile.stacks.clear();
        check(&file(&profile, LabelOptions::default()));
        profile.timelines.clear();
        check(&file(&profile, LabelOptions::default()));
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        let result = write_speedscope(
            &mut ClosedPipe(99),
            &shop_profile(),
            LabelOptions::default(),
        );
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
