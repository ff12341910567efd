//! Memory that was another a moment ago: what was read at two moments is never taken for one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use asyncspy::aio::Caches;
use asyncspy::aio::running::ThreadActivity;
use asyncspy::python::Python;
use asyncspy::python::frame::{local_range, untag};
use asyncspy::python::object::Objects;
use asyncspy::python::recording::Recording;
use asyncspy::python::thread::Thread;
use asyncspy::target::image::PageImage;
use asyncspy::target::recorded::RecordedMemory;
use asyncspy::target::{MemoryError, MemoryView, Piece, ProcessMemory};
use asyncspy_model::{LoopActivity, RemoteAddr};
use asyncspy_test_support::Outcome;

use crate::memory::{recording, take, telling_words, threads, word_at};
use crate::recorded_loops::recorded_loops;
use crate::snapshots::{MINORS, facts};

/// Classes of what tasks and their chains consist of.
const CLASSES: [&str; 8] = [
    "coroutine",
    "generator",
    "async_generator",
    "async_generator_asend",
    "_asyncio.FutureIter",
    "_asyncio.Future",
    "_asyncio.Task",
    GATHERING,
];

/// The class of what gather returns.
const GATHERING: &str = "_GatheringFuture";

/// A class that none of these has to do with.
const OTHER_CLASS: &str = "str";

/// Recorded memory in which some words were others when they were read for the first few times.
struct Belated {
    recorded: RecordedMemory,
    /// Where they are, and what they were.
    words: Vec<(RemoteAddr, u64)>,
    /// How many reads are to come that find one so.
    reads: AtomicUsize,
    /// What is added to it at each of them.
    step: u64,
}

impl Belated {
    fn new(recording: &Recording, words: Vec<(RemoteAddr, u64)>, reads: usize) -> Self {
        Self {
            recorded: recording.memory.clone(),
            words,
            reads: AtomicUsize::new(reads),
            step: 0,
        }
    }

    /// Each read finds another object there than the one before.
    fn restless(recording: &Recording, word: RemoteAddr, object: u64) -> Self {
        Self {
            step: 32,
            ..Self::new(recording, vec![(word, object)], usize::MAX)
        }
    }

    fn alter(&self, base: u64, buf: &mut [u8]) {
        for (word, was) in &self.words {
            let offset = word.0.wrapping_sub(base) as usize;
            let Some(place) = buf.get_mut(offset..).and_then(|rest| rest.get_mut(..8)) else {
                continue;
            };
            let reads = self.reads.load(Ordering::Relaxed);
            if reads > 0 {
                self.reads.store(reads - 1, Ordering::Relaxed);
                let was = was + self.step * (reads % 100) as u64;
                place.copy_from_slice(&was.to_le_bytes());
            }
        }
    }
}

impl MemoryView for Belated {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.recorded.read(addr, buf)?;
        self.alter(addr.0, buf);
        Ok(())
    }
}

impl ProcessMemory for Belated {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let count = self.recorded.gather(pieces, buf)?;
        let mut rest = &mut buf[..count];
        for piece in pieces {
            let (part, behind) = rest.split_at_mut(piece.len.min(rest.len()));
            self.alter(piece.base as u64, part);
            rest = behind;
        }
        Ok(count)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// The classes that occur in a recording, by their names' addresses.
struct Classes<'a> {
    memory: &'a RecordedMemory,
    name: u64,
    known: HashMap<u64, Option<String>>,
}

impl Classes<'_> {
    /// The name of the class at an address, if there is one that could be a class's.
    fn name_of(&mut self, class: u64) -> Option<String> {
        let (memory, name) = (self.memory, self.name);
        let read = || {
            let text = word_at(memory, class.wrapping_add(name))?;
            let mut bytes = [0; 24];
            memory.read(RemoteAddr(text), &mut bytes).ok()?;
            let end = bytes.iter().position(|byte| *byte == 0)?;
            String::from_utf8(bytes[..end].to_vec()).ok()
        };
        self.known.entry(class).or_insert_with(read).clone()
    }
}

/// Words of a recording, each with what it may have held a moment ago: the classes of what decides
/// a task's record, and where the futures of gather keep their attributes.
fn places(recording: &Recording) -> Outcome<Vec<(RemoteAddr, u64)>> {
    let memory = &recording.memory;
    let python = recording.open()?;
    let mut classes = Classes {
        memory,
        name: python.layout.type_.name,
        known: HashMap::new(),
    };
    let (mut found, mut gathering) = (Vec::new(), Vec::new());
    let mut other = None;
    for word in telling_words(memory) {
        let class = word_at(memory, word.0).unwrap_or(0);
        match classes.name_of(class) {
            Some(name) if CLASSES.contains(&&*name) => {
                found.push(word);
                if name == GATHERING {
                    let words = (0..32).map(|at| word.before(48).offset(8 * at));
                    gathering.extend(words.map(|word| (word, 0)));
                }
            }
            Some(name) if name == OTHER_CLASS => other = Some(class),
            _ => {}
        }
    }
    let was = other.ok_or("no class to put there")?;
    let classes = found.into_iter().map(|word| (word, was));
    Ok(classes.chain(gathering).collect())
}

/// Where an object has just come to lie in the place of another, all is read again.
#[test]
fn an_object_that_has_just_become_another_is_read_again() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let whole = facts(&take(&recording, recording.memory.clone())?);
        let places = places(&recording)?;
        if places.len() < 80 {
            return Err(format!("3.{minor}: {} places only", places.len()).into());
        }
        for (word, was) in places {
            let belated = Belated::new(&recording, vec![(word, was)], 1);
            let snapshot = take(&recording, belated)?;
            let facts = facts(&snapshot);
            if snapshot.complete && facts != whole {
                let lacking: Vec<_> = whole.difference(&facts).collect();
                return Err(format!("3.{minor}, {word} was {was:x}: {lacking:#?}").into());
            }
        }
    }
    Ok(())
}

/// How often a frame is read until its stack is proven and the turn is read with it: it is found,
/// and then read in two passes, up to three times.
const READS_OF_A_STACK: usize = 8;

/// Where the frame of the loop that a thread runs says at which instruction it stands, and where
/// the first of these locals is that it has; `None` for a thread without a loop.
fn words_of_loop(
    python: &Python,
    activity: &ThreadActivity,
    locals: &[&str],
) -> Outcome<Option<(RemoteAddr, RemoteAddr)>> {
    let layout = &python.layout;
    let image = PageImage::new(&python.memory);
    let objects = Objects {
        view: &image,
        layout,
    };
    for (frame, place) in activity.chain.frames.iter().zip(&activity.places) {
        let Some(place) = place.as_ref().filter(|at| &*at.code.name == "_run_once") else {
            continue;
        };
        let names = place.code.local_names(objects)?;
        let slot = locals.iter().find_map(|name| names.slot(name));
        let (local, _) = local_range(layout, frame.addr, slot.ok_or("no such local")?);
        return Ok(Some((frame.addr.offset(layout.frame.instruction), local)));
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

/// A loop that goes on while it is read is read again: its stack and its turn are of one moment.
#[test]
fn a_loop_that_has_gone_on_meanwhile_is_read_again() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let python = recording.open()?;
        let word = |addr: RemoteAddr| word_at(&recording.memory, addr.0).ok_or("no such word");
        let mut loops = Vec::new();
        for thread in threads(&python)? {
            let now = activity(&python, &recording.memory, &thread)?;
            if let Some(words) = words_of_loop(&python, &now, &["now", "end_time"])? {
                loops.push((thread, now, words));
            }
        }
        // One of them idles.
        let times: Vec<RemoteAddr> = loops.iter().map(|(_, _, words)| words.1).collect();
        let [one, other] = *times else {
            return Err(format!("3.{minor}: {} loops", times.len()).into());
        };
        for (thread, now, (position, polled_at)) in loops {
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
        for thread in threads(&python)? {
            let now = activity(&python, &recording.memory, &thread)?;
            let local = |name| words_of_loop(&python, &now, &[name]);
            let (Some((_, index)), Some((_, total))) = (local("i")?, local("ntodo")?) else {
                continue;
            };
            let restless = Belated::restless(&recording, index, word(total)?);
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
