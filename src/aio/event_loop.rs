//! What an event loop is and how much it has to do.

use std::sync::Arc;

use asyncspy_model::{LoopKind, RemoteAddr};

use super::Caches;
use crate::layout::uvloop;
use crate::python::object::Objects;
use crate::target::memory::{MemoryError, MemoryViewExt};

/// Most timers that are looked at to count the late ones.
const MAX_LATE: usize = 100_000;

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

    /// Counts what the loop has to do. `now` is the loop's clock in seconds.
    #[must_use]
    pub fn load(&self, objects: Objects<'_>, now: f64) -> LoopLoad {
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
            load.timers = Some(count);
            let (late, worst) = late_timers(objects, items, count, now);
            load.late_timers = Some(late);
            load.worst_late_ns = worst;
        }
        load
    }
}

/// Counts the timers of a heap whose time has passed, and how late the first is. Only late ones
/// and their children are looked at: no timer in a heap is earlier than its parent.
fn late_timers(objects: Objects<'_>, items: RemoteAddr, count: u64, now: f64) -> (u64, u64) {
    let when_offset = objects.layout.handle.when;
    let when = |index: u64| -> Option<f64> {
        let timer = objects.view.read_ptr(items.offset(8 * index)).ok()?;
        let when = objects.view.read_ptr(timer.offset(when_offset)).ok()?;
        objects.read_float(when).ok()
    };
    let (mut late, mut worst) = (0, 0);
    let mut pending = vec![0];
    while let Some(index) = pending.pop() {
        if index >= count || late >= MAX_LATE as u64 {
            continue;
        }
        let Some(due) = when(index) else { continue };
        if due < now {
            late += 1;
            worst = worst.max(seconds_to_ns(now - due));
            pending.extend([2 * index + 1, 2 * index + 2]);
        }
    }
    (late, worst)
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
