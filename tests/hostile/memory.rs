//! Memory that lies.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::layout::FrameEntry;
use asyncspy::python::Python;
use asyncspy::python::object::Objects;
use asyncspy::python::recording::Recording;
use asyncspy::python::thread::{Thread, read_interpreters, read_threads};
use asyncspy::target::memory::MemoryViewExt;
use asyncspy::target::recorded::RecordedMemory;
use asyncspy::target::{MemoryError, MemoryView, Piece, ProcessMemory};
use asyncspy_model::{RemoteAddr, Snapshot};
use asyncspy_test_support::Outcome;
use proptest::prelude::*;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The recording of this minor version.
///
/// # Errors
/// When it is missing or damaged.
pub fn recording(minor: u8) -> Outcome<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let file = File::open(folder.join(format!("3.{minor}.memory")))?;
    Ok(Recording::read_from(BufReader::new(file))?)
}

/// A snapshot of an interpreter whose memory is another once it was attached to.
///
/// # Errors
/// When it cannot be attached to or read.
pub fn take(
    recording: &Recording,
    memory: impl ProcessMemory + Send + Sync + 'static,
) -> Outcome<Snapshot> {
    let mut python = recording.open()?;
    python.memory = Box::new(memory);
    Ok(Snapshooter::for_one().take(&python, SnapshotOptions::default())?)
}

/// All threads.
///
/// # Errors
/// When they cannot be read.
pub fn threads(python: &Python) -> Outcome<Vec<Thread>> {
    let objects = Objects {
        view: python.memory.as_view(),
        layout: &python.layout,
    };
    let head = python.interpreters_head(objects.view)?;
    let (interpreters, _) = read_interpreters(objects, python.anchors.runtime, head)?;
    let threads = interpreters
        .iter()
        .flat_map(|interpreter| read_threads(objects, interpreter).0);
    Ok(threads.collect())
}

/// Where a thread names its innermost frame.
///
/// # Errors
/// When it cannot be read.
pub fn entry(python: &Python, thread: &Thread) -> Outcome<RemoteAddr> {
    Ok(match python.layout.thread.frame {
        FrameEntry::Direct(offset) => thread.addr.offset(offset),
        FrameEntry::CFrame {
            offset, current, ..
        } => {
            let cframe = python.memory.read_ptr(thread.addr.offset(offset))?;
            cframe.offset(current)
        }
    })
}

/// The word at an address, if it can be read.
pub fn word_at(memory: &RecordedMemory, addr: u64) -> Option<u64> {
    let mut word = [0; 8];
    memory.read(RemoteAddr(addr), &mut word).ok()?;
    Some(u64::from_le_bytes(word))
}

/// Memory of a process, and what is found where it has none.
#[derive(Clone, Debug)]
pub struct HostileMemory {
    /// What was recorded and then changed.
    pub recorded: RecordedMemory,
    /// `None` where nothing can be read beyond.
    pub beyond: Option<Endless>,
}

/// Memory that can be read everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Endless {
    seed: u64,
    flavour: Flavour,
}

/// What the words of endless memory are.
#[derive(Clone, Copy, Debug)]
enum Flavour {
    /// Any number.
    Random,
    /// The same number.
    Constant(u64),
    /// Their own addresses.
    Itself,
    /// The addresses of words nearby: every list is a ring, some of them consistent.
    Nearby,
    /// The next word's address: every list is endless.
    Onward,
    /// Any of: small numbers, lengths, pointers nearby.
    Mixed,
}

/// Lengths and sizes that a program would trust at its peril.
const LENGTHS: [u64; 12] = [
    0,
    1,
    7,
    255,
    1 << 16,
    1 << 20,
    (1 << 23) - 1,
    1 << 31,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

impl Endless {
    /// Any kind of endless memory.
    pub fn any() -> impl Strategy<Value = Self> {
        let constants = proptest::sample::select(LENGTHS.to_vec());
        let flavour = prop_oneof![
            Just(Flavour::Random),
            Just(Flavour::Itself),
            Just(Flavour::Nearby),
            Just(Flavour::Onward),
            Just(Flavour::Mixed),
            constants.prop_map(Flavour::Constant),
        ];
        (any::<u64>(), flavour).prop_map(|(seed, flavour)| Self { seed, flavour })
    }

    /// The word at an aligned address.
    fn word(&self, addr: u64) -> u64 {
        let noise = mix(addr ^ self.seed);
        let nearby = (addr & !(4 * PAGE - 1)).wrapping_add((noise % (4 * PAGE)) & !7);
        match self.flavour {
            Flavour::Random => noise,
            Flavour::Constant(word) => word,
            Flavour::Itself => addr,
            Flavour::Nearby => nearby,
            Flavour::Onward => addr.wrapping_add(PAGE + 8),
            Flavour::Mixed => match noise >> 56 {
                0..64 => LENGTHS[(noise >> 8) as usize % LENGTHS.len()],
                64..96 => noise & 0xff,
                _ => nearby,
            },
        }
    }

    fn fill(&self, addr: u64, buf: &mut [u8]) {
        let mut at = addr;
        let mut rest = buf;
        while !rest.is_empty() {
            let inside = (at & 7) as usize;
            let count = rest.len().min(8 - inside);
            let (part, behind) = rest.split_at_mut(count);
            let word = self.word(at & !7).to_le_bytes();
            part.copy_from_slice(&word[inside..inside + count]);
            at = at.wrapping_add(count as u64);
            rest = behind;
        }
    }
}

/// SplitMix64's output function (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl HostileMemory {
    /// Reads up to the first byte that cannot be read.
    fn copy(&self, base: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = base.checked_add(done as u64) else {
                break;
            };
            let count = (buf.len() - done).min((PAGE - at % PAGE) as usize);
            let part = &mut buf[done..done + count];
            if self.recorded.read(RemoteAddr(at), part).is_err() {
                let Some(beyond) = self.beyond else { break };
                beyond.fill(at, part);
            }
            done += count;
        }
        done
    }
}

impl MemoryView for HostileMemory {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        if self.copy(addr.0, buf) == buf.len() {
            return Ok(());
        }
        let len = buf.len();
        Err(MemoryError::Unmapped { addr, len })
    }
}

impl ProcessMemory for HostileMemory {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let mut done = 0;
        for piece in pieces {
            let copied = self.copy(piece.base as u64, &mut buf[done..done + piece.len]);
            done += copied;
            if copied < piece.len {
                break;
            }
        }
        Ok(done)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// A change of recorded memory; places are chosen by their number among all that there are.
#[derive(Clone, Debug)]
pub enum Change {
    /// A word becomes this number.
    Word(usize, u64),
    /// A word becomes the address of another place.
    Pointer(usize, usize),
    /// A word becomes a copy of another word.
    Copy(usize, usize),
    /// A byte becomes this number.
    Byte(usize, u8),
    /// A page cannot be read any more.
    Forget(usize),
}

impl Change {
    /// Any change.
    pub fn any() -> impl Strategy<Value = Self> {
        let place = any::<usize>;
        let number = prop_oneof![
            any::<u64>(),
            proptest::sample::select(LENGTHS.to_vec()),
            0_u64..64
        ];
        prop_oneof![
            4 => (place(), number).prop_map(|(at, word)| Self::Word(at, word)),
            4 => (place(), place()).prop_map(|(at, to)| Self::Pointer(at, to)),
            8 => (place(), place()).prop_map(|(at, from)| Self::Copy(at, from)),
            2 => (place(), any::<u8>()).prop_map(|(at, byte)| Self::Byte(at, byte)),
            1 => place().prop_map(Self::Forget),
        ]
    }

    /// Makes the change. `words` are the addresses of all words that are not 0.
    pub fn apply(&self, memory: &mut RecordedMemory, words: &[RemoteAddr]) {
        let place = |number: &usize| words[number % words.len()];
        match self {
            Self::Word(at, word) => memory.overwrite(place(at), &word.to_le_bytes()),
            Self::Pointer(at, to) => memory.overwrite(place(at), &place(to).0.to_le_bytes()),
            Self::Copy(at, from) => {
                let mut word = [0; 8];
                if memory.read(place(from), &mut word).is_ok() {
                    memory.overwrite(place(at), &word);
                }
            }
            Self::Byte(at, byte) => {
                memory.overwrite(place(at).offset((*at % 8) as u64), &[*byte]);
            }
            Self::Forget(page) => memory.forget(place(page)),
        }
    }
}

/// The addresses of all words that are not 0: those that say something.
pub fn telling_words(memory: &RecordedMemory) -> Vec<RemoteAddr> {
    let mut words = Vec::new();
    for page in memory.pages() {
        let mut bytes = [0; PAGE as usize];
        if memory.read(page, &mut bytes).is_ok() {
            let chunks = (0..).step_by(8).zip(bytes.chunks_exact(8));
            let telling = chunks.filter(|(_, word)| word.iter().any(|byte| *byte != 0));
            words.extend(telling.map(|(offset, _)| page.offset(offset)));
        }
    }
    words
}
