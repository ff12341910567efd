//! Loops that have no Python frame of their own: uvloop, and others that are not known.

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use asyncspy_model::{RemoteAddr, Turn};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_getres};
use rustc_hash::FxHasher;

use crate::layout::uvloop::{COARSE_CLOCK_UP_TO_NS, TIME_UNIT_NS};
use crate::python::frame::{Owner, RawFrame};

/// What tells the callbacks of one such loop apart.
#[derive(Debug, Default)]
pub struct OpaqueLoop {
    last: OpaqueTurn,
    /// Frames of the loop's own thread while it idles.
    idle_frames: Vec<RemoteAddr>,
}

/// What is read of such a loop along with the stack; 0 where there is nothing to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpaqueReading {
    /// The thread's count of contexts entered and left.
    pub context_version: u64,
    /// When uvloop has polled last, in its own milliseconds.
    pub uv_time: u64,
    /// How often uvloop has gone round.
    pub uv_count: u64,
}

impl OpaqueReading {
    /// A moment by which the turn had begun, on the target's clock in nanoseconds. uvloop notes
    /// the time when its poll returns, and later on whenever something asks for it. `None` where
    /// the turns are not counted: then it is not known which of them that was.
    #[must_use]
    pub fn polled_by_ns(&self) -> Option<u64> {
        let is_known = self.uv_count != 0 && self.uv_time != 0;
        let noted_by = self.uv_time.saturating_add(1).saturating_mul(TIME_UNIT_NS);
        is_known.then(|| noted_by.saturating_add(*CLOCK_LAG_NS))
    }
}

/// How far libuv's clock may be behind.
static CLOCK_LAG_NS: LazyLock<u64> = LazyLock::new(|| {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE);
    let tick_ns = tick.map_or(u64::MAX, |tick| tick.num_nanoseconds().cast_unsigned());
    if tick_ns <= COARSE_CLOCK_UP_TO_NS {
        tick_ns
    } else {
        0
    }
});

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OpaqueTurn {
    identity: u64,
    what: u64,
    reading: OpaqueReading,
    /// True if a callback of it was seen.
    has_run: bool,
}

impl OpaqueLoop {
    /// Remembers the frames of the idle loop.
    pub fn note_idle(&mut self, frames: &[RawFrame]) {
        self.idle_frames.clear();
        self.idle_frames
            .extend(frames.iter().map(|frame| frame.addr));
    }

    /// How many of the innermost frames are not the loop's own; `None` if it was never seen idle.
    #[must_use]
    pub fn inner_frames(&self, frames: &[RawFrame]) -> Option<usize> {
        let idle = self.idle_frames.iter().rev();
        let common = frames
            .iter()
            .rev()
            .zip(idle)
            .take_while(|(frame, idle)| frame.addr == **idle)
            .count();
        (common > 0).then(|| frames.len() - common)
    }

    /// uvloop counts its turns. Without that count, two looks are at the same turn if the same
    /// runs, and no context was entered or left in between, or if uvloop has not polled in between.
    pub fn turn(&mut self, now_ns: u64, frames: &[RawFrame], reading: OpaqueReading) -> Turn {
        let mut hasher = FxHasher::default();
        let mut coroutines = frames.iter().filter_map(|frame| match frame.owner {
            Owner::Generator(generator) => Some(generator),
            _ => None,
        });
        let coroutine = coroutines.next_back();
        coroutine.hash(&mut hasher);
        let outermost = frames.last();
        outermost
            .map(|frame| (frame.addr, frame.code))
            .hash(&mut hasher);
        let what = hasher.finish();
        let (before, known) = (self.last, self.last.reading);
        // uvloop notes the time whenever it has polled: callbacks between which it has not are
        // one turn. A look may fall between two of them; where none was seen at all, something
        // else keeps the thread from its poll.
        let has_not_polled = reading.uv_time != 0 && reading.uv_time == known.uv_time;
        let goes_on = outermost.is_some()
            && what == before.what
            && reading.context_version == known.context_version;
        let same = if reading.uv_count != 0 {
            reading.uv_count == known.uv_count
        } else {
            goes_on || (has_not_polled && (outermost.is_some() || before.has_run))
        };
        self.last = OpaqueTurn {
            identity: if same { before.identity } else { now_ns },
            what,
            reading,
            has_run: outermost.is_some() || same,
        };
        // One plain callback often lies where the last one lay; each runs in a context of its own.
        let version = if coroutine.is_some() {
            0
        } else {
            reading.context_version
        };
        Turn {
            identity: self.last.identity,
            began_monotonic_ns: None,
            begun_by_monotonic_ns: None,
            callback_began_monotonic_ns: None,
            callback: None,
            handle: RemoteAddr(what ^ version),
        }
    }
}
