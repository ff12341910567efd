//! What only time tells about tasks, from one census to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use asyncspy_model::report::TaskHistory;
use asyncspy_model::stack::Chain;
use asyncspy_model::{LoopInfo, LoopState, Snapshot, TaskDefinition, TaskId, TaskInfo, TaskState};
use rustc_hash::FxHashMap;

/// How many running tasks are remembered from one census to the next.
const MAX_RUNNING: usize = 100_000;

/// Waits that begin when all the awaited tasks exist.
const STARTS_WITH_CHILDREN: [&str; 3] = ["gather", "task", "wait"];

/// The history of the tasks of the last census.
#[derive(Debug, Default)]
pub(super) struct History {
    known: FxHashMap<TaskId, Known>,
    /// Tasks that samples saw running since the last census.
    running: FxHashMap<TaskId, Running>,
    report: Arc<BTreeMap<TaskId, TaskHistory>>,
}

/// A task of the last census.
#[derive(Debug)]
struct Known {
    name: Arc<str>,
    history: TaskHistory,
    place: Chain,
    /// What it waits for: kind and class.
    wait: Option<(Arc<str>, Arc<str>)>,
}

#[derive(Debug)]
struct Running {
    name: Arc<str>,
    held_ns: u64,
    last_monotonic_ns: u64,
}

impl History {
    /// Adds time that a task held its loop, up to `at`.
    pub fn add_held(&mut self, task: &TaskDefinition, weight_ns: u64, at: u64) {
        if self.running.len() >= MAX_RUNNING {
            self.running.clear();
        }
        let running = self
            .running
            .entry(task.id)
            .or_insert_with(|| Running::new(task));
        if running.name != task.name {
            // The address was given to another task.
            *running = Running::new(task);
        }
        running.held_ns = running.held_ns.saturating_add(weight_ns);
        running.last_monotonic_ns = at;
    }

    /// Takes over a census; tasks that it does not show are forgotten.
    pub fn add_census(&mut self, snapshot: &Snapshot) {
        let at = snapshot.began_monotonic_ns;
        let mut before = std::mem::take(&mut self.known);
        let mut running = std::mem::take(&mut self.running);
        for task in &snapshot.tasks {
            let before = before
                .remove(&task.id)
                .filter(|known| known.name == task.name);
            let running = running
                .remove(&task.id)
                .filter(|running| running.name == task.name);
            let mut known = Known::next(task, before, running, at);
            let loop_info = snapshot.loops.iter().find(|info| info.id == task.loop_id);
            known.wait_began_after(loop_info.and_then(|info| earliest_sleep(task, info, at)));
            self.known.insert(task.id, known);
        }
        self.wait_no_longer_than_children(&snapshot.tasks);
        let histories = self.known.iter().map(|(id, known)| (*id, known.history));
        self.report = Arc::new(histories.collect());
    }

    /// A task that waits for tasks that were not there before waits for the first time.
    fn wait_no_longer_than_children(&mut self, tasks: &[TaskInfo]) {
        for task in tasks {
            let children = task
                .waits_on
                .iter()
                .filter(|wait| STARTS_WITH_CHILDREN.contains(&&*wait.kind))
                .flat_map(|wait| &wait.tasks);
            let newest = children
                .filter_map(|child| self.known.get(child))
                .map(|child| child.history.first_seen_monotonic_ns)
                .max();
            if let Some(known) = self.known.get_mut(&task.id) {
                known.wait_began_after(newest);
            }
        }
    }

    /// The history of the tasks of the last census, as of then.
    pub fn report(&self) -> Arc<BTreeMap<TaskId, TaskHistory>> {
        Arc::clone(&self.report)
    }
}

impl Running {
    fn new(task: &TaskDefinition) -> Self {
        Self {
            name: Arc::clone(&task.name),
            held_ns: 0,
            last_monotonic_ns: 0,
        }
    }
}

impl Known {
    /// What is known of a task now, given what was known at the census before and what ran since.
    fn next(task: &TaskInfo, before: Option<Self>, running: Option<Running>, at: u64) -> Self {
        let wait = task
            .waits_on
            .as_ref()
            .map(|wait| (Arc::clone(&wait.kind), Arc::clone(&wait.leaf)));
        let is_same_wait = |known: &&Self| {
            known.history.waiting_since_monotonic_ns > 0
                && known.wait == wait
                && known.place == task.coroutine_stack
        };
        let ran_at = running
            .as_ref()
            .map_or(0, |running| running.last_monotonic_ns);
        let mut history = before.as_ref().map_or_else(
            || TaskHistory {
                first_seen_monotonic_ns: at,
                ..TaskHistory::default()
            },
            |known| known.history,
        );
        history.waiting_since_monotonic_ns = match before.as_ref().filter(is_same_wait) {
            _ if task.state != TaskState::Waiting => 0,
            // It waits at the same place again if it ran in between.
            Some(known) => known.history.waiting_since_monotonic_ns.max(ran_at),
            None => at,
        };
        let held_ns = running.map_or(0, |running| running.held_ns);
        history.held_ns = history.held_ns.saturating_add(held_ns);
        Self {
            name: Arc::clone(&task.name),
            history,
            place: Arc::clone(&task.coroutine_stack),
            wait,
        }
    }
}

impl Known {
    /// Takes note that the present wait, if there is one, began no earlier than this.
    fn wait_began_after(&mut self, moment: Option<u64>) {
        let since = &mut self.history.waiting_since_monotonic_ns;
        if let Some(moment) = moment.filter(|_| *since > 0) {
            *since = moment.max(*since);
        }
    }
}

/// The earliest moment at which a sleep can have begun that has not ended at `at`: a task that
/// sleeps again and again is found at the same place by every census. `None` where it cannot be
/// told how late the loop is.
fn earliest_sleep(task: &TaskInfo, info: &LoopInfo, at: u64) -> Option<u64> {
    let wait = task
        .waits_on
        .as_ref()
        .filter(|wait| &*wait.kind == "sleep")?;
    let seconds: f64 = wait.detail.as_deref()?.strip_suffix(" s")?.parse().ok()?;
    let delay = Duration::try_from_secs_f64(seconds).ok()?;
    let delay_ns = u64::try_from(delay.as_nanos()).ok()?;
    let late_ns = match (info.state, info.turn_ns) {
        (LoopState::Idle, _) => info.worst_late_ns,
        (_, turn_ns) => turn_ns?.max(info.worst_late_ns),
    };
    at.checked_sub(delay_ns.checked_add(late_ns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{MS, snapshot, task_definition, task_info, waiting};

    fn history(history: &History, id: u64) -> Option<(u64, u64, u64)> {
        let report = history.report();
        let found = report.get(&task_info(id, "x").id)?;
        let ms = |ns: u64| ns / MS;
        Some((
            ms(found.first_seen_monotonic_ns),
            ms(found.waiting_since_monotonic_ns),
            ms(found.held_ns),
        ))
    }

    #[test]
    fn a_wait_lasts_as_long_as_censuses_show_the_same_place() {
        let mut known = History::default();
        let sleeping = waiting(task_info(1, "job"), "sleep");
        known.add_census(&snapshot(1_000, vec![sleeping.clone()]));
        assert_eq!(history(&known, 1), Some((1_000, 1_000, 0)));
        known.add_census(&snapshot(2_000, vec![sleeping.clone()]));
        assert_eq!(history(&known, 1), Some((1_000, 1_000, 0)));
        let locked = waiting(task_info(1, "job"), "Lock.acquire");
        known.add_census(&snapshot(3_000, vec![locked.clone()]));
        assert_eq!(history(&known, 1), Some((1_000, 3_000, 0)));
        known.add_census(&snapshot(4_000, vec![task_info(1, "job")]));
        assert_eq!(history(&known, 1), Some((1_000, 0, 0)));
        known.add_census(&snapshot(5_000, vec![locked]));
        assert_eq!(history(&known, 1), Some((1_000, 5_000, 0)));
    }

    #[test]
    fn a_task_that_ran_in_between_waits_anew() {
        let mut known = History::default();
        let sleeping = waiting(task_info(1, "job"), "sleep");
        known.add_census(&snapshot(1_000, vec![sleeping.clone()]));
        known.add_held(&task_definition(1, "job"), 10 * MS, 1_500 * MS);
        known.add_held(&task_definition(1, "job"), 20 * MS, 1_700 * MS);
        known.add_census(&snapshot(2_000, vec![sleeping]));
        assert_eq!(history(&known, 1), Some((1_000, 1_700, 30)));
    }

    #[test]
    fn a_sleep_lasts_no_longer_than_its_delay_and_the_loop_is_late() {
        let mut known = History::default();
        let mut sleeping = waiting(task_info(1, "job"), "sleep");
        if let Some(wait) = &mut sleeping.waits_on {
            wait.detail = Some("0.1 s".into());
        }
        known.add_census(&snapshot(1_000, vec![sleeping.clone()]));
        let mut busy = snapshot(2_000, vec![sleeping]);
        let info = busy.loops.first_mut().unwrap();
        (info.state, info.turn_ns) = (LoopState::Busy, Some(300 * MS));
        known.add_census(&busy);
        assert_eq!(history(&known, 1), Some((1_000, 1_600, 0)));
    }

    #[test]
    fn a_gather_is_no_older_than_what_it_gathers() {
        let mut known = History::default();
        let gathering = |child| {
            let mut task = waiting(task_info(1, "job"), "gather");
            if let Some(wait) = &mut task.waits_on {
                wait.tasks = vec![task_info(child, "x").id];
            }
            vec![task, waiting(task_info(child, "child"), "sleep")]
        };
        known.add_census(&snapshot(1_000, gathering(2)));
        known.add_census(&snapshot(2_000, gathering(2)));
        assert_eq!(history(&known, 1), Some((1_000, 1_000, 0)));
        known.add_census(&snapshot(3_000, gathering(3)));
        assert_eq!(history(&known, 1), Some((1_000, 3_000, 0)));
    }

    #[test]
    fn an_address_that_is_used_again_has_no_past() {
        let mut known = History::default();
        known.add_held(&task_definition(1, "old"), 10 * MS, 0);
        known.add_census(&snapshot(
            1_000,
            vec![waiting(task_info(1, "old"), "sleep")],
        ));
        assert_eq!(history(&known, 1), Some((1_000, 1_000, 10)));
        known.add_held(&task_definition(1, "old"), 10 * MS, 1_100 * MS);
        known.add_held(&task_definition(1, "new"), 5 * MS, 1_200 * MS);
        known.add_census(&snapshot(
            2_000,
            vec![waiting(task_info(1, "new"), "sleep")],
        ));
        assert_eq!(history(&known, 1), Some((2_000, 2_000, 5)));
        known.add_census(&snapshot(3_000, vec![]));
        assert_eq!(history(&known, 1), None);
        known.add_census(&snapshot(4_000, vec![task_info(1, "new")]));
        assert_eq!(history(&known, 1), Some((4_000, 0, 0)));
    }
}
