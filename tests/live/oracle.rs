//! What py-spy's library finds in the same process, by a way of its own.

use asyncspy::python::Python;
use asyncspy_model::{Location, Snapshot};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use py_spy::config::{Config, LockingStrategy};
use py_spy::python_process_info::{PythonProcessInfo, get_python_version};
use py_spy::{Frame, PythonSpy, StackTrace};

use crate::catalogue::{look_at, one_per_minor, trial};

/// (function, file, line) of each frame, innermost first.
type Stack = Vec<(String, String, i64)>;

/// One interpreter of each minor version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let each = one_per_minor(interpreters).cloned();
    each.map(|each| trial(format!("oracle::{}", each.name), move || oracle(&each)))
        .collect()
}

/// Both find the same interpreter, and the same frames in the same threads: while a loop rests,
/// and while one is held deep in the calls of its tasks.
fn oracle(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "small.py", &[])?;
    same_interpreter(target.pid)?;
    same_stacks(&target)?;
    target.go_on()?;
    target.stall("stall 600 crowd")?;
    same_stacks(&target)
}

fn same_interpreter(pid: i32) -> Outcome {
    let ours = Python::attach(pid)?;
    let process = remoteprocess::Process::new(pid)?;
    let info = PythonProcessInfo::new(&process)?;
    let version = get_python_version(&info, &process)?;
    let theirs = (version.major, version.minor, version.patch);
    let version = ours.layout.version;
    let known = (version.major, version.minor, version.patch);
    let runtime = info.get_symbol("_PyRuntime").copied();
    // Without a number in the target the patch is not known, and not needed.
    let same_version = (theirs.0, theirs.1) == (known.0.into(), known.1.into());
    if !same_version || runtime.is_some_and(|runtime| runtime != ours.anchors.runtime.0) {
        let anchors = ours.anchors;
        return Err(
            format!("py-spy: {theirs:?}, {runtime:x?}; ours: {version}, {anchors:?}").into(),
        );
    }
    Ok(())
}

fn same_stacks(target: &Target) -> Outcome {
    target.stop()?;
    let config = Config {
        blocking: LockingStrategy::NonBlocking,
        ..Config::default()
    };
    let theirs = PythonSpy::new(target.pid, &config)?.get_stack_traces()?;
    let (theirs, ours) = (stacks_of_py_spy(&theirs), stacks(&look_at(target.pid)?));
    if ours != theirs || ours.len() < 2 {
        return Err(format!("py-spy: {theirs:#?}\nours: {ours:#?}").into());
    }
    Ok(())
}

fn stacks_of_py_spy(traces: &[StackTrace]) -> Vec<Stack> {
    let place = |frame: &Frame| {
        (
            frame.name.clone(),
            frame.filename.clone(),
            frame.line.into(),
        )
    };
    let stacks = traces.iter().map(|trace| trace.frames.iter().map(place));
    sorted(stacks.map(Iterator::collect))
}

fn stacks(snapshot: &Snapshot) -> Vec<Stack> {
    let place = |at: &Location| (at.function.to_string(), at.file.to_string(), at.line.into());
    let stacks = snapshot
        .threads
        .iter()
        .map(|thread| thread.stack.iter().map(place));
    sorted(stacks.map(Iterator::collect))
}

fn sorted(stacks: impl Iterator<Item = Stack>) -> Vec<Stack> {
    let mut stacks: Vec<_> = stacks.collect();
    stacks.sort();
    stacks
}
