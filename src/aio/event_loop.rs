//! What an event loop is and how much it has to do.

use std::sync::Arc;

use asyncspy_model::{LoopKind, RemoteAddr};

use super::Caches;
use super::timers::{Heap, InView, Timers};
use crate::layout::uvloop;
use crate::python::object::{OB_SIZE, Objects};
use crate::target::gather::{Gather, Wanted};
use crate::target::memory::{MemoryError, MemoryViewExt};

/// What is read of a deque, a list or a bool.
const HEAD: u64 = 32;

/// What a loop object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopFacts {
    /// The loop object.
    pub addr: RemoteAddr,
    /// How it is built.
    pub kind: LoopKind,
    /// Its class.
    pub class: Arc<str>,
    /// True if asyncio's debug mode is on.
    pub debug: bool,
    /// Where its queues are.
    pub queues: LoopQueues,
    /// The epoll descriptor of a uvloop; -1 for others.
    pub poll_fd: i32,
}

/// Addresses of a loop's queues; null where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopQueues {
    /// A deque of callbacks ready to run.
    pub ready: RemoteAddr,
    /// A heap, as a list, of timers.
    pub scheduled: RemoteAddr,
    /// A `uv_loop_t`, which counts its timers.
    pub uv_loop: RemoteAddr,
    /// Where that counts its turns.
    pub uv_count: RemoteAddr,
}

/// How much a loop has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopLoad {
    /// Callbacks ready to run.
    pub ready: Option<u64>,
    /// Timers scheduled.
    pub timers: Option<u64>,
    /// Timers whose time has passed.
    pub late_timers: Option<u64>,
    /// How late the most overdue one is.
    pub worst_late_ns: u64,
}

impl LoopFacts {
    /// A loop that could not be read.
    #[must_use]
    pub fn unknown(addr: RemoteAddr) -> Self {
        Self {
            addr,
            kind: LoopKind::Other,
            class: Arc::from("?"),
            debug: false,
            queues: LoopQueues::default(),
            poll_fd: -1,
        }
    }

    /// Looks at the loop object at `addr`.
    ///
    /// # Errors
    /// When it or its class cannot be read.
    pub fn read(
        objects: Objects<'_>,
        caches: &mut Caches,
        addr: RemoteAddr,
    ) -> Result<Self, MemoryError> {
        let info = caches.types.of_object(objects, addr)?;
        let class = info.name.clone();
        let kind = if info.descends_from(uvloop::CLASS) {
            LoopKind::Uvloop
        } else if info.descends_from("BaseEventLoop") {
            LoopKind::Asyncio
        } else {
            LoopKind::Other
        };
        let mut facts = Self {
            addr,
            kind,
            class,
            debug: false,
            queues: LoopQueues::default(),
            poll_fd: -1,
        };
        match kind {
            LoopKind::Asyncio => facts.read_attributes(objects)?,
            LoopKind::Uvloop => facts.read_uvloop(objects)?,
            LoopKind::Other => {}
        }
        Ok(facts)
    }

    fn read_attributes(&mut self, objects: Objects<'_>) -> Result<(), MemoryError> {
        let mut debug = None;
        for (name, value) in objects.attributes(self.addr)? {
            if objects.str_equals(name, "_ready")? {
                self.queues.ready = value;
            } else if objects.str_equals(name, "_scheduled")? {
                self.queues.scheduled = value;
            } else if objects.str_equals(name, "_debug")? {
                debug = Some(value);
            }
        }
        let queues = [self.queues.ready, self.queues.scheduled].into_iter();
        let read_next = queues.chain(debug).map(|addr| (addr, HEAD));
        objects.view.expect(&mut read_next.into_iter())?;
        if let Some(debug) = debug {
            self.debug = objects.read_int(debug)? == Some(1);
        }
        Ok(())
    }

    fn read_uvloop(&mut self, objects: Objects<'_>) -> Result<(), MemoryError> {
        let (view, addr) = (objects.view, self.addr);
        self.queues.ready = view.read_ptr(addr.offset(uvloop::READY))?;
        self.queues.uv_loop = view.read_ptr(addr.offset(uvloop::UV_LOOP))?;
        let fields = self.queues.uv_loop.offset(uvloop::INTERNAL_FIELDS);
        self.queues.uv_count = view.read_ptr(fields)?.offset(uvloop::LOOP_COUNT);
        self.debug = view.read_u32(addr.offset(uvloop::DEBUG))? == 1;
        let fd = self.queues.uv_loop.offset(uvloop::BACKEND_FD);
        self.poll_fd = view.read_u32(fd)?.cast_signed();
        Ok(())
    }

    /// Counts what the loop has to do. `now_ns` is the loop's clock, in
    /// nanoseconds.
    #[must_use]
    pub fn load(&self, objects: Objects<'_>, now_ns: u64) -> LoopLoad {
        let mut load = LoopLoad::default();
        if !self.queues.ready.is_null() {
            load.ready = objects.deque_len(self.queues.ready).ok();
        }
        if !self.queues.uv_loop.is_null() {
            let count = self.queues.uv_loop.offset(uvloop::TIMER_COUNT);
            load.timers = objects.view.read_u32(count).ok().map(u64::from);
        }
        if !self.queues.scheduled.is_null()
            && let Ok((items, count)) = objects.list_head(self.queues.scheduled)
        {
            let (mut timers, turn) = (Timers::default(), None);
            timers.expect(Heap { items, count, turn });
            let (words, when) = (&mut InView(objects.view), objects.layout.handle.when);
            // What cannot be read is not counted, here as in the whole heap.
            let _ = timers.look(words, when, now_ns, usize::MAX);
            load.timers = Some(count);
            load.note_late(&timers, now_ns);
        }
        load
    }

    /// Adds the lengths of the loop's queues to a batch.
    pub fn plan_load(&self, gather: &mut Gather) -> WantedLoad {
        let queues = &self.queues;
        gather.clear();
        let mut want = |addr: RemoteAddr, offset: u64, len: usize| {
            let is_known = !addr.is_null();
            is_known.then(|| gather.want_within_group(addr.offset(offset), len))
        };
        WantedLoad {
            ready: want(queues.ready, OB_SIZE, 8),
            uv_timers: want(queues.uv_loop, uvloop::TIMER_COUNT, 4),
            scheduled: want(queues.scheduled, OB_SIZE, 16),
        }
    }
}

impl LoopLoad {
    /// Takes over what is known of the loop's timers.
    pub const fn note_late(&mut self, timers: &Timers, now_ns: u64) {
        self.late_timers = Some(timers.late());
        self.worst_late_ns = match timers.first_due_ns() {
            Some(due_ns) => now_ns.saturating_sub(due_ns),
            None => 0,
        };
    }
}

/// Where a batch has the lengths of a loop's queues.
#[derive(Clone, Copy, Debug)]
pub struct WantedLoad {
    ready: Option<Wanted>,
    uv_timers: Option<Wanted>,
    scheduled: Option<Wanted>,
}

impl WantedLoad {
    /// What the batch has read, and where the items of the heap of timers are.
    #[must_use]
    pub fn take(self, gather: &Gather) -> (LoopLoad, RemoteAddr) {
        let read = |wanted: Option<Wanted>| gather.fields(wanted?);
        let scheduled = read(self.scheduled);
        let uv_timers = read(self.uv_timers).map(|fields| u64::from(fields.i32(0).cast_unsigned()));
        let load = LoopLoad {
            ready: read(self.ready)
                .map(|fields| fields.u64(0))
                .filter(|count| *count <= i64::MAX as u64),
            timers: scheduled.map(|fields| fields.u64(0)).or(uv_timers),
            late_timers: scheduled.map(|_| 0),
            worst_late_ns: 0,
        };
        (
            load,
            RemoteAddr(scheduled.map_or(0, |fields| fields.u64(8))),
        )
    }
}

/// Seconds as nanoseconds; 0 for what is negative or no number.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what a hostile time deserves"
)]
pub fn seconds_to_ns(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
