//! The loops that are followed.

use asyncspy_model::sample::{LoopDefinition, Session};
use asyncspy_model::{LoopId, LoopSample};

use super::paths::LoopPath;
use super::tracked_loop::TrackedLoop;

/// How many loops are followed at once. A program that calls `asyncio.run` again and again makes
/// a new loop each time; the one that was not seen for longest makes room.
const MAX_LOOPS: usize = 256;

/// Every loop that was defined and has not been gone for long.
#[derive(Debug, Default)]
pub(super) struct Loops {
    tracked: Vec<TrackedLoop>,
    serial: u32,
}

impl Loops {
    /// Follows a loop. Returns one that has to be given up: an older one at the same address, or
    /// the one that was not seen for longest when there are too many.
    pub fn add(
        &mut self,
        definition: &LoopDefinition,
        session: Option<&Session>,
        now: u64,
    ) -> Option<TrackedLoop> {
        let same = |tracked: &TrackedLoop| tracked.definition.id == definition.id;
        let given_up = match self.tracked.iter().position(same) {
            Some(position) => Some(self.tracked.swap_remove(position)),
            None if self.tracked.len() >= MAX_LOOPS => self.remove_stalest(),
            None => None,
        };
        self.serial = self.serial.wrapping_add(1);
        let path = LoopPath::new(self.serial, session, definition);
        self.tracked
            .push(TrackedLoop::new(definition.clone(), path, now));
        given_up
    }

    fn remove_stalest(&mut self) -> Option<TrackedLoop> {
        let positions = self.tracked.iter().enumerate();
        let (position, _) = positions.min_by_key(|(_, tracked)| tracked.last_at)?;
        Some(self.tracked.swap_remove(position))
    }

    /// Gives up all loops.
    pub fn take_all(&mut self) -> Vec<TrackedLoop> {
        std::mem::take(&mut self.tracked)
    }

    pub fn get_mut(&mut self, id: LoopId) -> Option<&mut TrackedLoop> {
        self.tracked
            .iter_mut()
            .find(|tracked| tracked.definition.id == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &TrackedLoop> {
        self.tracked.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut TrackedLoop> {
        self.tracked.iter_mut()
    }
}

/// Whether a sample found the target stopped by a signal or a debugger; `None` if it looked at no
/// thread's state.
pub(super) fn find_stopped(samples: &[LoopSample]) -> Option<bool> {
    let mut looked_at = samples
        .iter()
        .filter(|sample| sample.os_state != '?')
        .peekable();
    looked_at.peek()?;
    Some(looked_at.any(|sample| matches!(sample.os_state, 'T' | 't')))
}
