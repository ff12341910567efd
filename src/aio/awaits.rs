//! Which tasks a task waits for, directly or through futures.
//!
//! From 3.14 on futures record who awaits them. Before, and where they do not, the structures of
//! gather, wait, wait_for, shield, TaskGroup and as_completed lead there.

use asyncspy_model::{RemoteAddr, TaskId};
use rustc_hash::FxHashSet;

use super::Caches;
use super::task::{TaskFields, TaskRecord, type_piece};
use super::wait_kind::is_asyncio_file;
use crate::layout::AwaitedByLayout;
use crate::python::code::CodeInfo;
use crate::python::frame::{RawFrame, local_range, read_local};
use crate::python::object::Objects;
use crate::python::types::TypeKind;
use crate::target::memory::{MemoryError, MemoryViewExt};

/// Deepest nesting of futures (gather in gather, shield in gather) that is followed.
const MAX_NESTING: usize = 64;

/// Most futures that are followed for one task.
const MAX_FUTURES: usize = 1 << 20;

/// `im_self` of a method, `m_self` of a builtin (Include/cpython/classobject.h,
/// Include/cpython/methodobject.h).
const METHOD_SELF: u64 = 24;

/// Tasks that the target records as awaiting this one (`fut_awaited_by`, 3.14 and later).
///
/// # Errors
/// When a recorded awaiter cannot be read.
pub fn recorded_awaiters(
    objects: Objects<'_>,
    caches: &mut Caches,
    by: AwaitedByLayout,
    fields: &TaskFields,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<TaskId>, MemoryError> {
    let mut tasks = Vec::new();
    let mut seen = FxHashSet::default();
    let mut pending = awaiter_items(objects, fields.awaited_by, pieces)?;
    while let Some(awaiter) = pending.pop() {
        if !seen.insert(awaiter) || seen.len() > MAX_FUTURES {
            continue;
        }
        pieces.push(type_piece(awaiter));
        match caches.types.of_object(objects, awaiter)?.kind {
            TypeKind::Task => tasks.push(TaskId(awaiter)),
            TypeKind::Future => {
                let link = objects.view.read_ptr(awaiter.offset(by.awaited_by))?;
                let is_set = objects.view.read_u8(awaiter.offset(by.is_set))? != 0;
                pieces.push((awaiter.offset(by.awaited_by), AWAITED_BY_SIZE));
                pending.extend(awaiter_items(objects, (link, is_set), pieces)?);
            }
            // A task or future of a Python class.
            _ => match TaskFields::read(objects, caches, awaiter) {
                Ok(_) => tasks.push(TaskId(awaiter)),
                Err(error) if error.is_final() => return Err(error),
                Err(_) => {
                    let attribute = objects.attribute(awaiter, "_Future__asyncio_awaited_by")?;
                    if let Some(set) = attribute {
                        let is_set = caches.types.kind_of(objects, set)? == TypeKind::Set;
                        if is_set {
                            pending.extend(awaiter_items(objects, (set, true), pieces)?);
                        }
                    }
                }
            },
        }
    }
    tasks.sort_unstable();
    Ok(tasks)
}

fn awaiter_items(
    objects: Objects<'_>,
    (link, is_set): (RemoteAddr, bool),
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<RemoteAddr>, MemoryError> {
    if link.is_null() {
        Ok(Vec::new())
    } else if is_set {
        set_items(objects, link, pieces)
    } else {
        Ok(vec![link])
    }
}

/// `awaited_by`, `state` and the flags behind it.
const AWAITED_BY_SIZE: u64 = 16;

/// The items of a set, and the ranges that hold them.
fn set_items(
    objects: Objects<'_>,
    set: RemoteAddr,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<RemoteAddr>, MemoryError> {
    let head = objects.set_head(set)?;
    pieces.push((set.offset(16), 32));
    pieces.push((head.table, 16 * (head.mask + 1)));
    objects.set_items(set)
}

/// The items of a list, and the ranges that hold them.
fn list_items(
    objects: Objects<'_>,
    list: RemoteAddr,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<RemoteAddr>, MemoryError> {
    let (items, count) = objects.list_head(list)?;
    let found = objects.list_items(list)?;
    pieces.push((list.offset(16), 16));
    pieces.push((items, 8 * count));
    Ok(found)
}

/// Tasks that a waiting task, given with the frames of its chain, innermost first, waits for, by
/// the structures that connect them.
///
/// # Errors
/// When one of those structures cannot be read.
pub fn awaited_tasks(
    objects: Objects<'_>,
    caches: &mut Caches,
    (record, frames): (&TaskRecord, &[RawFrame]),
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<TaskId>, MemoryError> {
    let mut search = Search::new(objects, caches);
    let leaf = record.fields.fut_waiter;
    if leaf.is_null() {
        return Ok(Vec::new());
    }
    search.resolve(leaf)?;
    if let Some(inner) = frames.first() {
        search.by_frame(record, inner)?;
    }
    pieces.append(&mut search.pieces);
    let mut tasks = search.tasks;
    tasks.retain(|task| task.0 != record.fields.addr);
    tasks.sort_unstable();
    tasks.dedup();
    Ok(tasks)
}

/// The queue from which a task, given with the frames of its chain, innermost first, gets in
/// `as_completed`: a free variable `done` of `_wait_for_one`, or from 3.13 an attribute of the
/// iterator that is its `self`.
///
/// # Errors
/// When it cannot be read.
pub fn as_completed_queue(
    objects: Objects<'_>,
    caches: &mut Caches,
    (record, frames): (&TaskRecord, &[RawFrame]),
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Option<RemoteAddr>, MemoryError> {
    let mut frames = record.chain.iter().zip(frames);
    let Some((_, frame)) = frames.find(|(location, _)| {
        location.function.ends_with("_wait_for_one") && is_asyncio_file(&location.file)
    }) else {
        return Ok(None);
    };
    let mut search = Search::new(objects, caches);
    let queue = match search.local(frame, "self")? {
        Some(iterator) => search.attribute(iterator, "_done"),
        None => search.local(frame, "done"),
    };
    pieces.append(&mut search.pieces);
    queue
}

/// The queues into which the completion of a C task puts, by its callbacks.
///
/// # Errors
/// When they cannot be read.
pub fn completion_queues(
    objects: Objects<'_>,
    caches: &mut Caches,
    task: RemoteAddr,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<RemoteAddr>, MemoryError> {
    let mut search = Search::new(objects, caches);
    let mut queues = Vec::new();
    if search.caches.types.kind_of(objects, task)? != TypeKind::Task {
        return Ok(queues);
    }
    for callback in callbacks(objects, task, pieces)? {
        if search.kind_of(callback)? == TypeKind::Method {
            // From 3.13 on a method of the iterator.
            let owner = search.read_ptr(callback.offset(METHOD_SELF))?;
            if search.class_of(owner)? == "_AsCompletedIterator" {
                queues.extend(search.attribute(owner, "_done")?);
            }
        } else if let Some(code) = search.function_code(callback)?
            && &*code.name == "_on_completion"
        {
            queues.extend(search.closure_value(callback, &code, "done")?);
        }
    }
    pieces.append(&mut search.pieces);
    Ok(queues)
}

/// The tasks that run the TaskGroups to which a C task belongs: each task of a group has the
/// group's method `_on_task_done` among its callbacks (3.11 and later).
///
/// # Errors
/// When they cannot be read.
pub fn group_parents(
    objects: Objects<'_>,
    caches: &mut Caches,
    record: &TaskRecord,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<TaskId>, MemoryError> {
    let mut parents = Vec::new();
    if record.kind != TypeKind::Task {
        return Ok(parents);
    }
    let mut search = Search::new(objects, caches);
    for callback in callbacks(objects, record.fields.addr, pieces)? {
        if search.kind_of(callback)? != TypeKind::Method {
            continue;
        }
        let owner = search.read_ptr(callback.offset(METHOD_SELF))?;
        if search.class_of(owner)? == "TaskGroup" {
            let parent = search.attribute(owner, "_parent_task")?;
            parents.extend(parent.map(TaskId));
        }
    }
    pieces.append(&mut search.pieces);
    Ok(parents)
}

/// The tasks that wait for a C task or future, found by its callbacks alone: whoever is woken by
/// its completion, directly or through gather, shield, wait and TaskGroup.
///
/// # Errors
/// When a callback cannot be read.
pub fn woken_tasks(
    objects: Objects<'_>,
    caches: &mut Caches,
    future: RemoteAddr,
) -> Result<Vec<TaskId>, MemoryError> {
    let mut search = Search::new(objects, caches);
    let mut pending = vec![future];
    while let Some(at) = pending.pop() {
        if search.seen.len() > MAX_NESTING || !search.seen.insert(at) {
            continue;
        }
        for callback in callbacks(objects, at, &mut search.pieces)? {
            if let Some(next) = search.after_callback(callback)? {
                pending.push(next);
            }
        }
    }
    Ok(search.tasks)
}

struct Search<'a, 'c> {
    objects: Objects<'a>,
    caches: &'c mut Caches,
    tasks: Vec<TaskId>,
    seen: FxHashSet<RemoteAddr>,
    /// Ranges of memory that decided what was found.
    pieces: Vec<(RemoteAddr, u64)>,
}

impl<'a, 'c> Search<'a, 'c> {
    fn new(objects: Objects<'a>, caches: &'c mut Caches) -> Self {
        Self {
            objects,
            caches,
            tasks: Vec::new(),
            seen: FxHashSet::default(),
            pieces: Vec::new(),
        }
    }

    /// The kind of an object, which decides what is done with it.
    fn kind_of(&mut self, addr: RemoteAddr) -> Result<TypeKind, MemoryError> {
        self.pieces.push(type_piece(addr));
        self.caches.types.kind_of(self.objects, addr)
    }

    /// The name of an object's class, whose kind was looked at before.
    fn class_of(&mut self, addr: RemoteAddr) -> Result<&str, MemoryError> {
        let info = self.caches.types.of_object(self.objects, addr)?;
        Ok(&info.name)
    }

    /// A pointer that decides what is found.
    fn read_ptr(&mut self, addr: RemoteAddr) -> Result<RemoteAddr, MemoryError> {
        self.pieces.push((addr, 8));
        self.objects.view.read_ptr(addr)
    }

    /// An attribute that decides what is found.
    fn attribute(
        &mut self,
        object: RemoteAddr,
        name: &str,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        self.pieces.extend(self.objects.attribute_pieces(object)?);
        self.objects.attribute(object, name)
    }

    /// The tasks behind a future: itself, gather's children, what a shield protects.
    fn resolve(&mut self, future: RemoteAddr) -> Result<(), MemoryError> {
        let mut pending = vec![(future, 0)];
        while let Some((at, depth)) = pending.pop() {
            if depth > MAX_NESTING || self.seen.len() > MAX_FUTURES || !self.seen.insert(at) {
                continue;
            }
            match self.kind_of(at)? {
                TypeKind::Task => self.tasks.push(TaskId(at)),
                _ if self.class_of(at)? == "_GatheringFuture" => {
                    if let Some(children) = self.attribute(at, "_children")? {
                        let children = list_items(self.objects, children, &mut self.pieces)?;
                        pending.extend(children.into_iter().map(|child| (child, depth + 1)));
                    }
                }
                TypeKind::Future => {
                    let inner = self.shielded(at)?;
                    pending.extend(inner.map(|inner| (inner, depth + 1)));
                }
                TypeKind::Other if TaskFields::read(self.objects, self.caches, at).is_ok() => {
                    self.tasks.push(TaskId(at));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes the task that a callback wakes, or returns the future that it completes.
    fn after_callback(&mut self, callback: RemoteAddr) -> Result<Option<RemoteAddr>, MemoryError> {
        let owner = match self.kind_of(callback)? {
            // The builtin is `task_wakeup`.
            TypeKind::Builtin | TypeKind::Method => callback.offset(METHOD_SELF),
            TypeKind::TaskMethod => callback.offset(16),
            TypeKind::Function => {
                let Some(code) = self.function_code(callback)? else {
                    return Ok(None);
                };
                // gather and shield, then wait.
                let outer = self.closure_value(callback, &code, "outer")?;
                return match outer {
                    Some(outer) => Ok(Some(outer)),
                    None => self.closure_value(callback, &code, "waiter"),
                };
            }
            _ => return Ok(None),
        };
        let owner = self.read_ptr(owner)?;
        if self.kind_of(owner)? == TypeKind::Task {
            self.tasks.push(TaskId(owner));
        } else if self.class_of(owner)? == "TaskGroup" {
            let parent = self.attribute(owner, "_parent_task")?;
            self.tasks.extend(parent.map(TaskId));
        }
        Ok(None)
    }

    /// What a future made by `shield` protects: its callback `_outer_done_callback` closes over
    /// `inner`.
    fn shielded(&mut self, outer: RemoteAddr) -> Result<Option<RemoteAddr>, MemoryError> {
        let layout = &self.objects.layout.task;
        self.pieces.push((outer.offset(layout.callback0), 8));
        self.pieces.push((outer.offset(layout.callbacks), 8));
        for callback in callbacks(self.objects, outer, &mut self.pieces)? {
            if let Some(code) = self.function_code(callback)?
                && &*code.name == "_outer_done_callback"
            {
                return self.closure_value(callback, &code, "inner");
            }
        }
        Ok(None)
    }

    /// What the innermost frame of a wait knows: `_wait`, `wait_for`, TaskGroup.
    fn by_frame(&mut self, record: &TaskRecord, frame: &RawFrame) -> Result<(), MemoryError> {
        let Some(innermost) = record.chain.first() else {
            return Ok(());
        };
        if !is_asyncio_file(&innermost.file) {
            return Ok(());
        }
        match &*innermost.function {
            "_wait" => {
                if let Some(futures) = self.local(frame, "fs")? {
                    let futures = set_items(self.objects, futures, &mut self.pieces)?;
                    self.resolve_all(futures)?;
                }
            }
            "wait_for" => {
                if let Some(future) = self.local(frame, "fut")? {
                    self.resolve_future(future)?;
                }
            }
            "TaskGroup.__aexit__" | "TaskGroup._aexit" => {
                if let Some(group) = self.local(frame, "self")?
                    && let Some(tasks) = self.attribute(group, "_tasks")?
                {
                    let tasks = set_items(self.objects, tasks, &mut self.pieces)?;
                    self.resolve_all(tasks)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn resolve_all(&mut self, futures: Vec<RemoteAddr>) -> Result<(), MemoryError> {
        futures
            .into_iter()
            .try_for_each(|future| self.resolve_future(future))
    }

    fn resolve_future(&mut self, future: RemoteAddr) -> Result<(), MemoryError> {
        match self.kind_of(future)? {
            TypeKind::Task | TypeKind::Future | TypeKind::Other => self.resolve(future),
            _ => Ok(()),
        }
    }

    /// A local variable of a frame, out of its cell if it is in one.
    fn local(&mut self, frame: &RawFrame, name: &str) -> Result<Option<RemoteAddr>, MemoryError> {
        let code = self.caches.codes.get(self.objects, frame.code)?;
        let Some(slot) = code.local_names(self.objects)?.slot(name) else {
            return Ok(None);
        };
        let range = local_range(self.objects.layout, frame.addr, slot);
        self.pieces.push(range);
        let value = read_local(self.objects, frame.addr, slot)?;
        self.out_of_cell(value)
    }

    fn out_of_cell(&mut self, value: RemoteAddr) -> Result<Option<RemoteAddr>, MemoryError> {
        if value.is_null() {
            return Ok(None);
        }
        if self.kind_of(value)? == TypeKind::Cell {
            let inside = self.read_ptr(value.offset(16))?;
            return Ok((!inside.is_null()).then_some(inside));
        }
        Ok(Some(value))
    }

    fn function_code(
        &mut self,
        callback: RemoteAddr,
    ) -> Result<Option<std::sync::Arc<CodeInfo>>, MemoryError> {
        if self.kind_of(callback)? != TypeKind::Function {
            return Ok(None);
        }
        let code = self.read_ptr(callback.offset(self.objects.layout.function.code))?;
        self.caches.codes.get(self.objects, code).map(Some)
    }

    /// A free variable of a function: the free variables are the last of a code's local names,
    /// in the order of the closure's cells.
    fn closure_value(
        &mut self,
        function: RemoteAddr,
        code: &CodeInfo,
        name: &str,
    ) -> Result<Option<RemoteAddr>, MemoryError> {
        let closure = self.read_ptr(function.offset(self.objects.layout.function.closure))?;
        if closure.is_null() {
            return Ok(None);
        }
        let cells = self.objects.tuple_items(closure)?;
        let names = code.local_names(self.objects)?;
        let names = names.0.iter().rev().zip(cells.iter().rev());
        for (local, cell) in names {
            if &**local == name {
                return self.out_of_cell(*cell);
            }
        }
        Ok(None)
    }
}

/// The callbacks of a C future: `callback0` and the first of each pair in `callbacks`.
///
/// # Errors
/// When they cannot be read.
pub fn callbacks(
    objects: Objects<'_>,
    future: RemoteAddr,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Vec<RemoteAddr>, MemoryError> {
    let layout = &objects.layout.task;
    let mut found = Vec::new();
    let first = objects.view.read_ptr(future.offset(layout.callback0))?;
    if !first.is_null() {
        found.push(first);
    }
    let list = objects.view.read_ptr(future.offset(layout.callbacks))?;
    if !list.is_null() && is_list(objects, list)? {
        for pair in list_items(objects, list, pieces)? {
            found.extend(objects.tuple_items(pair)?.first());
        }
    }
    Ok(found)
}

/// `callbacks` is `None` or null when there is but one.
fn is_list(objects: Objects<'_>, addr: RemoteAddr) -> Result<bool, MemoryError> {
    const LIST_SUBCLASS: u64 = 1 << 25;
    let class = objects.type_of(addr)?;
    let flags = class.offset(objects.layout.type_.flags);
    Ok(objects.view.read_u64(flags)? & LIST_SUBCLASS != 0)
}
