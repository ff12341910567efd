//! The task whose step a loop runs, as long as nothing says that it has changed.

use std::sync::Arc;

use asyncspy_model::{LoopKind, RemoteAddr, TaskIndex, Turn};

use super::discovery::RunningLoopFound;
use super::shared::{Shared, objects};
use super::task_names::Running;
use super::task_reads::{SeenStep, TaskReads};
use crate::python::object::Objects;

/// A step that so many looks have found goes on, as a rule: its task is not read with each.
const LONG_STEP: u32 = 4;

/// The step that runs.
#[derive(Debug, Default)]
pub struct RunningStep {
    /// Turn, number of the callback, coroutine.
    key: (u64, u32, RemoteAddr),
    task: Option<TaskIndex>,
    /// How many looks have found it since.
    looks: u32,
    reads: TaskReads,
}

impl RunningStep {
    /// What reads the task that is expected; `None` while the step goes on for long.
    #[must_use]
    pub fn expected(&self) -> Option<&TaskReads> {
        (self.looks < LONG_STEP).then_some(&self.reads)
    }

    /// The number of the task that runs this coroutine, whose frame was seen; one that stands for
    /// its function if it cannot be told.
    pub fn task(
        &mut self,
        shared: &mut Shared<'_>,
        found: &RunningLoopFound,
        (seen, coro): (SeenStep<'_>, RemoteAddr),
        turn: &Turn,
    ) -> Option<TaskIndex> {
        let callback = turn.callback.map_or(u32::MAX, |(index, _)| index);
        let key = (turn.identity, callback, coro);
        // Without the callback's number two steps of one turn may look the same.
        let is_told = turn.callback.is_some() || found.facts.kind != LoopKind::Asyncio;
        if is_told && self.key == key && self.task.is_some() {
            self.looks = self.looks.saturating_add(1);
            return self.task;
        }
        let objects = objects(shared.python);
        let code = shared.caches.codes.get(objects, seen.frame.code).ok()?;
        let known = shared.caches.names.only(&code);
        let function = known.unwrap_or_else(|| code.function.clone());
        // What could not be resolved is tried again at the next tick: the first look may have come
        // just before the loop noted whose step it runs.
        (self.key, self.looks) = (key, 0);
        self.task = self.read_task(shared, found, (seen, coro), &function);
        // It has gone on, or is stepped by hand: the function is what is known for sure.
        let stand_in = || shared.tasks.stand_in(&function, shared.events);
        Some(self.task.unwrap_or_else(stand_in))
    }

    fn read_task(
        &mut self,
        shared: &mut Shared<'_>,
        found: &RunningLoopFound,
        (seen, coro): (SeenStep<'_>, RemoteAddr),
        function: &Arc<str>,
    ) -> Option<TaskIndex> {
        let python = shared.python;
        let caches = &mut *shared.caches;
        let (task, is_sure) = self.reads.read(python, found, caches, seen)?;
        let running = Running {
            task,
            is_sure,
            coro,
            code: seen.frame.code,
            function,
        };
        let objects = Objects {
            view: &self.reads.view(seen.batch, &python.memory),
            layout: &python.layout,
        };
        let (memory, events) = (&python.memory, &mut *shared.events);
        let tasks = &mut *shared.tasks;
        tasks.resolve(memory, objects, caches, running, events)
    }
}
