//! Snapshots that are the same each time they are read from the same memory.

use asyncspy_model::Snapshot;

/// The snapshot without what depends on when it was taken.
#[must_use]
pub fn timeless(mut snapshot: Snapshot) -> Snapshot {
    snapshot.began_monotonic_ns = 0;
    snapshot.began_unix_ns = 0;
    snapshot.elapsed_ns = 0;
    for info in &mut snapshot.loops {
        info.turn_ns = info.turn_ns.map(|_| 0);
        info.late_timers = info.late_timers.map(|_| 0);
        info.worst_late_ns = 0;
    }
    snapshot
}
