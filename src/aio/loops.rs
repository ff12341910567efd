//! The loops of an interpreter, as a snapshot shows them.

use std::sync::Arc;

use asyncspy_model::{
    FaultKind, Faults, LoopId, LoopInfo, LoopKind, LoopState, RemoteAddr, TaskId,
};
use rustc_hash::FxHashMap;

use super::Caches;
use super::event_loop::{LoopFacts, LoopLoad, seconds_to_ns};
use super::loop_turn::TurnReading;
use super::running::ThreadActivity;
use crate::python::Python;
use crate::python::object::Objects;
use crate::target::process::monotonic_now_ns;
use crate::target::threads::{SystemCall, system_call};

/// Loops by address, in order of appearance.
#[derive(Debug, Default)]
pub struct LoopTable {
    loops: Vec<(RemoteAddr, LoopUse)>,
}

/// Who uses a loop.
#[derive(Debug, Default)]
struct LoopUse {
    tasks: u64,
    /// The thread that runs it.
    thread: Option<RunBy>,
    /// The outermost coroutine that the thread executes.
    coroutine: Option<Arc<str>>,
}

/// How a thread runs a loop.
#[derive(Clone, Copy, Debug)]
struct RunBy {
    tid: Option<i32>,
    turn: Option<TurnReading>,
    proven: bool,
}

impl LoopTable {
    fn entry(&mut self, addr: RemoteAddr) -> &mut LoopUse {
        let known = self
            .loops
            .iter()
            .position(|(loop_addr, _)| *loop_addr == addr);
        let at = known.unwrap_or_else(|| {
            self.loops.push((addr, LoopUse::default()));
            self.loops.len() - 1
        });
        &mut self.loops[at].1
    }

    /// Counts a task of a loop.
    pub fn count_task(&mut self, loop_id: LoopId) {
        self.entry(loop_id.0).tasks += 1;
    }

    /// Notes the thread that runs a loop, if it runs one.
    pub fn add_thread(&mut self, activity: &ThreadActivity, tid: Option<i32>) {
        if !activity.loop_addr.is_null() {
            self.entry(activity.loop_addr).thread = Some(RunBy {
                tid,
                turn: activity.turn,
                proven: activity.proven,
            });
            let coroutine = activity.outermost_coroutine();
            self.entry(activity.loop_addr).coroutine = coroutine;
        }
    }
}

/// Describes all loops, running ones first.
pub fn loop_infos(
    python: &Python,
    objects: Objects<'_>,
    caches: &mut Caches,
    table: &LoopTable,
    running: &FxHashMap<RemoteAddr, RemoteAddr>,
    interpreter: i64,
    faults: &mut Faults,
) -> Vec<LoopInfo> {
    let mut infos = Vec::new();
    for (addr, usage) in &table.loops {
        let facts = match LoopFacts::read(objects, caches, *addr) {
            Ok(facts) => facts,
            Err(_) => {
                faults.add(FaultKind::LoopUnreadable);
                LoopFacts::unknown(*addr)
            }
        };
        let running = running.get(addr).map(|task| TaskId(*task));
        let mut info = describe(python, objects, &facts, usage, running);
        info.interpreter = interpreter;
        infos.push(info);
    }
    infos.sort_by_key(|info| info.tid.is_none());
    infos
}

fn describe(
    python: &Python,
    objects: Objects<'_>,
    facts: &LoopFacts,
    usage: &LoopUse,
    running: Option<TaskId>,
) -> LoopInfo {
    let shift = python.facts.monotonic_shift_ns;
    let now_ns = monotonic_now_ns().saturating_add_signed(shift);
    let load: LoopLoad = facts.load(objects, now_ns);
    let state = loop_state(python, facts, usage, running);
    let polled_at = usage
        .thread
        .and_then(|thread| thread.turn)
        .and_then(|turn| turn.polled_at);
    LoopInfo {
        id: LoopId(facts.addr),
        kind: facts.kind,
        class: facts.class.clone(),
        tid: usage.thread.and_then(|thread| thread.tid),
        interpreter: 0,
        state,
        turn_ns: polled_at
            .filter(|_| state == LoopState::Busy)
            .map(|at| now_ns.saturating_sub(seconds_to_ns(at))),
        callback: usage
            .thread
            .and_then(|thread| thread.turn)
            .and_then(|turn| turn.callback),
        ready: load.ready,
        timers: load.timers,
        late_timers: load.late_timers,
        worst_late_ns: load.worst_late_ns,
        running,
        coroutine: usage
            .coroutine
            .clone()
            .filter(|_| running.is_none() && state == LoopState::Busy),
        tasks: usage.tasks,
        debug: facts.debug,
    }
}

fn loop_state(
    python: &Python,
    facts: &LoopFacts,
    usage: &LoopUse,
    running: Option<TaskId>,
) -> LoopState {
    let Some(thread) = usage.thread else {
        return LoopState::Stopped;
    };
    if running.is_some() {
        return LoopState::Busy;
    }
    if let Some(turn) = thread.turn {
        return if turn.polled_at.is_some() {
            LoopState::Busy
        } else {
            LoopState::Idle
        };
    }
    let call = thread.tid.map_or(SystemCall::Unknown, |tid| {
        system_call(python.facts.pid, tid)
    });
    match (facts.kind, call) {
        _ if call == SystemCall::Unknown => LoopState::Unknown,
        (LoopKind::Uvloop, call) if call.polls(facts.poll_fd) => LoopState::Idle,
        (LoopKind::Uvloop, _) => LoopState::Busy,
        (LoopKind::Other, call) if call.polls_anything() => LoopState::Idle,
        (LoopKind::Other, _) => LoopState::Busy,
        // A stock loop without its frame: it is starting or ending, or the stack is torn.
        (LoopKind::Asyncio, _) if thread.proven => LoopState::Busy,
        (LoopKind::Asyncio, _) => LoopState::Unknown,
    }
}
