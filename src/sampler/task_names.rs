//! Who a running task is, and who awaits it.

use std::sync::Arc;

use asyncspy_model::snapshot::is_automatic_name;
use asyncspy_model::{Event, RemoteAddr, TaskDefinition, TaskId, TaskIndex};
use rustc_hash::FxHashMap;

use crate::aio::Caches;
use crate::aio::awaits::{recorded_awaiters, woken_tasks};
use crate::aio::chain::{read_link, read_place};
use crate::aio::task::{TaskFields, read_name};
use crate::python::object::Objects;
use crate::target::image::PageImage;
use crate::target::memory::{MemoryError, ProcessMemory};

/// Longest chain of awaiters that is told.
const MAX_AWAITERS: usize = 16;

/// Most tasks that are told apart at once; beyond, all are defined anew. The analysis keeps at
/// least as many.
const MAX_TASKS: usize = 1 << 14;

/// The first bytes of a name object: an int in full, a str's length, hash and beginning. Task,
/// coroutine and name may all lie where those of an ended task lay.
pub(super) type NameHead = [u8; 64];

/// The tasks that were seen running.
#[derive(Debug, Default)]
pub struct TaskTable {
    known: FxHashMap<(RemoteAddr, RemoteAddr), (NameHead, TaskIndex)>,
    /// Where each task had its name.
    names: FxHashMap<RemoteAddr, RemoteAddr>,
    /// Stand-ins for tasks that could not be read, by function.
    anonymous: FxHashMap<Arc<str>, TaskIndex>,
    count: u32,
    /// How many tasks may still be defined in this second.
    allowance: u32,
}

/// Most tasks that are defined in a second. A service may make tasks faster than that; the rest
/// goes by the names of their functions, which keeps the cost and the stream within bounds.
const DEFINED_A_SECOND: u32 = 200;

impl TaskTable {
    /// Begins a second of the clock by which definitions are rationed.
    pub const fn begin_second(&mut self) {
        self.allowance = DEFINED_A_SECOND;
    }

    /// The number of the task at `task` if it runs the coroutine `coro`; `None` if it does not,
    /// cannot be read, or too many were defined in this second. `events` receives its definition
    /// at the first time.
    pub fn resolve(
        &mut self,
        memory: &dyn ProcessMemory,
        objects: Objects<'_>,
        caches: &mut Caches,
        task: RemoteAddr,
        coro: RemoteAddr,
        events: &mut Vec<Event>,
    ) -> Option<TaskIndex> {
        let fields = TaskFields::read(objects, caches, task).ok()?;
        if fields.coro != coro {
            return None;
        }
        let mut head = [0; 64];
        objects.view.read(fields.name, &mut head).ok()?;
        if let Some((known, index)) = self.known.get(&(task, coro))
            && *known == head
        {
            return Some(*index);
        }
        if self.allowance == 0 {
            return None;
        }
        self.allowance -= 1;
        // What tells who it is lies close together: whole pages are fewer calls.
        let image = PageImage::new(memory);
        let near = Objects {
            view: &image,
            layout: objects.layout,
        };
        let definition = self.define(near, caches, &fields).ok()?;
        let index = definition.index;
        if self.known.len() >= MAX_TASKS {
            self.known.clear();
            self.names.clear();
        }
        self.names.insert(task, fields.name);
        self.known.insert((task, coro), (head, index));
        events.push(Event::Task(definition));
        Some(index)
    }

    /// Where a task had its name when it was last defined.
    #[must_use]
    pub fn name_of(&self, task: RemoteAddr) -> Option<RemoteAddr> {
        self.names.get(&task).copied()
    }

    /// A stand-in for a task of which only the coroutine's function is known.
    pub fn stand_in(&mut self, function: &Arc<str>, events: &mut Vec<Event>) -> TaskIndex {
        if let Some(index) = self.anonymous.get(function) {
            return *index;
        }
        let index = self.next_index();
        self.anonymous.insert(function.clone(), index);
        events.push(Event::Task(TaskDefinition {
            index,
            id: TaskId::default(),
            name: function.clone(),
            label: function.clone(),
            awaiters: Vec::new(),
        }));
        index
    }

    fn next_index(&mut self) -> TaskIndex {
        let index = TaskIndex(self.count);
        self.count = self.count.saturating_add(1);
        index
    }

    fn define(
        &mut self,
        objects: Objects<'_>,
        caches: &mut Caches,
        fields: &TaskFields,
    ) -> Result<TaskDefinition, MemoryError> {
        let (name, _) = read_name(objects, caches, fields)?;
        let label = label_of(objects, caches, fields, &name);
        Ok(TaskDefinition {
            index: self.next_index(),
            id: TaskId(fields.addr),
            name,
            label,
            awaiters: awaiter_labels(objects, caches, fields),
        })
    }
}

/// The given name, or the coroutine's qualified name where the name is automatic.
fn label_of(
    objects: Objects<'_>,
    caches: &mut Caches,
    fields: &TaskFields,
    name: &Arc<str>,
) -> Arc<str> {
    if !is_automatic_name(name) {
        return name.clone();
    }
    let read = || -> Result<Option<Arc<str>>, MemoryError> {
        let Some(link) = read_link(objects, caches, fields.coro)? else {
            return Ok(None);
        };
        let Some(frame) = link.frame else {
            return Ok(None);
        };
        read_place(objects, caches, &frame, link.qualname).map(|place| Some(place.function))
    };
    let mut read = read;
    read().ok().flatten().unwrap_or_else(|| name.clone())
}

/// Labels of the tasks that wait for this one, nearest first. Where several do, the first.
fn awaiter_labels(objects: Objects<'_>, caches: &mut Caches, fields: &TaskFields) -> Vec<Arc<str>> {
    let mut labels = Vec::new();
    let mut seen = vec![fields.addr];
    let mut at = fields.clone();
    while labels.len() < MAX_AWAITERS {
        let awaiters = match objects.layout.task.awaited_by {
            Some(by) => recorded_awaiters(objects, caches, by, &at, &mut Vec::new()),
            None => woken_tasks(objects, caches, at.addr),
        };
        let Some(awaiter) = awaiters.ok().and_then(|tasks| tasks.first().copied()) else {
            break;
        };
        if seen.contains(&awaiter.0) {
            break;
        }
        seen.push(awaiter.0);
        let Ok(next) = TaskFields::read(objects, caches, awaiter.0) else {
            break;
        };
        let Ok((name, _)) = read_name(objects, caches, &next) else {
            break;
        };
        labels.push(label_of(objects, caches, &next, &name));
        at = next;
    }
    labels
}
