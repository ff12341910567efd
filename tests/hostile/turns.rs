//! Loops that go on while they are read: a stack and a turn are of one moment.

use asyncspy::aio::Caches;
use asyncspy::aio::chain::Place;
use asyncspy::aio::running::ThreadActivity;
use asyncspy::python::Python;
use asyncspy::python::frame::{local_range, untag};
use asyncspy::python::object::Objects;
use asyncspy::python::thread::Thread;
use asyncspy::target::ProcessMemory;
use asyncspy::target::image::PageImage;
use asyncspy_model::{LoopActivity, RemoteAddr};
use asyncspy_test_support::Outcome;

use crate::belated::Belated;
use crate::memory::{entry, recording, threads, word_at};
use crate::recorded_loops::recorded_loops;
use crate::snapshots::MINORS;

/// How often a frame is read until its stack is proven and the turn is read with it: it is found,
/// and then read in two passes, up to three times.
const READS_OF_A_STACK: usize = 8;

/// What is altered of a loop's frame.
pub struct LoopWords {
    /// Its place in the stack.
    depth: usize,
    /// Where it says at which instruction it stands.
    position: RemoteAddr,
    /// Where the first of the wanted locals is that it has.
    pub local: RemoteAddr,
}

/// The frame of the loop that a thread runs; `None` for a thread without a loop.
///
/// # Errors
/// When it has no such local, or it cannot be read.
pub fn words_of_loop(
    python: &Python,
    activity: &ThreadActivity,
    locals: &[&str],
) -> Outcome<Option<LoopWords>> {
    let layout = &python.layout;
    let image = PageImage::new(&python.memory);
    let objects = Objects {
        view: &image,
        layout,
    };
    let frames = activity.chain.frames.iter().zip(&activity.places);
    for (depth, (frame, place)) in frames.enumerate() {
        let Some(place) = place.as_ref().filter(|at| &*at.code.name == "_run_once") else {
            continue;
        };
        let names = place.code.local_names(objects)?;
        let slot = locals.iter().find_map(|name| names.slot(name));
        let (local, _) = local_range(layout, frame.addr, slot.ok_or("no such local")?);
        return Ok(Some(LoopWords {
            depth,
            position: frame.addr.offset(layout.frame.instruction),
            local,
        }));
    }
    Ok(None)
}

fn activity(
    python: &Python,
    memory: &dyn ProcessMemory,
    thread: &Thread,
) -> Outcome<ThreadActivity> {
    let (image, caches) = (PageImage::new(memory), &mut Caches::default());
    let pid = python.facts.inner_pid;
    Ok(ThreadActivity::read(
        &image,
        &python.layout,
        caches,
        thread,
        pid,
    )?)
}

/// The thread of a loop, what it executes, and where its frame notes when its poll returned.
type KnownLoop = (Thread, ThreadActivity, LoopWords);

/// The two loops of a recording, of which one idles.
fn two_loops(python: &Python) -> Outcome<[KnownLoop; 2]> {
    let mut loops = Vec::new();
    for thread in threads(python)? {
        let now = activity(python, &python.memory, &thread)?;
        if let Some(words) = words_of_loop(python, &now, &["now", "end_time"])? {
            loops.push((thread, now, words));
        }
    }
    let loops = <[KnownLoop; 2]>::try_from(loops);
    Ok(loops.map_err(|loops| format!("{} loops", loops.len()))?)
}

/// A loop that goes on while it is read is read again: its stack and its turn are of one moment.
#[test]
fn a_loop_that_has_gone_on_meanwhile_is_read_again() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let python = recording.open()?;
        let word = |addr: RemoteAddr| word_at(&recording.memory, addr.0).ok_or("no such word");
        let loops = two_loops(&python)?;
        let [one, other] = [0, 1].map(|nth: usize| loops[nth].2.local);
        for (thread, now, words) in loops {
            let (position, polled_at) = (words.position, words.local);
            let elsewhere = if polled_at == one { other } else { one };
            let mut earlier = vec![(polled_at, word(elsewhere)?)];
            let time = untag(RemoteAddr(word(polled_at)?));
            if !time.is_null() {
                // The object may as well have held another number, and be the same.
                let seconds = time.offset(16);
                earlier.push((seconds, word(seconds)? ^ 1));
            }
            for (number, (place, value)) in earlier.into_iter().enumerate() {
                let was = vec![(position, word(position)? + 2), (place, value)];
                for reads in 1..=READS_OF_A_STACK {
                    let belated = Belated::new(&recording, was.clone(), reads);
                    let then = activity(&python, &belated, &thread)?;
                    let same_stack = then.chain.frames == now.chain.frames;
                    if then.proven && same_stack != (then.turn == now.turn) {
                        let what = format!("{position}, {number}, {reads}: {same_stack}");
                        return Err(format!("3.{minor}, {what}").into());
                    }
                }
            }
        }
    }
    Ok(())
}

/// Callbacks that are over before their number is read leave the turn known.
#[test]
fn a_turn_is_known_though_its_callbacks_come_and_go() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let mut python = recording.open()?;
        let word = |addr: RemoteAddr| word_at(&recording.memory, addr.0).ok_or("no such word");
        let mut busy = 0;
        for (_, now, _) in two_loops(&python)? {
            let local = |name| words_of_loop(&python, &now, &[name]);
            let (Some(index), Some(total)) = (local("i")?, local("ntodo")?) else {
                return Err("a loop that does not count its callbacks".into());
            };
            let restless = Belated::restless(&recording, index.local, word(total.local)?);
            python.memory = Box::new(restless);
            for mut one in recorded_loops(&python)? {
                let activity = one.sample()?.activity;
                busy += usize::from(matches!(activity, LoopActivity::Busy(_)));
            }
            python.memory = Box::new(recording.memory.clone());
        }
        // One of the two loops is busy, whichever of them is restless.
        if busy != 2 {
            return Err(format!("3.{minor}: {busy} of 2").into());
        }
    }
    Ok(())
}

/// A loop that stands in its own function may be left and entered again at the same place, of
/// which its stack says nothing: its locals do.
#[test]
fn a_turn_that_ends_while_it_is_read_is_no_turn() -> Outcome {
    for minor in MINORS {
        let mut recording = recording(minor)?;
        let python = recording.open()?;
        let mut busy = 0;
        for (thread, now, words) in two_loops(&python)? {
            let polled_at = word_at(&recording.memory, words.local.0).ok_or("no such word")?;
            if untag(RemoteAddr(polled_at)).is_null() {
                continue;
            }
            busy += 1;
            let innermost = now.chain.frames[words.depth].addr.0.to_le_bytes();
            recording
                .memory
                .overwrite(entry(&python, &thread)?, &innermost);
            let stood = activity(&python, &recording.memory, &thread)?;
            let flickering = Belated::flickering(&recording, words.local, 0);
            let left = activity(&python, &flickering, &thread)?;
            if stood.turn != now.turn || left.turn.is_some() || left.proven {
                let (stood, left) = (stood.turn, left.turn);
                return Err(format!("3.{minor}: {stood:?}, {left:?}").into());
            }
        }
        if busy != 1 {
            return Err(format!("3.{minor}: {busy} busy loops").into());
        }
    }
    Ok(())
}

/// A loop that calls one callback after the other is met where it calls them, with another at each
/// look: it is busy, and which callback is not told.
#[test]
fn a_loop_is_busy_though_it_calls_another_callback_at_each_look() -> Outcome {
    for minor in MINORS {
        let mut recording = recording(minor)?;
        let mut python = recording.open()?;
        let mut busy = 0;
        for (thread, now, _) in two_loops(&python)? {
            let mut frames = now.chain.frames.iter().zip(&now.places);
            let is_caller = |place: &Place| {
                &*place.code.name == "_run" && place.code.file.ends_with("/events.py")
            };
            let caller = frames.find(|(_, place)| place.as_ref().is_some_and(is_caller));
            let Some((caller, _)) = caller else {
                continue;
            };
            let innermost = entry(&python, &thread)?;
            recording
                .memory
                .overwrite(innermost, &caller.addr.0.to_le_bytes());
            let words = words_of_loop(&python, &now, &["handle"])?.ok_or("no handle")?;
            let handle = word_at(&recording.memory, words.local.0).ok_or("no such word")?;
            python.memory = Box::new(Belated::restless(&recording, words.local, handle));
            for mut one in recorded_loops(&python)? {
                let sample = one.sample()?;
                if let LoopActivity::Busy(turn) = sample.activity {
                    let told = (sample.torn, turn.handle, sample.stack, sample.task);
                    if told != (false, RemoteAddr::NULL, None, None) || turn.identity == 0 {
                        return Err(format!("3.{minor}: {turn:?}, {told:?}").into());
                    }
                    busy += 1;
                }
            }
        }
        if busy != 1 {
            return Err(format!("3.{minor}: {busy} busy loops").into());
        }
    }
    Ok(())
}
