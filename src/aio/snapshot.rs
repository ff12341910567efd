//! All threads, loops and tasks at one moment.

use std::sync::Arc;

use asyncspy_model::{
    FaultKind, Faults, LoopId, RemoteAddr, Snapshot, TaskInfo, TaskState, ThreadInfo, WaitsOn,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Caches;
use super::census::{Census, read_tasks, read_tasks_once};
use super::census_memo::CensusMemo;
use super::chain::Place;
use super::edges::await_edges;
use super::loops::{LoopTable, loop_infos};
use super::registry::Registries;
use super::running::{RunningStep, ThreadActivity, running_step};
use super::task::{TaskFields, TaskRecord, read_name};
use crate::python::Python;
use crate::python::frame::Owner;
use crate::python::locals::read_locals;
use crate::python::object::Objects;
use crate::python::thread::{Interpreter, Thread, read_interpreters, read_threads};
use crate::python::thread_names::ThreadNames;
use crate::target::image::PageImage;
use crate::target::memory::MemoryError;
use crate::target::process::{monotonic_now_ns, unix_now_ns};
use crate::target::threads::{ThreadIds, state_and_name};

/// How often tasks that moved between the reads of tasks and of stacks are looked at again.
const SETTLE_ATTEMPTS: usize = 16;

/// How often threads are read again of whose frames not all could be read.
const PARTIAL_ATTEMPTS: usize = 4;

/// What a snapshot shall hold besides tasks and loops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Read local variables of all threads' frames.
    pub locals: bool,
}

/// Takes snapshots of one process, faster each time by what it has learnt.
#[derive(Debug, Default)]
pub struct Snapshooter {
    caches: Caches,
    registries: Registries,
    thread_names: ThreadNames,
    /// What the last census of each interpreter has read.
    memos: FxHashMap<i64, CensusMemo>,
    /// True if there will be no other.
    is_for_one: bool,
}

/// What was read of one interpreter.
struct InterpreterView {
    interpreter: Interpreter,
    census: Census,
    activities: Vec<ThreadActivity>,
    names: FxHashMap<u64, Arc<str>>,
    /// Steps of tasks that are on a stack, by task: position of thread, frames.
    steps: FxHashMap<RemoteAddr, RunningStep>,
    /// The topmost of these in each loop.
    running: FxHashMap<RemoteAddr, RemoteAddr>,
}

impl Snapshooter {
    /// For one snapshot: what was read is not kept for a next one, which makes it faster.
    #[must_use]
    pub fn for_one() -> Self {
        Self {
            is_for_one: true,
            ..Self::default()
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`]; or any when not
    /// even the main interpreter can be read.
    pub fn take(
        &mut self,
        python: &Python,
        options: SnapshotOptions,
    ) -> Result<Snapshot, MemoryError> {
        let (began_monotonic_ns, began_unix_ns) = (monotonic_now_ns(), unix_now_ns());
        self.caches.types.clear();
        self.caches.codes.begin_epoch();
        let image = PageImage::new(&python.memory);
        let objects = Objects {
            view: &image,
            layout: &python.layout,
        };
        let mut faults = Faults::default();
        let head = python.interpreters_head(&image)?;
        let (interpreters, all) = read_interpreters(objects, python.anchors.runtime, head)?;
        if !all {
            faults.add(FaultKind::InterpreterUnreadable);
        }
        let mut snapshot = Snapshot {
            schema: Arc::from("asyncspy.ps"),
            schema_version: 1,
            pid: python.facts.pid,
            python: python.layout.version.to_string().into(),
            complete: false,
            faults: Faults::default(),
            began_monotonic_ns,
            began_unix_ns,
            elapsed_ns: 0,
            loops: Vec::new(),
            tasks: Vec::new(),
            threads: Vec::new(),
        };
        let ids = ThreadIds::read(&python.facts);
        for interpreter in interpreters {
            let view = self.read_interpreter(python, &image, interpreter, &mut faults)?;
            self.describe(python, &view, &ids, options, &mut snapshot, &mut faults);
        }
        snapshot.complete = faults.is_complete();
        snapshot.faults = faults;
        snapshot.elapsed_ns = monotonic_now_ns().saturating_sub(began_monotonic_ns);
        Ok(snapshot)
    }

    fn read_interpreter(
        &mut self,
        python: &Python,
        image: &PageImage<'_>,
        interpreter: Interpreter,
        faults: &mut Faults,
    ) -> Result<InterpreterView, MemoryError> {
        let layout = &python.layout;
        let objects = Objects {
            view: image,
            layout,
        };
        let (threads, all) = read_threads(objects, &interpreter);
        if !all {
            faults.add(FaultKind::ThreadUnreadable);
        }
        let registered = self.registries.collect(
            image,
            layout,
            &interpreter,
            &threads,
            &mut self.caches.types,
        )?;
        faults.merge(&registered.faults);
        let (memory, tasks) = (image.memory(), &registered.tasks);
        let mut census = if self.is_for_one {
            read_tasks_once(memory, layout, &mut self.caches, tasks)?
        } else {
            let memo = self.memos.entry(interpreter.id).or_default();
            read_tasks(memory, layout, &mut self.caches, memo, tasks)?
        };
        self.settle_unreadable(python, image, &interpreter, &threads, &mut census)?;
        let met = self.registries.threading(&interpreter);
        let mut view = InterpreterView {
            census,
            activities: Vec::new(),
            names: self.thread_names.read(objects, interpreter.modules, met),
            interpreter,
            steps: FxHashMap::default(),
            running: FxHashMap::default(),
        };
        self.read_activities(python, image, &threads, &mut view, faults)?;
        let unreadable = view.census.unreadable.len();
        faults.add_many(FaultKind::TaskUnreadable, unreadable as u64);
        faults.merge(&view.census.faults());
        Ok(view)
    }

    /// A task that could not be read has most likely ended meanwhile. If it is still registered,
    /// it has not, and is tried again.
    fn settle_unreadable(
        &mut self,
        python: &Python,
        image: &PageImage<'_>,
        interpreter: &Interpreter,
        threads: &[Thread],
        census: &mut Census,
    ) -> Result<(), MemoryError> {
        if census.unreadable.is_empty() {
            return Ok(());
        }
        let fresh = PageImage::new(image.memory());
        let now = self.registries.collect(
            &fresh,
            &python.layout,
            interpreter,
            threads,
            &mut self.caches.types,
        )?;
        let all = now.faults.is_complete();
        let registered: FxHashSet<RemoteAddr> = now.tasks.into_iter().collect();
        for addr in std::mem::take(&mut census.unreadable) {
            if !all || registered.contains(&addr) {
                census.add_proven(image.memory(), &python.layout, &mut self.caches, addr)?;
            }
        }
        Ok(())
    }

    /// Reads what the threads execute, and joins it with the tasks. A task that was executing
    /// when it was read and is on no stack now has gone on meanwhile: it is read again, and the
    /// threads too, until both agree.
    fn read_activities(
        &mut self,
        python: &Python,
        image: &PageImage<'_>,
        threads: &[Thread],
        view: &mut InterpreterView,
        faults: &mut Faults,
    ) -> Result<(), MemoryError> {
        for attempt in 0..SETTLE_ATTEMPTS {
            let last = attempt + 1 == SETTLE_ATTEMPTS;
            let unread = self.read_threads(python, image, threads, view)?;
            if last {
                faults.add_many(FaultKind::ThreadUnreadable, unread);
            }
            let replaced = self.join_steps(python, view);
            let may_be_whole = attempt < PARTIAL_ATTEMPTS;
            let astray: Vec<usize> = (0..view.census.records.len())
                .filter(|at| view.is_astray(*at) || may_be_whole && replaced.contains(at))
                .collect();
            let is_partial = may_be_whole && view.activities.iter().any(ThreadActivity::is_partial);
            if astray.is_empty() && unread == 0 && !is_partial {
                break;
            }
            self.read_again(python, view, &astray, last)?;
            let interpreter = view.interpreter;
            self.settle_unreadable(python, image, &interpreter, threads, &mut view.census)?;
        }
        let torn = view.activities.iter().filter(|a| !a.proven).count();
        faults.add_many(FaultKind::StackTorn, torn as u64);
        Ok(())
    }

    /// Reads what each thread executes; returns how many could not be read at all.
    fn read_threads(
        &mut self,
        python: &Python,
        image: &PageImage<'_>,
        threads: &[Thread],
        view: &mut InterpreterView,
    ) -> Result<u64, MemoryError> {
        let (caches, inner_pid) = (&mut self.caches, python.facts.inner_pid);
        let mut unread = 0;
        view.activities.clear();
        for thread in threads {
            match ThreadActivity::read(image, &python.layout, caches, thread, inner_pid) {
                Ok(activity) => view.activities.push(activity),
                Err(error) if error.is_final() => return Err(error),
                Err(_) => unread += 1,
            }
        }
        Ok(unread)
    }

    fn read_again(
        &mut self,
        python: &Python,
        view: &mut InterpreterView,
        astray: &[usize],
        last: bool,
    ) -> Result<(), MemoryError> {
        for at in astray.iter().rev() {
            let addr = view.census.records[*at].fields.addr;
            let again =
                TaskRecord::read_proven(&python.memory, &python.layout, &mut self.caches, addr);
            match again {
                Ok(Some(mut record)) => {
                    record.torn |= last && record.is_executing();
                    view.census.records[*at] = Arc::new(record);
                }
                Ok(None) => {
                    view.census.records.remove(*at);
                }
                Err(error) if error.is_final() => return Err(error),
                Err(_) => {
                    view.census.records.remove(*at);
                    view.census.unreadable.push(addr);
                }
            }
        }
        Ok(())
    }

    /// Finds the tasks whose steps are on a stack. Returns the positions of those of which others
    /// have taken the place, coroutine and all, since they were read.
    fn join_steps(&mut self, python: &Python, view: &mut InterpreterView) -> Vec<usize> {
        let records = view.census.records.iter().enumerate();
        let by_coro: FxHashMap<RemoteAddr, usize> = records
            .map(|(at, record)| (record.fields.coro, at))
            .collect();
        view.steps.clear();
        view.running.clear();
        let mut replaced = Vec::new();
        for activity in &view.activities {
            let mut innermost = 0;
            for (depth, coro) in activity.coroutines() {
                let Some(at) = by_coro.get(&coro) else {
                    continue;
                };
                let record = &view.census.records[*at];
                if !self.is_still(python, record, activity.places[depth].as_ref()) {
                    replaced.push(*at);
                    continue;
                }
                let (task, loop_addr) = (record.fields.addr, record.fields.loop_addr);
                let step = running_step(&mut self.caches, activity, innermost, depth);
                view.steps.insert(task, step);
                view.running.entry(loop_addr).or_insert(task);
                innermost = depth + 1;
            }
        }
        replaced
    }

    /// True if a task that was read before a stack, and whose coroutine is on it, has the same
    /// name after it: what lies where an ended task lay often has its coroutine's address too.
    fn is_still(&mut self, python: &Python, record: &TaskRecord, place: Option<&Place>) -> bool {
        let read_as = record.chain.last().map(|outermost| &outermost.function);
        let runs_as = place.map(|place| &place.function);
        if read_as.is_some() && runs_as.is_some() && read_as != runs_as {
            return false;
        }
        let image = PageImage::new(&python.memory);
        let objects = Objects {
            view: &image,
            layout: &python.layout,
        };
        let (caches, fields) = (&mut self.caches, &record.fields);
        let Ok(now) = TaskFields::read(objects, caches, fields.addr) else {
            return false;
        };
        let is_its = now.name == fields.name && (now.coro == fields.coro || now.coro.is_null());
        is_its && read_name(objects, caches, &now).is_ok_and(|(name, _)| name == record.name)
    }

    fn describe(
        &mut self,
        python: &Python,
        view: &InterpreterView,
        ids: &ThreadIds,
        options: SnapshotOptions,
        snapshot: &mut Snapshot,
        faults: &mut Faults,
    ) {
        let fresh = PageImage::new(&python.memory);
        let objects = Objects {
            view: &fresh,
            layout: &python.layout,
        };
        let mut table = LoopTable::default();
        let mut tasks = task_infos(view);
        for task in &tasks {
            table.count_task(task.loop_id);
        }
        for activity in &view.activities {
            let tid = ids.outer(activity.thread.native_id);
            snapshot
                .threads
                .push(self.thread_info(python, objects, view, activity, tid, options));
            table.add_thread(activity, tid);
        }
        let loops = loop_infos(
            python,
            objects,
            &mut self.caches,
            &table,
            &view.running,
            view.interpreter.id,
            faults,
        );
        let rank: FxHashMap<LoopId, usize> = loops
            .iter()
            .enumerate()
            .map(|(at, info)| (info.id, at))
            .collect();
        tasks.sort_by_key(|task| rank.get(&task.loop_id).copied());
        snapshot.loops.extend(loops);
        snapshot.tasks.extend(tasks);
    }

    fn thread_info(
        &mut self,
        python: &Python,
        objects: Objects<'_>,
        view: &InterpreterView,
        activity: &ThreadActivity,
        tid: Option<i32>,
        options: SnapshotOptions,
    ) -> ThreadInfo {
        let os = tid.and_then(|tid| state_and_name(python.facts.pid, tid));
        let (os_state, os_name) = os.unwrap_or(('?', String::new()));
        let known = view.names.get(&activity.thread.thread_id).cloned();
        let locals = if options.locals {
            let frames = activity.chain.frames.iter().zip(&activity.places);
            frames
                .filter(|(frame, place)| frame.owner != Owner::Shim && place.is_some())
                .map(|(frame, place)| match place {
                    Some(place) => read_locals(objects, &mut self.caches.types, frame, &place.code),
                    None => Vec::new(),
                })
                .collect()
        } else {
            Vec::new()
        };
        let holds_gil = view.interpreter.gil_holder == activity.thread.addr;
        ThreadInfo {
            tid: tid.unwrap_or(0),
            name: known.unwrap_or_else(|| os_name.into()),
            interpreter: view.interpreter.id,
            holds_gil,
            collects_garbage: holds_gil && view.interpreter.collects_garbage,
            os_state,
            loop_id: (!activity.loop_addr.is_null()).then_some(LoopId(activity.loop_addr)),
            stack: activity.stack(&mut self.caches),
            locals,
            torn: !activity.proven,
        }
    }
}

impl InterpreterView {
    /// True for a task that was executing when it was read and is on no stack, or that is on a
    /// stack though it was suspended: the one moment is not the other.
    fn is_astray(&self, at: usize) -> bool {
        let record = &self.census.records[at];
        record.is_executing() && !self.steps.contains_key(&record.fields.addr)
    }
}

fn task_infos(view: &InterpreterView) -> Vec<TaskInfo> {
    let records = &view.census.records;
    let mut edges = await_edges(records);
    let describe = |record: &Arc<TaskRecord>| {
        let id = record.id();
        let step = view.steps.get(&id.0);
        let state = match (step, &record.leaf) {
            (Some(_), _) => TaskState::Running,
            (None, Some(leaf)) if !leaf.done => TaskState::Waiting,
            _ => TaskState::Runnable,
        };
        let tasks = edges.awaits.remove(&id).unwrap_or_default();
        let waits_on = record.waits_on.clone();
        TaskInfo {
            id,
            name: record.name.clone(),
            class: record.fields.class.clone(),
            loop_id: record.loop_id(),
            state,
            cancelling: record.fields.cancelling,
            coroutine_stack: step
                .map_or_else(|| record.chain.clone(), |step| step.coroutines.clone()),
            sync_stack: step.map_or_else(|| Arc::from([]), |step| step.sync.clone()),
            awaited_by: edges.awaited_by.remove(&id).unwrap_or_default(),
            waits_on: waits_on
                .filter(|_| state == TaskState::Waiting)
                .map(|waits_on| WaitsOn { tasks, ..waits_on }),
            torn: record.torn,
        }
    };
    records.iter().map(describe).collect()
}
