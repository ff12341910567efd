//! The timers of a loop, looked at again and again.
//!
//! A heap keeps the timer that is due first at its root, and none before its parent. Only late
//! timers and their children are looked at, each once for as long as the heap stands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use asyncspy_model::RemoteAddr;

use super::event_loop::seconds_to_ns;
use crate::python::object::FLOAT_VALUE;
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{MemoryError, MemoryView, MemoryViewExt, ProcessMemory};

/// Most timers that are looked at in all.
const MOST: u64 = 100_000;

/// How many are looked at at once.
const AT_ONCE: usize = 256;

/// Bytes of a pointer, and of a C double.
const WORD: usize = 8;

/// Something by its place in the heap: where it is, or what is there.
pub type Placed<T> = (u64, T);

/// Reads many words at once.
pub trait Words {
    /// The words at these addresses; those that cannot be read are left out.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    fn read(&mut self, addrs: Vec<Placed<RemoteAddr>>) -> Result<Vec<Placed<u64>>, MemoryError>;
}

/// Reads them in one call.
pub struct InOneCall<'a>(pub &'a dyn ProcessMemory, pub &'a mut Gather);

impl Words for InOneCall<'_> {
    fn read(&mut self, addrs: Vec<Placed<RemoteAddr>>) -> Result<Vec<Placed<u64>>, MemoryError> {
        let Self(memory, gather) = self;
        gather.clear();
        let mut want = |(place, addr)| (place, gather.want_within_group(addr, WORD));
        let wanted: Vec<Placed<Wanted>> = addrs.into_iter().map(&mut want).collect();
        gather.run(*memory)?;
        let word = |(place, wanted)| Some((place, gather.fields(wanted)?.u64(0)));
        Ok(wanted.into_iter().filter_map(word).collect())
    }
}

/// Reads them out of a view that fetches in bulk what it is told to expect.
pub struct InView<'a>(pub &'a dyn MemoryView);

impl Words for InView<'_> {
    fn read(&mut self, addrs: Vec<Placed<RemoteAddr>>) -> Result<Vec<Placed<u64>>, MemoryError> {
        let Self(view) = self;
        view.expect(&mut addrs.iter().map(|(_, addr)| (*addr, WORD as u64)))?;
        let word = |(place, addr)| Some((place, view.read_u64(addr).ok()?));
        Ok(addrs.into_iter().filter_map(word).collect())
    }
}

/// A list that is a heap of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Its items: pointers to timers.
    pub items: RemoteAddr,
    /// How many there are.
    pub count: u64,
    /// Tells states of the list apart that have as many items at the same place; `None` if nothing
    /// does. In one turn of a loop timers are only added.
    pub turn: Option<u64>,
}

/// What is known of the timers of one heap.
#[derive(Debug, Default)]
pub struct Timers {
    heap: Option<Heap>,
    /// Places that are to be looked at.
    unread: Vec<u64>,
    /// Timers that were not late yet: when they are due, and their places.
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    late: u64,
    first_due_ns: Option<u64>,
}

impl Timers {
    /// Takes notice of the heap as it is now; of another one nothing is known.
    pub fn expect(&mut self, heap: Heap) {
        if heap.turn.is_some() && self.heap == Some(heap) {
            return;
        }
        self.heap = Some(heap);
        self.unread.clear();
        // Behind the end of a list there may be what was taken off it.
        self.unread.extend((heap.count > 0).then_some(0));
        self.waiting.clear();
        (self.late, self.first_due_ns) = (0, None);
    }

    /// Looks at up to `most` timers. `when_offset` tells where in a timer the time is at which it
    /// is due; `now_ns` is the loop's clock, in nanoseconds.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only: what is not there is no timer.
    pub fn look(
        &mut self,
        words: &mut dyn Words,
        when_offset: u64,
        now_ns: u64,
        most: usize,
    ) -> Result<(), MemoryError> {
        while let Some(Reverse((due_ns, place))) = self.waiting.peek().copied()
            && due_ns < now_ns
        {
            self.waiting.pop();
            self.note_late(place);
        }
        let mut left = most;
        while left > 0 && !self.unread.is_empty() {
            let at_once = self.unread.len().min(left).min(AT_ONCE);
            let rest = self.unread.split_off(at_once);
            let places = std::mem::replace(&mut self.unread, rest);
            left -= places.len();
            for (place, due_ns) in self.due(words, when_offset, &places)? {
                if place == 0 {
                    self.first_due_ns = Some(due_ns);
                }
                if due_ns < now_ns {
                    self.note_late(place);
                } else {
                    self.waiting.push(Reverse((due_ns, place)));
                }
            }
        }
        Ok(())
    }

    /// When the timers at these places are due; those that cannot be read are left out.
    fn due(
        &self,
        words: &mut dyn Words,
        when_offset: u64,
        places: &[u64],
    ) -> Result<Vec<Placed<u64>>, MemoryError> {
        let items = self.heap.map_or(RemoteAddr::NULL, |heap| heap.items);
        let slots = places.iter().map(|place| (*place, items.offset(8 * place)));
        let timers = words.read(slots.collect())?;
        let whens = words.read(within(timers, when_offset))?;
        let mut due = words.read(within(whens, FLOAT_VALUE))?;
        for (_, value) in &mut due {
            *value = seconds_to_ns(f64::from_bits(*value));
        }
        Ok(due)
    }

    fn note_late(&mut self, place: u64) {
        self.late += 1;
        let count = self.heap.map_or(0, |heap| heap.count.min(MOST));
        let children = [2 * place + 1, 2 * place + 2];
        self.unread
            .extend(children.into_iter().filter(|place| *place < count));
    }

    /// How many timers are late, of those that were looked at.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// When the first is due, in nanoseconds of the loop's clock.
    #[must_use]
    pub const fn first_due_ns(&self) -> Option<u64> {
        self.first_due_ns
    }

    /// True if there are more to look at.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        !self.unread.is_empty()
    }
}

/// What lies so far within the objects at these addresses.
fn within(objects: Vec<Placed<u64>>, offset: u64) -> Vec<Placed<RemoteAddr>> {
    let field = |(place, object)| (place, RemoteAddr(object).offset(offset));
    objects.into_iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::memory::LiveMemory;

    const WHEN: u64 = 24;

    /// Objects as a Python has them, in this process: a heap of timers due at these times.
    struct MadeUp {
        _floats: Vec<[u64; 3]>,
        _timers: Vec<[u64; 4]>,
        items: Vec<u64>,
    }

    impl MadeUp {
        /// Times that ascend are a heap.
        fn new(due: &[f64]) -> Self {
            let floats: Vec<_> = due.iter().map(|due| [0, 0, due.to_bits()]).collect();
            let timers: Vec<_> = floats
                .iter()
                .map(|float| [0, 0, 0, float.as_ptr() as u64])
                .collect();
            let items = timers.iter().map(|timer| timer.as_ptr() as u64).collect();
            Self {
                _floats: floats,
                _timers: timers,
                items,
            }
        }

        fn heap(&self, turn: Option<u64>) -> Heap {
            Heap {
                items: RemoteAddr(self.items.as_ptr() as u64),
                count: self.items.len() as u64,
                turn,
            }
        }
    }

    /// Looks at the heap at this second; returns how often memory was read.
    fn look(timers: &mut Timers, heap: Heap, now: u64, most: usize) -> u64 {
        let memory = LiveMemory::new(i32::try_from(std::process::id()).unwrap());
        let mut gather = Gather::default();
        timers.expect(heap);
        let words = &mut InOneCall(&memory, &mut gather);
        timers.look(words, WHEN, now * 1_000_000_000, most).unwrap();
        gather.calls()
    }

    #[test]
    fn late_timers_are_counted_and_looked_at_once() {
        let due: Vec<f64> = (0..1000).map(|at| f64::from(at) + 0.5).collect();
        let (made_up, mut timers) = (MadeUp::new(&due), Timers::default());
        let heap = made_up.heap(Some(7));
        for (now, most_calls) in [(0, 3), (100, 30), (101, 6), (101, 0), (1000, 30), (1001, 0)] {
            let calls = look(&mut timers, heap, now, usize::MAX);
            assert_eq!(timers.late(), now.min(1000), "at {now}");
            assert!(calls <= most_calls, "{calls} calls at {now}");
        }
        assert_eq!(timers.first_due_ns(), Some(500_000_000));
    }

    #[test]
    fn a_large_heap_is_looked_at_a_part_at_a_time() {
        let made_up = MadeUp::new(&[1.0; 500]);
        let (mut timers, heap) = (Timers::default(), made_up.heap(Some(1)));
        let mut looks = 0;
        while looks == 0 || timers.is_unfinished() {
            look(&mut timers, heap, 2, 64);
            looks += 1;
        }
        assert_eq!((timers.late(), looks), (500, 500_usize.div_ceil(64)));
    }

    #[test]
    fn of_another_heap_nothing_is_known() {
        let (one, other) = (MadeUp::new(&[1.0; 9]), MadeUp::new(&[9.0; 9]));
        let mut timers = Timers::default();
        for (heap, late) in [
            (one.heap(Some(1)), 9),
            (other.heap(Some(1)), 0),
            (one.heap(None), 9),
        ] {
            look(&mut timers, heap, 2, usize::MAX);
            assert_eq!(timers.late(), late);
        }
        // Its timers may be others now, where nothing tells.
        assert!(look(&mut timers, one.heap(None), 2, usize::MAX) > 0);
    }

    #[test]
    fn of_an_empty_heap_nothing_is_read() {
        let (made_up, mut timers) = (MadeUp::new(&[1.0]), Timers::default());
        let heap = Heap {
            count: 0,
            ..made_up.heap(None)
        };
        assert_eq!(look(&mut timers, heap, 2, usize::MAX), 0);
        assert_eq!((timers.late(), timers.first_due_ns()), (0, None));
    }

    #[test]
    fn what_is_no_heap_has_no_timers() {
        let mut timers = Timers::default();
        let heap = Heap {
            items: RemoteAddr(8),
            count: u64::MAX,
            turn: None,
        };
        look(&mut timers, heap, 2, usize::MAX);
        assert_eq!((timers.late(), timers.first_due_ns()), (0, None));
        assert!(!timers.is_unfinished());
    }
}
