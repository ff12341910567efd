//! Memory that was another a moment ago: what was read at two moments is never taken for one.

use std::collections::HashMap;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::recording::Recording;
use asyncspy::target::MemoryView;
use asyncspy::target::recorded::RecordedMemory;
use asyncspy_model::{RemoteAddr, Snapshot};
use asyncspy_test_support::Outcome;

use crate::belated::Belated;
use crate::memory::{recording, take, telling_words, word_at};
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

/// A census that compares with the last one tells what one without a past tells.
#[test]
fn what_has_changed_since_the_last_census_is_seen() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let mut python = recording.open()?;
        let mut with_a_past = Snapshooter::default();
        let mut take_again = |memory: Belated| -> Outcome<Snapshot> {
            python.memory = Box::new(memory);
            Ok(with_a_past.take(&python, SnapshotOptions::default())?)
        };
        let mut differing = 0;
        let whole = facts(&take(&recording, recording.memory.clone())?);
        for (word, was) in places(&recording)?.into_iter().step_by(5) {
            let altered = |reads| Belated::new(&recording, vec![(word, was)], reads);
            let expected = facts(&take(&recording, altered(usize::MAX))?);
            for (reads, expected) in [(usize::MAX, &expected), (0, &whole)] {
                let told = facts(&take_again(altered(reads))?);
                if told != *expected {
                    let lacking: Vec<_> = expected.symmetric_difference(&told).collect();
                    return Err(format!("3.{minor}, {word}, {reads}: {lacking:#?}").into());
                }
            }
            differing += usize::from(expected != whole);
        }
        if differing < 5 {
            return Err(format!("3.{minor}: {differing} words made a difference").into());
        }
    }
    Ok(())
}
