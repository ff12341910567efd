//! What the stream has defined: the session, stacks and tasks.

use std::sync::Arc;

use asyncspy_model::sample::Session;
use asyncspy_model::{StackFrame, StackId, TaskDefinition, TaskIndex};
use rustc_hash::FxHashMap;

/// How many stacks are kept; a deep one takes 4 KB. The sampler remembers 1 024 and defines anew
/// what it has forgotten, so at least as many must stay.
const STACKS: Bound = Bound {
    at_most: 5 << 8,
    after_forgetting: 4 << 8,
};
/// How many tasks are kept. A service that makes a task for each request defines a new one at
/// nearly every sample, so a week would define tens of millions. The sampler remembers 16 384
/// and defines anew what it has forgotten, so at least as many must stay.
const TASKS: Bound = Bound {
    at_most: 20 << 10,
    after_forgetting: 16 << 10,
};

/// How many entries a table has at most, and how many are left when it was full.
#[derive(Clone, Copy, Debug)]
struct Bound {
    at_most: usize,
    after_forgetting: usize,
}

/// The definitions that samples refer to.
///
/// When a table is full, what was not used for longest is forgotten. A producer that keeps using
/// an index keeps it alive; one that forgets on its side and defines anew is fine too.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    session: Option<Session>,
    stacks: RecentlyUsed<Arc<[StackFrame]>>,
    tasks: RecentlyUsed<Arc<TaskDefinition>>,
}

impl Definitions {
    pub fn begin_session(&mut self, session: &Session) {
        self.session = Some(session.clone());
    }

    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub fn add_stack(&mut self, id: StackId, frames: &Arc<[StackFrame]>) {
        self.stacks.insert(id.0, Arc::clone(frames), STACKS);
    }

    pub fn add_task(&mut self, task: &TaskDefinition) {
        self.tasks
            .insert(task.index.0, Arc::new(task.clone()), TASKS);
    }

    /// Notes that a sample referred to these, so that they are kept.
    pub fn touch(&mut self, task: Option<TaskIndex>, stack: Option<StackId>) {
        if let Some(task) = task {
            self.tasks.touch(task.0);
        }
        if let Some(stack) = stack {
            self.stacks.touch(stack.0);
        }
    }

    /// Frames of a stack, innermost first; empty when it was never defined.
    pub fn frames(&self, stack: Option<StackId>) -> &[StackFrame] {
        stack
            .and_then(|stack| self.stacks.get(stack.0))
            .map_or(&[], |frames| frames)
    }

    pub fn task(&self, task: Option<TaskIndex>) -> Option<&Arc<TaskDefinition>> {
        task.and_then(|task| self.tasks.get(task.0))
    }

    /// A monotonic moment of this session as wall-clock time.
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        let Some(session) = &self.session else {
            return 0;
        };
        let since = monotonic_ns.saturating_sub(session.began_monotonic_ns);
        let before = session.began_monotonic_ns.saturating_sub(monotonic_ns);
        session
            .began_unix_ns
            .saturating_add(since)
            .saturating_sub(before)
    }
}

/// A table that forgets what was not used for longest.
#[derive(Debug)]
struct RecentlyUsed<V> {
    entries: FxHashMap<u32, (u64, V)>,
    clock: u64,
}

impl<V> Default for RecentlyUsed<V> {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
            clock: 0,
        }
    }
}

impl<V> RecentlyUsed<V> {
    fn insert(&mut self, key: u32, value: V, bound: Bound) {
        if self.entries.len() >= bound.at_most {
            self.forget(bound.after_forgetting);
        }
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
    }

    fn touch(&mut self, key: u32) {
        self.clock += 1;
        if let Some((used, _)) = self.entries.get_mut(&key) {
            *used = self.clock;
        }
    }

    fn get(&self, key: u32) -> Option<&V> {
        self.entries.get(&key).map(|(_, value)| value)
    }

    /// Forgets what was not used for longest; `keep` entries stay.
    fn forget(&mut self, keep: usize) {
        let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let Some(surplus) = uses.len().checked_sub(keep).filter(|surplus| *surplus > 0) else {
            return;
        };
        let (_, &mut newest_to_go, _) = uses.select_nth_unstable(surplus - 1);
        self.entries.retain(|_, (used, _)| *used > newest_to_go);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_what_is_still_in_use() {
        let mut table = RecentlyUsed::default();
        let bound = Bound {
            at_most: 100,
            after_forgetting: 80,
        };
        for key in 0..10_000_u32 {
            table.insert(key, key, bound);
            table.touch(7);
        }
        assert!(table.entries.len() <= 100);
        assert_eq!(table.get(7), Some(&7));
        assert_eq!(table.get(9_999), Some(&9_999));
        let recent = (9_930..10_000).all(|key| table.get(key).is_some());
        assert!(recent, "the last ones used are all there");
        assert_eq!(table.get(8), None);
    }

    #[test]
    fn wall_clock_time_is_known_before_and_after_the_attach() {
        let mut definitions = Definitions::default();
        assert_eq!(definitions.unix_ns(5), 0);
        definitions.begin_session(&crate::analysis::testing::session(1_000));
        let session = definitions.session().cloned().unwrap();
        for (offset, expected) in [(0_i64, 0_i64), (7, 7), (-7, -7)] {
            let at = session.began_monotonic_ns.saturating_add_signed(offset);
            let unix = session.began_unix_ns.saturating_add_signed(expected);
            assert_eq!(definitions.unix_ns(at), unix);
        }
    }
}
