//! The task that a loop's thread runs, read while its step goes on.
//!
//! Where an ended task lay, with its coroutine and its name, the next one often lies. So the task
//! that is expected to run is read between the two passes that prove the stack; another one is
//! read afterwards, and then whether the step still goes on: if it does, it is its task for sure.

use asyncspy_model::RemoteAddr;

use super::discovery::RunningLoopFound;
use super::task_names::NameHead;
use crate::aio::Caches;
use crate::layout::RunningTask;
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::object::Objects;
use crate::python::stack::same_frame;
use crate::python::types::TypeKind;
use crate::target::gather::{Gather, Gathered};
use crate::target::memory::{MemoryError, MemoryView, MemoryViewExt, ProcessMemory};

/// Bytes of a dict object.
const DICT_SIZE: usize = 48;

/// Where a dict object has its keys.
const DICT_KEYS: u64 = 32;

/// Bytes of the keys of a dict with up to eight slots, in any version.
const KEYS_SIZE: usize = 256;

/// Most bytes that tell one callback of a loop from another.
const MARKS: usize = 512;

/// A range of memory: address, and length in bytes.
pub type Range = (RemoteAddr, usize);

/// Where the running task is expected.
#[derive(Debug, Default)]
pub struct TaskReads {
    task: RemoteAddr,
    name: RemoteAddr,
    /// Keys of the dict of running tasks.
    keys: RemoteAddr,
    apart: Gather,
    /// True if the last task was read apart from its stack.
    is_apart: bool,
}

/// A step of a task, as a batch that proved its stack shows it.
#[derive(Clone, Copy)]
pub struct SeenStep<'a> {
    /// The batch.
    pub batch: &'a Gather,
    /// What changes with each callback of the loop; `None` where that is not known.
    pub marks: Option<[Range; 2]>,
    /// The frame of the task's coroutine.
    pub frame: &'a RawFrame,
    /// True if that one is the innermost.
    pub is_innermost: bool,
}

impl TaskReads {
    /// Adds to a batch which task runs, where the thread itself knows it: that is read along with
    /// the rest of the thread.
    pub fn plan_field(python: &Python, found: &RunningLoopFound, gather: &mut Gather) {
        if let RunningTask::Field(offset) = python.layout.running_task {
            gather.want_within_group(found.thread.addr.offset(offset), 8);
        }
    }

    /// Adds to a batch which task runs, and the one that is expected to.
    pub fn plan(&self, python: &Python, found: &RunningLoopFound, gather: &mut Gather) {
        if python.layout.running_task == RunningTask::CurrentTasks && !self.keys.is_null() {
            gather.want_within_group(found.current_tasks, DICT_SIZE);
            gather.want_within_group(self.keys, KEYS_SIZE);
        }
        self.plan_task(python, gather);
    }

    fn plan_task(&self, python: &Python, gather: &mut Gather) {
        if !self.task.is_null() {
            gather.want_within_group(self.task, python.layout.task.size as usize);
        }
        if !self.name.is_null() {
            gather.want_within_group(self.name, size_of::<NameHead>());
        }
    }

    /// The task of a step, and whether it is the one for sure; `None` when there is none. It is not
    /// when the step was over before its task was read, nor for a task of a Python class, whose
    /// attributes are anywhere.
    pub fn read(
        &mut self,
        python: &Python,
        found: &RunningLoopFound,
        caches: &mut Caches,
        step: SeenStep<'_>,
    ) -> Option<(RemoteAddr, bool)> {
        let (memory, layout) = (&python.memory, &python.layout);
        let (batch, field) = (Gathered::alone(step.batch), layout.task.name);
        let planned = task_address(python, found, &batch);
        if let Ok(Some(task)) = planned
            && task == self.task
            && !self.name.is_null()
            && batch.read_ptr(task.offset(field)) == Ok(self.name)
        {
            self.is_apart = false;
            return Some((task, true));
        }
        let task = match planned {
            Ok(task) => task?,
            Err(_) => {
                let keys = memory.read_ptr(found.current_tasks.offset(DICT_KEYS));
                self.keys = keys.unwrap_or(RemoteAddr::NULL);
                task_address(python, found, memory).ok()??
            }
        };
        self.apart.clear();
        self.apart.want(task, layout.task.size as usize);
        self.apart.run(memory).ok()?;
        let view = &Gathered::new(&self.apart, memory);
        let class = caches.types.of_object(Objects { view, layout }, task);
        let is_plain = class.ok()?.kind == TypeKind::Task;
        let name = if is_plain {
            view.read_ptr(task.offset(field)).ok()?
        } else {
            RemoteAddr::NULL
        };
        (self.task, self.name, self.is_apart) = (task, name, true);
        Some((task, self.goes_on(python, step) && is_plain))
    }

    /// Reads the task, and then whether this step of it goes on.
    fn goes_on(&mut self, python: &Python, step: SeenStep<'_>) -> bool {
        let Some(known_marks) = step.marks else {
            return false;
        };
        let (layout, batch) = (&python.layout, Gathered::alone(step.batch));
        let mut apart = std::mem::take(&mut self.apart);
        apart.clear();
        self.plan_task(python, &mut apart);
        let marks = known_marks.map(|(addr, len)| apart.want(addr, len));
        let head = apart.want(step.frame.addr, layout.frame.size as usize);
        let read = apart.run(&python.memory).is_ok();
        let as_before = |wanted, (addr, len): Range| {
            let mut before = [0; MARKS];
            let Some(before) = before.get_mut(..len) else {
                return false;
            };
            let now = apart.fields(wanted).map(|fields| fields.0);
            batch.read(addr, before).is_ok() && now == Some(&*before)
        };
        let stands = apart.fields(head).is_some_and(|head| {
            let now = RawFrame::decode(layout, step.frame.addr, head.0);
            same_frame(step.frame, &now, step.is_innermost)
        });
        let goes_on = read
            && stands
            && marks
                .into_iter()
                .zip(known_marks)
                .all(|(wanted, range)| as_before(wanted, range));
        self.apart = apart;
        goes_on
    }

    /// What was read of the last task; what is not of it is read from the process.
    #[must_use]
    pub fn view<'a>(&'a self, batch: &'a Gather, memory: &'a dyn ProcessMemory) -> Gathered<'a> {
        let gather = if self.is_apart { &self.apart } else { batch };
        Gathered::new(gather, memory)
    }
}

/// The task that the loop's thread runs; `None` when none does.
///
/// # Errors
/// When that cannot be read.
pub fn task_address(
    python: &Python,
    found: &RunningLoopFound,
    view: &dyn MemoryView,
) -> Result<Option<RemoteAddr>, MemoryError> {
    let task = match python.layout.running_task {
        RunningTask::Field(offset) => view.read_ptr(found.thread.addr.offset(offset))?,
        RunningTask::CurrentTasks => {
            let objects = Objects {
                view,
                layout: &python.layout,
            };
            let task = objects.dict_value_of(found.current_tasks, found.facts.addr)?;
            task.unwrap_or(RemoteAddr::NULL)
        }
    };
    Ok(Some(task).filter(|task| !task.is_null()))
}
