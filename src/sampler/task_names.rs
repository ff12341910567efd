//! Who a running task is, and who awaits it.

use std::sync::Arc;

use asyncspy_model::snapshot::is_automatic_name;
use asyncspy_model::{Event, RemoteAddr, TaskDefinition, TaskId, TaskIndex};
use rustc_hash::FxHashMap;

use crate::aio::Caches;
use crate::aio::awaits::{recorded_awaiters, woken_tasks};
use crate::aio::chain::{read_link, read_place};
use crate::aio::task::{TaskFields, read_name};
use crate::layout::Layout;
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

/// A task that runs, as a proven stack shows it.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The task.
    pub task: RemoteAddr,
    /// False if the task that was read may be another one that has followed it.
    pub is_sure: bool,
    /// Its coroutine.
    pub coro: RemoteAddr,
    /// That one's code.
    pub code: RemoteAddr,
    /// What the coroutine's function is called.
    pub function: &'a Arc<str>,
}

/// The tasks that were seen running.
#[derive(Debug, Default)]
pub struct TaskTable {
    known: FxHashMap<(RemoteAddr, RemoteAddr), Known>,
    /// Stand-ins for tasks that could not be read, by function.
    anonymous: FxHashMap<Arc<str>, TaskIndex>,
    count: u32,
    /// How many tasks may still be defined in this second.
    allowance: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    head: NameHead,
    /// The code of its coroutine: names may be given again.
    code: RemoteAddr,
    index: TaskIndex,
    /// False if it was met only once, and then perhaps a moment too late.
    is_sure: bool,
}

/// Most tasks that are defined in a second. A service may make tasks faster than that; the rest
/// goes by the names of their functions, which keeps the cost and the stream within bounds.
const DEFINED_A_SECOND: u32 = 200;

impl TaskTable {
    /// Begins a second of the clock by which definitions are rationed.
    pub const fn begin_second(&mut self) {
        self.allowance = DEFINED_A_SECOND;
    }

    /// The number of the task if it has that coroutine; `None` if it has not, cannot be read, or
    /// too many were defined in this second. `objects` shows it as it was while the coroutine's
    /// frame stood, or shortly after. `events` receives its definition at the first time.
    ///
    /// A task that is not the one for sure goes by the name of its function until it is met again:
    /// what has the same name and code before and after was the same in between.
    pub fn resolve(
        &mut self,
        memory: &dyn ProcessMemory,
        objects: Objects<'_>,
        caches: &mut Caches,
        running: Running<'_>,
        events: &mut Vec<Event>,
    ) -> Option<TaskIndex> {
        let key = (running.task, running.coro);
        let fields = TaskFields::read(objects, caches, running.task).ok()?;
        if fields.coro != running.coro {
            return None;
        }
        let mut head = [0; 64];
        objects.view.read(fields.name, &mut head).ok()?;
        let is_same = |known: &&Known| known.head == head && known.code == running.code;
        let known = self.known.get(&key).filter(is_same);
        if let Some(known) = known.filter(|known| known.is_sure) {
            return Some(known.index);
        }
        if self.allowance == 0 {
            return known.map(|known| known.index);
        }
        let is_sure = running.is_sure || known.is_some();
        let running = Running { is_sure, ..running };
        self.allowance -= 1;
        let definition = self.define(memory, objects.layout, caches, (&fields, &head), running)?;
        let index = definition.index;
        if self.known.len() >= MAX_TASKS {
            self.known.clear();
        }
        let known = Known {
            head,
            code: running.code,
            index,
            is_sure,
        };
        self.known.insert(key, known);
        events.push(Event::Task(definition));
        Some(index)
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

    /// Says who a task is; `None` when it may be another one by now.
    fn define(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        caches: &mut Caches,
        (fields, head): (&TaskFields, &NameHead),
        running: Running<'_>,
    ) -> Option<TaskDefinition> {
        // What tells who it is lies close together: whole pages are fewer calls.
        let view = &PageImage::new(memory);
        let near = Objects { view, layout };
        let (name, _) = read_name(near, caches, fields).ok()?;
        let mut awaiters = awaiter_labels(near, caches, fields);
        let view = memory.as_view();
        if !is_still(Objects { view, layout }, caches, (fields, head), &running) {
            if !running.is_sure || !has_name(near, fields, head) {
                return None;
            }
            // Who awaits it may have been read of another one.
            awaiters.clear();
        }
        let name = if running.is_sure {
            name
        } else {
            running.function.clone()
        };
        let is_automatic = is_automatic_name(&name);
        let label = if is_automatic {
            running.function
        } else {
            &name
        }
        .clone();
        Some(TaskDefinition {
            index: self.next_index(),
            id: TaskId(fields.addr),
            name,
            label,
            awaiters,
        })
    }
}

/// True if nothing says that another task is there by now: it has that name, and that coroutine
/// with that code unless it has ended.
fn is_still(
    objects: Objects<'_>,
    caches: &mut Caches,
    (fields, head): (&TaskFields, &NameHead),
    running: &Running<'_>,
) -> bool {
    let now = TaskFields::read(objects, caches, running.task);
    let link = read_link(objects, caches, running.coro).ok().flatten();
    let frame = link.and_then(|link| link.frame);
    let is_its = |coro: RemoteAddr| {
        let has_code = frame.is_none_or(|frame| frame.code == running.code);
        coro.is_null() || coro == running.coro && has_code
    };
    now.is_ok_and(|now| now.name == fields.name && is_its(now.coro))
        && has_name(objects, fields, head)
}

/// True if the task's name begins so.
fn has_name(objects: Objects<'_>, fields: &TaskFields, head: &NameHead) -> bool {
    let mut name = [0; 64];
    let read = objects.view.read(fields.name, &mut name);
    read.is_ok() && name == *head
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
