//! Offsets in uvloop's loop, a Cython class, and in libuv's loop.
//!
//! Measured on uvloop 0.23.0 with libuv 1.52.1; the fields named here have not moved since
//! uvloop 0.17 and libuv 1.43, except `_timers`.

/// Name of the Cython class from which `uvloop.Loop` descends.
pub const CLASS: &str = "uvloop.loop.Loop";
/// `uvloop`: pointer to the `uv_loop_t`.
pub const UV_LOOP: u64 = 24;
/// `_debug`, 32 bits.
pub const DEBUG: u64 = 52;
/// `_thread_id`: pthread_self of the thread that runs it.
pub const THREAD_ID: u64 = 64;
/// `_ready`: a deque.
pub const READY: u64 = 96;
/// `backend_fd` of `uv_loop_t`, 32 bits: the epoll descriptor.
pub const BACKEND_FD: u64 = 64;
/// `nelts` of the timer heap of `uv_loop_t`, 32 bits: libuv's own timers, of which uvloop makes
/// one for each that is scheduled.
pub const TIMER_COUNT: u64 = 528;
/// `time` of `uv_loop_t`, 64 bits, in whole units of [`TIME_UNIT_NS`]: set after each poll, and
/// by whatever asks the loop for the time.
pub const TIME: u64 = 544;
/// Nanoseconds of a unit of `time`.
pub const TIME_UNIT_NS: u64 = 1_000_000;
/// libuv takes the time from `CLOCK_MONOTONIC_COARSE`, which may be behind by its resolution,
/// where that is not more than so many nanoseconds, and else from `CLOCK_MONOTONIC`
/// (`uv__hrtime` in src/unix/linux.c).
pub const COARSE_CLOCK_UP_TO_NS: u64 = 1_000_000;
/// `internal_fields` of `uv_loop_t`: a pointer.
pub const INTERNAL_FIELDS: u64 = 40;
/// `loop_metrics.metrics.loop_count` of those, 64 bits: counts the turns (libuv 1.45 and later;
/// 0 before, unless idle time is measured).
pub const LOOP_COUNT: u64 = 8;
