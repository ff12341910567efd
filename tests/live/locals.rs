//! Local variables of threads' frames, against what the program says of its own.

use std::collections::BTreeMap;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy_model::{Snapshot, ThreadInfo};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::catalogue::{one_per_minor, trial};

/// The longest text of one variable, in characters.
const LONGEST: usize = 200;

/// A frame's variables, as the program tells them.
#[derive(Deserialize)]
struct FrameTruth {
    function: String,
    thread: Option<String>,
    variables: Vec<VariableTruth>,
}

#[derive(Deserialize)]
struct VariableTruth {
    name: String,
    #[serde(rename = "type")]
    class: String,
    repr: String,
}

#[derive(Deserialize)]
struct LocalsTruth {
    locals: Vec<FrameTruth>,
}

/// One interpreter of each minor version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let each = one_per_minor(interpreters).cloned();
    each.map(|each| trial(format!("locals::{}", each.name), move || locals(&each)))
        .collect()
}

fn locals(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "locks.py", &[])?;
    let python = Python::attach(target.pid)?;
    let options = SnapshotOptions { locals: true };
    let snapshot = Snapshooter::default().take(&python, options)?;
    let truth: LocalsTruth = serde_json::from_str(&target.ask("truth")?)?;
    let mut compared = 0;
    for frame in &truth.locals {
        // The variables of tasks that are on no stack are no part of a snapshot.
        let Some(thread) = &frame.thread else {
            continue;
        };
        let read = variables_of(&snapshot, thread, &frame.function)?;
        compare_frame(frame, &read)?;
        compared += 1;
    }
    if compared != 3 {
        return Err(format!("{compared} frames compared").into());
    }
    Ok(())
}

fn variables_of(
    snapshot: &Snapshot,
    thread: &str,
    function: &str,
) -> Outcome<BTreeMap<String, String>> {
    let of_thread = |info: &&ThreadInfo| &*info.name == thread;
    let info = snapshot
        .threads
        .iter()
        .find(of_thread)
        .ok_or("no such thread")?;
    if info.locals.len() != info.stack.len() {
        return Err(format!("{} locals of {}", info.locals.len(), info.stack.len()).into());
    }
    let mut frames = info.stack.iter().zip(&info.locals);
    let found = frames.find(|(location, _)| {
        // Qualified from 3.11 on: `outer_holder.<locals>.inner_holder`.
        location.function.rsplit('.').next() == Some(function)
    });
    let (_, variables) = found.ok_or(format!("no frame of {function}"))?;
    let texts = variables.iter();
    Ok(texts
        .map(|(name, text)| (name.to_string(), text.to_string()))
        .collect())
}

fn compare_frame(frame: &FrameTruth, read: &BTreeMap<String, String>) -> Outcome {
    let expected: Vec<&str> = frame.variables.iter().map(|v| v.name.as_str()).collect();
    for name in read.keys() {
        if !expected.contains(&name.as_str()) {
            return Err(format!("{}: {name} is too many", frame.function).into());
        }
    }
    for variable in &frame.variables {
        let text = read
            .get(&variable.name)
            .ok_or(format!("{}: {} is missing", frame.function, variable.name))?;
        if !agrees(variable, text) {
            let (name, class, repr) = (&variable.name, &variable.class, &variable.repr);
            return Err(format!("{name}: {class}\n  true: {repr}\n  read: {text}").into());
        }
    }
    Ok(())
}

/// True if the text says no more and nothing else than the program's own `repr`.
fn agrees(variable: &VariableTruth, text: &str) -> bool {
    if text.chars().count() > LONGEST || text.contains(char::is_control) {
        return false;
    }
    let repr = variable.repr.as_str();
    match variable.class.as_str() {
        "NoneType" | "bool" => text == repr,
        "int" => text == repr || (repr.len() > 18 && text == "<int beyond 64 bits>"),
        "float" => {
            let number = |text: &str| text.to_lowercase().parse::<f64>().map(f64::to_bits);
            number(text) == number(repr)
        }
        "str" => same_text(repr, text),
        "bytes" => text.starts_with("b\""),
        "list" => text.starts_with('[') && (text.ends_with(']') || text.ends_with('…')),
        "tuple" => text.starts_with('('),
        "dict" | "set" => text.starts_with('{'),
        // Nothing of the program is run, so other classes show as such.
        class => {
            text.starts_with(&format!("<{class} at 0x"))
                || text.starts_with('{')
                || text.starts_with('(')
        }
    }
}

/// Plain ASCII texts are compared letter by letter, others by their quotes.
fn same_text(repr: &str, text: &str) -> bool {
    let inside = repr.trim_matches('\'');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    if inside.chars().all(plain) && inside.chars().count() < LONGEST {
        return text == format!("\"{inside}\"");
    }
    text.starts_with('"')
}
