//! What is being made or taken apart passes neither for something whole nor for damage.

use asyncspy::layout::{FrameEntry, GeneratorFrame, GeneratorStates, Outermost, StatePlace};
use asyncspy::python::Python;
use asyncspy::python::object::Objects;
use asyncspy::python::types::{TypeCache, TypeKind};
use asyncspy::target::recorded::RecordedMemory;
use asyncspy_model::RemoteAddr;
use asyncspy_test_support::Outcome;

use crate::memory::{entry, recording, take, telling_words, threads, word_at};
use crate::snapshots::MINORS;

/// `FRAME_CLEARED` (Include/internal/pycore_frame.h), by `FRAME_EXECUTING`.
const fn frame_cleared(executing: i8) -> u8 {
    if executing == 0 { 4 } else { 5 }
}

/// `wr_object` of `PyWeakReference` (Include/cpython/weakrefobject.h).
const WEAKREF_OBJECT: u64 = 16;

/// Where to write what.
type Writes = Vec<(u64, Vec<u8>)>;

/// Demands of recordings that a task is none once these bytes are written, and that nothing is
/// lacking then.
fn is_no_task(
    minors: impl Iterator<Item = u8>,
    writes: impl Fn(&Python, &RecordedMemory, RemoteAddr) -> Outcome<Writes>,
) -> Outcome {
    for minor in minors {
        let recording = recording(minor)?;
        let mut memory = recording.memory.clone();
        let whole = take(&recording, memory.clone())?;
        let task = whole.tasks.iter().find(|task| &*task.name == "wants-lock");
        let task = task.ok_or("no such task")?.id.0;
        for (at, bytes) in writes(&recording.open()?, &recording.memory, task)? {
            memory.overwrite(RemoteAddr(at), &bytes);
        }
        let snapshot = take(&recording, memory)?;
        if !snapshot.complete || snapshot.tasks.len() + 1 != whole.tasks.len() {
            let (faults, count) = (&snapshot.faults, snapshot.tasks.len());
            return Err(format!("3.{minor}: {faults:?}, {count} tasks").into());
        }
    }
    Ok(())
}

/// A task that is being made has a type but no coroutine yet, for as long as the collector runs:
/// it is no task, and nothing is wrong.
#[test]
fn a_task_that_is_being_made_is_none_yet() -> Outcome {
    is_no_task(MINORS, |python, _, task| {
        let layout = &python.layout.task;
        let fields = [layout.coro, layout.name, layout.fut_waiter];
        Ok(fields.map(|field| (task.0 + field, vec![0; 8])).into())
    })
}

/// A task whose coroutine has ended is about to be done: it is none any more.
#[test]
fn a_task_whose_coroutine_has_ended_is_none_any_more() -> Outcome {
    is_no_task(MINORS, |python, memory, task| {
        let layout = &python.layout.generator;
        let coro = word_at(memory, task.0 + python.layout.task.coro).ok_or("no coroutine")?;
        Ok(vec![match (layout.state, layout.frame) {
            (GeneratorStates::Frame, GeneratorFrame::Embedded(_)) => {
                return Err("a state without a number".into());
            }
            (GeneratorStates::Frame, GeneratorFrame::Pointer { frame, .. })
            | (
                GeneratorStates::Number {
                    place: StatePlace::FrameObject(_),
                    ..
                },
                GeneratorFrame::Pointer { frame, .. },
            ) => (coro + frame, vec![0; 8]),
            (
                GeneratorStates::Number {
                    place: StatePlace::Generator(state) | StatePlace::FrameObject(state),
                    executing,
                    ..
                },
                _,
            ) => (coro + state, vec![frame_cleared(executing)]),
        }])
    })
}

/// A weak reference to a task that is gone refers to `None`, until it has left the set.
#[test]
fn a_dead_weak_reference_is_no_task() -> Outcome {
    // Later versions keep tasks in lists.
    is_no_task(8..=13, |python, memory, task| {
        let objects = Objects {
            view: memory,
            layout: &python.layout,
        };
        let mut types = TypeCache::default();
        let mut is_a = |kind, at| types.kind_of(objects, at) == Ok(kind);
        let words = telling_words(memory);
        let none = words.iter().find(|word| is_a(TypeKind::None, **word));
        let none = none.ok_or("no None")?.0.to_le_bytes();
        let mut weakrefs = words.iter().filter(|word| {
            let refers = objects.weakref_target(**word) == Ok(task);
            refers && is_a(TypeKind::WeakRef, **word)
        });
        let weakref = weakrefs.next().ok_or("no weak reference")?;
        Ok(vec![(weakref.0 + WEAKREF_OBJECT, none.to_vec())])
    })
}

/// A frame that is being entered has no caller yet, and what names it may name none: neither is
/// a thread's whole stack.
#[test]
fn a_frame_that_is_being_entered_is_no_whole_stack() -> Outcome {
    for minor in 11..=15 {
        let recording = recording(minor)?;
        let python = recording.open()?;
        let is_named_on_the_stack = matches!(python.layout.thread.frame, FrameEntry::CFrame { .. });
        // In 3.11 an outermost frame looks like one that C code has just called.
        let is_marked = python.layout.frame.outermost == Outermost::Shim;
        for thread in threads(&python)? {
            let entry = entry(&python, &thread)?;
            let frame = word_at(&recording.memory, entry.0).ok_or("no frame")?;
            let caller = RemoteAddr(frame).offset(python.layout.frame.previous);
            let caller = is_marked.then_some(caller);
            let named = is_named_on_the_stack.then_some(entry);
            for word in caller.into_iter().chain(named) {
                let mut memory = recording.memory.clone();
                memory.overwrite(word, &[0; 8]);
                if take(&recording, memory)?.complete {
                    return Err(format!("3.{minor}: whole without {word}").into());
                }
            }
        }
    }
    Ok(())
}
