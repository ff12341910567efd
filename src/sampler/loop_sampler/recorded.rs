//! Samples of what the kernel has recorded of a loop's thread.

use asyncspy_model::{LoopKind, LoopSample, RemoteAddr};

use super::LoopSampler;
use crate::layout::RunningTask;
use crate::python::Python;
use crate::sampler::in_kernel::program::Subject;
use crate::sampler::in_kernel::record::Record;
use crate::sampler::shared::Shared;

impl LoopSampler {
    /// What the kernel needs to look at this loop; `None` before its own frame was met, and for one
    /// that is neither asyncio's own nor uvloop.
    #[must_use]
    pub fn subject<'a>(&'a self, python: &'a Python) -> Option<Subject<'a>> {
        let run_once = match self.found.facts.kind {
            LoopKind::Asyncio => Some(self.reads.facts()?),
            LoopKind::Uvloop => None,
            LoopKind::Other => return None,
        };
        Some(Subject {
            found: &self.found,
            layout: &python.layout,
            run_once,
        })
    }

    /// The sample that a record is. Nothing is read that may have changed since, but for who a task
    /// is that was not met before.
    pub fn sample_record(&mut self, shared: &mut Shared<'_>, record: Record<'_>) -> LoopSample {
        (self.idles_at, self.seen, self.shape) = (None, None, None);
        let at_ns = record.at_ns();
        if let Some((_, last)) = self.recorded.filter(|(last, _)| *last == at_ns) {
            self.same_turn_ticks = self.same_turn_ticks.saturating_add(1);
            return last;
        }
        if record.polls() {
            let mut sample = self.empty_sample();
            self.fill_idle(&mut sample);
            return sample;
        }
        let layout = &shared.python.layout;
        let proven = self.stack.set(record.frames(layout), record.is_whole());
        self.gather
            .take(record.objects(layout, self.task_is_at(layout.running_task)));
        let numbers = std::array::from_fn(|nth| record.number(nth));
        let turn = record
            .loop_frame(layout)
            .map(|at| (at, self.reads.turn_of(layout, record.locals(), numbers)));
        self.is_recorded = true;
        let sample = self.tell(shared, turn, (proven, Some(record)));
        self.is_recorded = false;
        self.recorded = Some((at_ns, sample));
        sample
    }

    /// The thread's scheduling state now.
    #[must_use]
    pub fn os_state(&self) -> char {
        self.os.state()
    }

    /// Fills in how much the loop has to do now.
    pub fn fill_load(&mut self, shared: &Shared<'_>, sample: &mut LoopSample) {
        self.load.fill(shared, &self.found.facts, sample);
    }

    /// What says which task runs: the dict of running tasks, or else null, and the thread's field.
    fn task_is_at(&self, running: RunningTask) -> (RemoteAddr, RemoteAddr) {
        match running {
            RunningTask::CurrentTasks => (self.found.current_tasks, RemoteAddr::NULL),
            RunningTask::Field(offset) => (RemoteAddr::NULL, self.found.thread.addr.offset(offset)),
        }
    }
}
