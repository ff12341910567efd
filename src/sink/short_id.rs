//! Ids of tasks, as short as they still tell them apart.

use asyncspy_model::{Snapshot, TaskId};
use rustc_hash::FxHashSet;

/// Digits of a whole address.
pub(super) const FULL: usize = 16;

/// Fewer than these are hard to recognise.
const LEAST: usize = 4;

/// How many of the last hexadecimal digits tell the tasks of a snapshot apart.
pub(super) fn digits(snapshot: &Snapshot) -> usize {
    let distinct = |digits: &usize| {
        let mut seen = FxHashSet::default();
        let mut ids = snapshot.tasks.iter().map(|task| task.id.0.0);
        ids.all(|id| seen.insert(id & ((1 << (4 * digits)) - 1)))
    };
    (LEAST..FULL).find(distinct).unwrap_or(FULL)
}

/// The last digits of an id; an id that is not longer is written in full, with its `0x`.
pub(super) fn text(id: TaskId, digits: usize) -> String {
    let full = id.to_string();
    match full.len().checked_sub(digits) {
        Some(start) if start > "0x".len() => full[start..].to_owned(),
        _ => full,
    }
}

#[cfg(test)]
mod tests {
    use asyncspy_model::RemoteAddr;

    use super::super::fixtures::{snapshot, task};
    use super::*;

    #[test]
    fn ids_are_as_short_as_they_are_distinct() {
        let mut tasks = vec![task(1, "a"), task(2, "b")];
        assert_eq!(digits(&snapshot(vec![], tasks.clone())), 4);
        tasks[1].id = TaskId(RemoteAddr(tasks[0].id.0.0 ^ 0x1_0000));
        assert_eq!(digits(&snapshot(vec![], tasks.clone())), 5);
        tasks[1].id = tasks[0].id;
        assert_eq!(digits(&snapshot(vec![], tasks)), FULL);
        let id = |address| TaskId(RemoteAddr(address));
        assert_eq!(text(id(0x7f3a_1c00_0110), 4), "0110");
        assert_eq!(text(id(0x7f3a_1c00_0110), FULL), "0x7f3a1c000110");
        assert_eq!(text(id(u64::MAX), FULL), "0xffffffffffffffff");
        assert_eq!(text(id(0x10), 4), "0x10");
    }
}
