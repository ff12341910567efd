//! The frame of `BaseEventLoop._run_once`, which records the turn of a stock loop.
//!
//! It is new each turn. Its local `end_time` is set from the loop's clock directly after the
//! poll; until then it, `handle`, `i` and `ntodo` are unset (Lib/asyncio/base_events.py, 3.8 to
//! 3.15).

use asyncspy_model::RemoteAddr;

use super::Caches;
use crate::python::code::CodeInfo;
use crate::python::frame::{FrameChain, RawFrame, read_local};
use crate::python::object::Objects;
use crate::target::memory::MemoryError;

/// Name of the function whose frame it is.
pub const RUN_ONCE: &str = "_run_once";

/// What the frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoopFrame {
    /// The frame.
    pub addr: RemoteAddr,
    /// Position in the chain it was found in, 0 the innermost.
    pub depth: usize,
    /// When the poll returned, in seconds of the target's CLOCK_MONOTONIC; `None` while the loop
    /// polls.
    pub polled_at: Option<f64>,
    /// When the callback began that runs now, on the same clock; only in debug mode.
    pub callback_began: Option<f64>,
    /// The Handle that runs; null before the first of a turn.
    pub handle: RemoteAddr,
    /// The callback that runs, 0-based, and how many the turn has.
    pub callback: Option<(u32, u32)>,
}

/// Finds the innermost `_run_once` in a chain: a loop that re-enters itself has several.
///
/// # Errors
/// When a code object of the chain cannot be read.
pub fn find_loop_frame(
    objects: Objects<'_>,
    caches: &mut Caches,
    chain: &FrameChain,
) -> Result<Option<(usize, RawFrame, std::sync::Arc<CodeInfo>)>, MemoryError> {
    for (depth, frame) in chain.frames.iter().enumerate() {
        if frame.owner == crate::python::frame::Owner::Shim {
            continue;
        }
        let code = caches.codes.get(objects, frame.code)?;
        if &*code.name == RUN_ONCE {
            return Ok(Some((depth, *frame, code)));
        }
    }
    Ok(None)
}

/// Reads the locals of a `_run_once` frame.
///
/// # Errors
/// When one of them cannot be read.
pub fn read_loop_frame(
    objects: Objects<'_>,
    depth: usize,
    frame: &RawFrame,
    code: &CodeInfo,
) -> Result<LoopFrame, MemoryError> {
    let names = code.local_names(objects)?;
    let local = |name: &str| match names.slot(name) {
        Some(slot) => read_local(objects, frame.addr, slot),
        None => Ok(RemoteAddr::NULL),
    };
    let seconds = |name: &str| -> Result<Option<f64>, MemoryError> {
        let value = local(name)?;
        if value.is_null() {
            return Ok(None);
        }
        let seconds = objects.read_float(value)?;
        // Anything else than a time since boot is no float that this function has set.
        Ok((seconds.is_finite() && seconds > 0.0).then_some(seconds))
    };
    // From 3.15 on `now` is the exact moment; `end_time` adds the clock's resolution, 1 ns.
    let polled_at = match names.slot("now") {
        Some(_) => seconds("now")?,
        None => seconds("end_time")?,
    };
    let count = |name: &str| -> Result<Option<u32>, MemoryError> {
        let value = local(name)?;
        if value.is_null() {
            return Ok(None);
        }
        let number = objects.read_int(value)?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    };
    Ok(LoopFrame {
        addr: frame.addr,
        depth,
        polled_at,
        callback_began: seconds("t0")?,
        handle: local("handle")?,
        callback: count("i")?.zip(count("ntodo")?),
    })
}
