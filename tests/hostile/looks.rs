//! Looks that follow one another at once: the pass of one is the first of the next, and what stands
//! is not read again in full.

use asyncspy::aio::Caches;
use asyncspy::aio::running::ThreadActivity;
use asyncspy::python::Python;
use asyncspy::python::frame::Owner;
use asyncspy::python::thread::Thread;
use asyncspy::target::image::PageImage;
use asyncspy_model::{Event, LoopActivity, LoopSample, RemoteAddr};
use asyncspy_test_support::Outcome;

use crate::belated::Belated;
use crate::memory::{entry, recording, threads, word_at};
use crate::recorded_loops::recorded_loops;
use crate::snapshots::MINORS;
use crate::turns::words_of_loop;

/// Time from one look to the next, in nanoseconds.
const AT_ONCE_NS: u64 = 1_000;

/// Time from one look to the next at an ordinary rate, in nanoseconds.
const TICK_NS: u64 = 10_000_000;

/// How many looks are taken of what has been otherwise for some of their reads.
const LOOKS: usize = 8;

/// Up to so many reads find it otherwise.
const READS: usize = 16;

/// The thread of the busy loop of a recording, and what it executes.
fn busy_thread(python: &Python) -> Outcome<(Thread, ThreadActivity)> {
    for thread in threads(python)? {
        let (image, caches) = (PageImage::new(&python.memory), &mut Caches::default());
        let pid = python.facts.inner_pid;
        let activity = ThreadActivity::read(&image, &python.layout, caches, &thread, pid)?;
        if activity.turn.is_some_and(|turn| turn.polled_at.is_some()) {
            return Ok((thread, activity));
        }
    }
    Err("no busy loop".into())
}

/// Which of the loops of a recording is busy.
fn busy_loop(python: &Python) -> Outcome<usize> {
    for (nth, mut one) in recorded_loops(python)?.into_iter().enumerate() {
        if matches!(one.sample()?.activity, LoopActivity::Busy(_)) {
            return Ok(nth);
        }
    }
    Err("no busy loop".into())
}

/// Functions and lines of a sample's stack, as far as it was defined.
fn stack_of(sample: &LoopSample, defined: &[Event]) -> Outcome<Vec<(String, u32)>> {
    let stacks = defined.iter().find_map(|event| match event {
        Event::Stack { id, frames } if Some(*id) == sample.stack => Some(frames),
        _ => None,
    });
    let frames = stacks.ok_or("a stack that is not defined")?.iter();
    let places = frames.map(|each| (each.location.function.to_string(), each.location.line));
    Ok(places.collect())
}

/// A stack that was deeper or shallower at some of the looks is told as it was at one of them, with
/// the task that ran in it, never as a mixture.
#[test]
fn a_stack_that_moves_between_two_looks_is_one_or_the_other() -> Outcome {
    is_one_or_the_other(AT_ONCE_NS)
}

#[test]
fn a_stack_that_moves_between_two_ticks_is_one_or_the_other() -> Outcome {
    is_one_or_the_other(TICK_NS)
}

fn is_one_or_the_other(elapsed_ns: u64) -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let mut python = recording.open()?;
        let (thread, now) = busy_thread(&python)?;
        let nth = busy_loop(&python)?;
        let word = |addr: RemoteAddr| word_at(&recording.memory, addr.0).ok_or("no such word");
        let version = thread.addr.offset(python.layout.thread.context_version);
        let caller = now.chain.frames.get(1).ok_or("no caller")?.addr;
        let entry = entry(&python, &thread)?;
        let handle = words_of_loop(&python, &now, &["handle"])?.ok_or("no loop")?;
        let handle = handle.local;
        let mut known = Vec::new();
        let cases = [
            (word(entry)?, 0, 0),
            (caller.0, 0, 0),
            (caller.0, 1, 0),
            (caller.0, 0, 64),
        ];
        for (innermost, context, other) in cases {
            let was = vec![
                (version, word(version)? ^ context),
                (entry, innermost),
                (handle, word(handle)? ^ other),
            ];
            for reads in 0..=READS {
                python.memory = Box::new(Belated::new(&recording, was.clone(), reads));
                let mut loops = recorded_loops(&python)?;
                let one = loops.get_mut(nth).ok_or("no such loop")?;
                let mut defined = Vec::new();
                for look in 0..LOOKS {
                    let sample = one.sample_after(elapsed_ns)?;
                    defined.append(&mut one.events);
                    if sample.torn || !matches!(sample.activity, LoopActivity::Busy(_)) {
                        continue;
                    }
                    let stack = stack_of(&sample, &defined)?;
                    let told = (stack, sample.task.is_some());
                    if innermost != caller.0 || look == LOOKS - 1 {
                        known.push(told.clone());
                        known.dedup();
                    }
                    let shallower = known.iter().any(|(full, has_task)| {
                        full.get(1..) == Some(&told.0) && *has_task == told.1
                    });
                    if !shallower && !known.contains(&told) {
                        let what =
                            format!("{innermost:x}, {context}, {other}, {reads}, {look}: {told:?}");
                        return Err(format!("3.{minor}: {what}, not of {known:?}").into());
                    }
                }
            }
        }
        if known.len() != 1 {
            return Err(format!("3.{minor}: {known:?}").into());
        }
    }
    Ok(())
}

/// Where a frame's code cannot be read, its stack is told without that frame in this sample alone:
/// in the next it has all of its frames again.
#[test]
fn a_frame_that_could_not_be_read_lacks_in_that_sample_alone() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let mut python = recording.open()?;
        let (_, now) = busy_thread(&python)?;
        let nth = busy_loop(&python)?;
        let outer = now.chain.frames.iter().skip(1);
        let mut outer = outer.filter(|frame| frame.owner != Owner::Shim);
        let code = outer.next().ok_or("no caller")?.code;
        let name = code.offset(python.layout.code.name);
        let mut told = Vec::new();
        for reads in 0..=READS {
            python.memory = Box::new(Belated::new(&recording, vec![(name, 0)], reads));
            let mut loops = recorded_loops(&python)?;
            let one = loops.get_mut(nth).ok_or("no such loop")?;
            let mut defined = Vec::new();
            for _ in 0..2 * LOOKS {
                let sample = one.sample_after(TICK_NS)?;
                defined.append(&mut one.events);
                told.push(stack_of(&sample, &defined)?.len());
            }
            let whole = told.iter().max();
            if told.last() != whole {
                return Err(format!("3.{minor}, {reads}: {told:?}").into());
            }
        }
        if told.iter().min() == told.iter().max() {
            return Err(format!("3.{minor}: the frame never lacked").into());
        }
    }
    Ok(())
}
