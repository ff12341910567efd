//! The stack of a loop as it was numbered last: most looks find it again.

use asyncspy_model::StackId;

use super::shared::{Shared, objects};
use crate::aio::Caches;
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::stack::same_frame;

/// The stack that was numbered last.
#[derive(Debug, Default)]
pub struct LastStack {
    frames: Vec<RawFrame>,
    /// `None` where not all of them could be read: the next look may read them.
    id: Option<StackId>,
}

impl LastStack {
    /// The number of the stack of these frames, innermost first; `None` when none of them could be
    /// read. `is_same` says that they are the last ones, but for where the innermost stands;
    /// `is_new_turn` that the same frames may be those of others with other names.
    pub fn id(
        &mut self,
        shared: &mut Shared<'_>,
        frames: &[RawFrame],
        is_same: bool,
        is_new_turn: bool,
    ) -> Option<StackId> {
        let (python, caches) = (shared.python, &mut *shared.caches);
        let renamed = is_new_turn && python.layout.code.qualname.is_none();
        let stands = self.id.is_some() && !renamed;
        let is_same = is_same || differs_innermost_only(&self.frames, frames);
        if stands && is_same && is_at_same_line(python, caches, &self.frames, frames) {
            return self.id;
        }
        self.id = None;
        self.frames.clear();
        self.frames.extend_from_slice(frames);
        let events = &mut *shared.events;
        let (id, is_whole) = shared.stacks.intern(python, caches, frames, events)?;
        self.id = is_whole.then_some(id);
        Some(id)
    }
}

/// True if two stacks differ by nothing but where the innermost frame stands.
fn differs_innermost_only(before: &[RawFrame], now: &[RawFrame]) -> bool {
    match (before.split_first(), now.split_first()) {
        (Some((was, before)), Some((is, now))) => {
            was.addr == is.addr && same_frame(was, is, true) && before == now
        }
        (was, is) => was.is_none() && is.is_none(),
    }
}

/// True if the innermost frame stands at the same line in both.
fn is_at_same_line(
    python: &Python,
    caches: &mut Caches,
    before: &[RawFrame],
    now: &[RawFrame],
) -> bool {
    let (Some(was), Some(is)) = (before.first(), now.first()) else {
        return true;
    };
    let mut lines = || {
        let code = caches.codes.get(objects(python), is.code).ok()?;
        Some([was, is].map(|frame| frame.line(&python.layout, &code)))
    };
    was.instruction == is.instruction || lines().is_some_and(|[was, is]| was == is)
}
