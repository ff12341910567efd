//! Who awaits whom among the tasks of one census.

use std::sync::Arc;

use asyncspy_model::{RemoteAddr, TaskId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Caches;
use super::awaits::{
    as_completed_queue, awaited_tasks, completion_queues, group_parents, recorded_awaiters,
};
use super::task::TaskRecord;
use crate::python::frame::RawFrame;
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
}

/// Joins the edges that the tasks' records show.
#[must_use]
pub fn await_edges(records: &[Arc<TaskRecord>]) -> Edges {
    let listed: FxHashSet<TaskId> = records.iter().map(|record| record.id()).collect();
    let mut pairs: Vec<(TaskId, TaskId)> = Vec::new();
    let mut waiters: FxHashMap<RemoteAddr, TaskId> = FxHashMap::default();
    for record in records {
        pairs.extend(&record.edges.pairs);
        waiters.extend(record.edges.gets_from.map(|queue| (queue, record.id())));
    }
    // as_completed connects its tasks with the one that waits by a queue alone: the tasks'
    // callbacks put into it, the waiter gets from it.
    for record in records {
        let queues = record.edges.puts_into.iter();
        let found = queues.filter_map(|queue| waiters.get(queue));
        pairs.extend(found.map(|waiter| (*waiter, record.id())));
    }
    pairs.sort_unstable();
    pairs.dedup();
    let mut edges = Edges::default();
    for (awaiter, awaited) in pairs {
        if awaiter != awaited && listed.contains(&awaiter) && listed.contains(&awaited) {
            edges.awaits.entry(awaiter).or_default().push(awaited);
            edges.awaited_by.entry(awaited).or_default().push(awaiter);
        }
    }
    edges
}

/// What one task's own fields show of who awaits whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskEdges {
    /// (awaiter, awaited).
    pub pairs: Vec<(TaskId, TaskId)>,
    /// The queue from which it gets what as_completed yields.
    pub gets_from: Option<RemoteAddr>,
    /// Queues into which its completion puts it.
    pub puts_into: Vec<RemoteAddr>,
}

/// Finds the edges of one task, given with the frames of its chain, innermost first. `pieces`
/// receives the ranges that decided them.
///
/// # Errors
/// When a structure that connects it with others cannot be read.
pub fn edges_of(
    objects: Objects<'_>,
    caches: &mut Caches,
    (record, frames): (&TaskRecord, &[RawFrame]),
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<TaskEdges, MemoryError> {
    let id = record.id();
    let mut pairs = Vec::new();
    let by_structure = match objects.layout.task.awaited_by {
        Some(by) => {
            let awaiters = recorded_awaiters(objects, caches, by, &record.fields, pieces)?;
            pairs.extend(awaiters.into_iter().map(|awaiter| (awaiter, id)));
            // Tasks of Python classes take no part in these records.
            let leaf = record.leaf.as_ref();
            record.kind == TypeKind::Other || leaf.is_some_and(|leaf| leaf.kind == TypeKind::Other)
        }
        None => {
            let parents = group_parents(objects, caches, record, pieces)?;
            pairs.extend(parents.into_iter().map(|parent| (parent, id)));
            true
        }
    };
    if by_structure {
        let tasks = awaited_tasks(objects, caches, (record, frames), pieces)?;
        pairs.extend(tasks.into_iter().map(|task| (id, task)));
    }
    Ok(TaskEdges {
        pairs,
        gets_from: as_completed_queue(objects, caches, (record, frames), pieces)?,
        puts_into: completion_queues(objects, caches, id.0, pieces)?,
    })
}
