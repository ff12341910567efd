//! Who awaits whom among the tasks of one census.

use asyncspy_model::{RemoteAddr, TaskId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Caches;
use super::awaits::{
    as_completed_queue, awaited_tasks, completion_queues, group_parents, recorded_awaiters,
};
use super::task::TaskRecord;
use crate::python::object::Objects;
use crate::python::types::TypeKind;
use crate::target::memory::MemoryError;

/// Await edges, in both directions. Only tasks of the census occur.
#[derive(Debug, Default)]
pub struct Edges {
    /// What each task waits for.
    pub awaits: FxHashMap<TaskId, Vec<TaskId>>,
    /// Who waits for each task.
    pub awaited_by: FxHashMap<TaskId, Vec<TaskId>>,
    /// Tasks whose edges could not be read.
    pub unreadable: u64,
}

/// Finds all edges.
#[must_use]
pub fn await_edges(
    objects: Objects<'_>,
    caches: &mut Caches,
    records: &[TaskRecord],
) -> Edges {
    let mut edges = Edges::default();
    let listed: FxHashSet<TaskId> = records.iter().map(TaskRecord::id).collect();
    let mut pairs: Vec<(TaskId, TaskId)> = Vec::new();
    for record in records {
        match edges_of(objects, caches, record) {
            Ok(found) => pairs.extend(found),
            Err(_) => edges.unreadable += 1,
        }
    }
    pairs.extend(as_completed_edges(objects, caches, records));
    pairs.sort_unstable();
    pairs.dedup();
    for (awaiter, awaited) in pairs {
        if awaiter != awaited && listed.contains(&awaiter) && listed.contains(&awaited) {
            edges.awaits.entry(awaiter).or_default().push(awaited);
            edges.awaited_by.entry(awaited).or_default().push(awaiter);
        }
    }
    edges
}

/// The edges that one task's own fields show, as (awaiter, awaited).
fn edges_of(
    objects: Objects<'_>,
    caches: &mut Caches,
    record: &TaskRecord,
) -> Result<Vec<(TaskId, TaskId)>, MemoryError> {
    let id = record.id();
    let mut pairs = Vec::new();
    let by_structure = match objects.layout.task.awaited_by {
        Some(by) => {
            let awaiters = recorded_awaiters(objects, caches, by, &record.fields)?;
            pairs.extend(awaiters.into_iter().map(|awaiter| (awaiter, id)));
            // Tasks of Python classes take no part in these records.
            let leaf = record.leaf.as_ref();
            record.kind == TypeKind::Other || leaf.is_some_and(|leaf| leaf.kind == TypeKind::Other)
        }
        None => {
            let parents = group_parents(objects, caches, record)?;
            pairs.extend(parents.into_iter().map(|parent| (parent, id)));
            true
        }
    };
    if by_structure {
        let tasks = awaited_tasks(objects, caches, record)?;
        pairs.extend(tasks.into_iter().map(|task| (id, task)));
    }
    Ok(pairs)
}

/// as_completed connects its tasks with the one that waits by a queue alone: the tasks' callback
/// puts into it, the waiter gets from it.
fn as_completed_edges(
    objects: Objects<'_>,
    caches: &mut Caches,
    records: &[TaskRecord],
) -> Vec<(TaskId, TaskId)> {
    let mut waiters: FxHashMap<RemoteAddr, TaskId> = FxHashMap::default();
    for record in records {
        if let Ok(Some(queue)) = as_completed_queue(objects, caches, record) {
            waiters.insert(queue, record.id());
        }
    }
    let mut pairs = Vec::new();
    if waiters.is_empty() {
        return pairs;
    }
    for record in records {
        let queues = completion_queues(objects, caches, record.fields.addr).unwrap_or_default();
        let found = queues.iter().filter_map(|queue| waiters.get(queue));
        pairs.extend(found.map(|waiter| (*waiter, record.id())));
    }
    pairs
}
