//! The task that a loop's thread runs, read while its step goes on.
//!
//! Where an ended task lay, with its coroutine and its name, the next one often lies. So the task
//! that is expected to run is read between the two passes that prove the stack; another one is
//! read afterwards, and then whether the step still goes on: if it does, it is its task for sure.

use asyncspy_model::RemoteAddr;

use super::discovery::RunningLoopFound;
use super::task_names::NameHead;
use crate::aio::Caches;
use crate::layout::{Layout, RunningTask};
use crate::python::Python;
use crate::python::frame::RawFrame;
use crate::python::object::Objects;
use crate::python::stack::same_frame;
use crate::python::types::TypeKind;
use crate::target::gather::{Gather, Gathered};
use crate::target::memory::{Fields, MemoryError, MemoryView, MemoryViewExt, ProcessMemory};

/// Bytes of a dict object.
const DICT_SIZE: usize = 48;

/// Where a dict object has its keys.
pub(super) const DICT_KEYS: u64 = 32;

/// Bytes of the keys of a dict with up to eight slots, in any version.
const KEYS_SIZE: usize = 256;

/// How many keys of the dict of running tasks are expected: what it leaves is what it moves to next,
/// but for what other dicts take of it.
const KNOWN_KEYS: usize = 2;

/// Most bytes that tell one callback of a loop from another.
const MARKS: usize = 512;

/// A range of memory: address, and length in bytes.
pub type Range = (RemoteAddr, usize);

/// Where the running task is expected.
#[derive(Debug, Default)]
pub struct TaskReads {
    task: RemoteAddr,
    name: RemoteAddr,
    /// Keys that the dict of running tasks had lately, the last ones first. A key that is entered
    /// takes a new slot each time, so the dict moves to other keys ever again, and back.
    keys: [RemoteAddr; KNOWN_KEYS],
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
    /// True if the batch holds the running task, all of it of the moment of the stack.
    pub is_whole: bool,
}

impl SeenStep<'_> {
    /// True if these bytes are still what they were in the batch.
    fn is_marked(&self, (addr, len): Range, now: Option<Fields<'_>>) -> bool {
        let mut before = [0; MARKS];
        let Some(before) = before.get_mut(..len) else {
            return false;
        };
        let has_read = Gathered::alone(self.batch).read(addr, before).is_ok();
        has_read && now.map(|fields| fields.0) == Some(&*before)
    }

    /// True if the frame of the task's coroutine stands as it did.
    fn stands(&self, layout: &Layout, now: Fields<'_>) -> bool {
        let now = RawFrame::decode(layout, self.frame.addr, now.0);
        same_frame(self.frame, &now, self.is_innermost)
    }
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
        if python.layout.running_task == RunningTask::CurrentTasks {
            self.plan_dict(found, gather);
        }
        self.plan_task(python, gather);
    }

    /// Adds the dict of running tasks with the keys that it may have; nothing while none are known.
    fn plan_dict(&self, found: &RunningLoopFound, gather: &mut Gather) {
        let known = self.keys.into_iter().filter(|keys| !keys.is_null());
        for (nth, keys) in known.enumerate() {
            if nth == 0 {
                gather.want_within_group(found.current_tasks, DICT_SIZE);
            }
            gather.want_within_group(keys, KEYS_SIZE);
        }
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
        let batch = Gathered::alone(step.batch);
        if step.is_whole {
            return self.of_batch(python, found, caches, step.batch);
        }
        let task = match task_address(python, found, &batch) {
            Ok(task) => {
                let task = task?;
                if self.is_expected(python, task, &batch) {
                    self.is_apart = false;
                    return Some((task, true));
                }
                task
            }
            Err(_) => {
                self.note_keys(python, found, &batch);
                let goes_on = self.goes_on(python, step, Some(found));
                let apart = Gathered::alone(&self.apart);
                match task_address(python, found, &apart) {
                    Ok(Some(task)) if self.is_expected(python, task, &apart) => {
                        self.is_apart = true;
                        return Some((task, goes_on));
                    }
                    Ok(task) => task?,
                    // A dict of more loops than a small one holds.
                    Err(_) => task_address(python, found, &python.memory).ok()??,
                }
            }
        };
        let is_plain = self.meet(python, caches, task)?;
        Some((task, self.goes_on(python, step, None) && is_plain))
    }

    /// The task of a batch that holds it: the one for sure, if of CPython's own class.
    fn of_batch(
        &mut self,
        python: &Python,
        found: &RunningLoopFound,
        caches: &mut Caches,
        batch: &Gather,
    ) -> Option<(RemoteAddr, bool)> {
        self.is_apart = false;
        let is_told = task_address(python, found, &Gathered::alone(batch));
        // A dict of more loops than a small one holds.
        let task = is_told.or_else(|_| task_address(python, found, &python.memory));
        let task = task.ok()??;
        // Its class stays, wherever that is.
        let objects = Objects {
            view: &Gathered::new(batch, &python.memory),
            layout: &python.layout,
        };
        let class = caches.types.of_object(objects, task);
        let is_plain = class.is_ok_and(|class| class.kind == TypeKind::Task);
        Some((task, is_plain && is_told.is_ok()))
    }

    /// True for the task that was expected to run, if a batch that was to show it does.
    fn is_expected(&self, python: &Python, task: RemoteAddr, batch: &Gathered<'_>) -> bool {
        task == self.task
            && !self.name.is_null()
            && batch.read_ptr(task.offset(python.layout.task.name)) == Ok(self.name)
    }

    /// Takes notice of which keys the dict of running tasks has, if that can be read.
    fn note_keys(&mut self, python: &Python, found: &RunningLoopFound, batch: &Gathered<'_>) {
        let at = found.current_tasks.offset(DICT_KEYS);
        let read = batch.read_ptr(at).or_else(|_| python.memory.read_ptr(at));
        if let Ok(keys) = read {
            let known = self.keys.iter().position(|known| *known == keys);
            self.keys[..=known.unwrap_or(KNOWN_KEYS - 1)].rotate_right(1);
            self.keys[0] = keys;
        }
    }

    /// Reads another task than the one that was expected; true if it is of CPython's own class,
    /// `None` if it cannot be read.
    fn meet(&mut self, python: &Python, caches: &mut Caches, task: RemoteAddr) -> Option<bool> {
        let (memory, layout) = (&python.memory, &python.layout);
        self.apart.clear();
        self.apart.want(task, layout.task.size as usize);
        self.apart.run(memory).ok()?;
        let view = &Gathered::new(&self.apart, memory);
        let class = caches.types.of_object(Objects { view, layout }, task);
        let is_plain = class.ok()?.kind == TypeKind::Task;
        let name = if is_plain {
            view.read_ptr(task.offset(layout.task.name)).ok()?
        } else {
            RemoteAddr::NULL
        };
        (self.task, self.name, self.is_apart) = (task, name, true);
        Some(is_plain)
    }

    /// Reads the task, where asked for with the dict that tells which one runs, and then whether
    /// this step of it goes on.
    fn goes_on(
        &mut self,
        python: &Python,
        step: SeenStep<'_>,
        dict: Option<&RunningLoopFound>,
    ) -> bool {
        if step.marks.is_none() && dict.is_none() {
            return false;
        }
        let mut apart = std::mem::take(&mut self.apart);
        apart.clear();
        if let Some(found) = dict {
            self.plan_dict(found, &mut apart);
        }
        self.plan_task(python, &mut apart);
        let frame_size = python.layout.frame.size as usize;
        let wanted = step.marks.map(|marks| {
            let marks = marks.map(|mark| (mark, apart.want(mark.0, mark.1)));
            (marks, apart.want(step.frame.addr, frame_size))
        });
        let read = apart.run(&python.memory).is_ok();
        let goes_on = wanted.is_some_and(|(marks, head)| {
            let mut marks = marks.into_iter();
            marks.all(|(mark, now)| step.is_marked(mark, apart.fields(now)))
                && apart
                    .fields(head)
                    .is_some_and(|head| step.stands(&python.layout, head))
        });
        self.apart = apart;
        read && goes_on
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
