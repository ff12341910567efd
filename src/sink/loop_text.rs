//! An event loop in a few words: what it does, for how long, and who holds it.

use std::io;

use asyncspy_model::{Location, LoopInfo, LoopState, Snapshot, ThreadInfo};

use super::escape::{escape_to, width};
use super::place::frame;
use super::process_text::TasksById;
use super::style::{LineWriter, Role};
use super::units::{counted, duration};

/// From here on a turn is a stall and its state is written in capitals: the default threshold.
const STALL_NS: u64 = 100_000_000;

/// The state and its look: `BUSY 1.24 s`, `busy 3.1 ms`, `idle`.
pub(super) fn state(loop_info: &LoopInfo) -> (Role, String) {
    match (loop_info.state, loop_info.turn_ns) {
        (LoopState::Busy, Some(ns)) if ns >= STALL_NS => {
            (Role::Alert, format!("BUSY {}", duration(ns)))
        }
        (LoopState::Busy, Some(ns)) => (Role::Active, format!("busy {}", duration(ns))),
        (LoopState::Busy, None) => (Role::Active, "busy, since when is unknown".to_owned()),
        (LoopState::Unknown, _) => (Role::Warning, "state unreadable".to_owned()),
        (state, _) => (Role::Faint, state.word().to_owned()),
    }
}

/// Kind and class: `asyncio _UnixSelectorEventLoop`.
pub(super) fn build(loop_info: &LoopInfo) -> String {
    let kind = loop_info.kind.word();
    let debug = if loop_info.debug { ", debug mode" } else { "" };
    let interpreter = match loop_info.interpreter {
        0 => String::new(),
        id => format!(", interpreter {id}"),
    };
    format!(
        "{kind} {}{interpreter}{debug}",
        escape_to(&loop_info.class, 60)
    )
}

/// The figures that are known: `callback 3 of 17, 12 ready, 40 timers, 7 late by up to 1.10 s`;
/// empty if none is.
pub(super) fn figures(loop_info: &LoopInfo) -> String {
    let mut parts = Vec::new();
    if let Some((index, total)) = loop_info.callback {
        parts.push(format!("callback {} of {total}", u64::from(index) + 1));
    }
    if let Some(ready) = loop_info.ready {
        parts.push(format!("{ready} ready"));
    }
    if let Some(timers) = loop_info.timers {
        parts.push(counted(timers, "timer"));
    }
    if let Some(late @ 1..) = loop_info.late_timers {
        let by = duration(loop_info.worst_late_ns);
        parts.push(format!("{late} late by up to {by}"));
    }
    parts.join(", ")
}

/// Writes the heading of a loop: its state first, then its figures, then who holds it.
pub(super) fn write_heading(
    lines: &mut LineWriter<'_>,
    snapshot: &Snapshot,
    tasks: &TasksById<'_>,
    loop_info: &LoopInfo,
) -> io::Result<()> {
    let thread = thread_of(snapshot, loop_info);
    let rest = format!(
        "{}, {}, {}",
        build(loop_info),
        thread_text(loop_info, thread),
        counted(loop_info.tasks, "task"),
    );
    let holder = holder(tasks, loop_info, thread);
    write_state(lines, "", loop_info, &rest, holder.as_ref())
}

/// Writes what a loop does, each line behind `indent`; `rest` follows the state.
pub(super) fn write_state(
    lines: &mut LineWriter<'_>,
    indent: &str,
    loop_info: &LoopInfo,
    rest: &str,
    holder: Option<&Holder<'_>>,
) -> io::Result<()> {
    let (role, state) = state(loop_info);
    let shown = escape_to(&format!("{indent}{state}"), lines.width).into_owned();
    let room = lines.width - width(&shown);
    let rest = escape_to(&format!("  {rest}"), room).into_owned();
    lines.line(&format!("{}{rest}", lines.style.paint(role, &shown)))?;
    let figures = figures(loop_info);
    if !figures.is_empty() {
        lines.plain(&format!("{indent}  {figures}"))?;
    }
    let Some(holder) = holder else {
        return Ok(());
    };
    let room = lines.width.saturating_sub(indent.len() + 2);
    lines.painted(role, &format!("{indent}  {}", holder.within(room)))
}

/// The thread that runs the loop, if it was read.
pub(super) fn thread_of<'a>(
    snapshot: &'a Snapshot,
    loop_info: &LoopInfo,
) -> Option<&'a ThreadInfo> {
    let by_loop = |thread: &&ThreadInfo| thread.loop_id == Some(loop_info.id);
    let by_tid = |thread: &&ThreadInfo| thread.tid != 0 && Some(thread.tid) == loop_info.tid;
    let threads = || snapshot.threads.iter();
    threads().find(by_loop).or_else(|| threads().find(by_tid))
}

fn thread_text(loop_info: &LoopInfo, thread: Option<&ThreadInfo>) -> String {
    match (loop_info.tid, thread) {
        (None, _) => "no thread runs it".to_owned(),
        (Some(tid), None) => format!("thread {tid}"),
        (Some(tid), Some(thread)) => format!("thread {tid} {}", escape_to(&thread.name, 40)),
    }
}

/// Who holds a busy loop, and where.
pub(super) struct Holder<'a> {
    /// A task by its name, a coroutine of none that is listed, or a callback.
    who: String,
    /// Where a person looks first.
    place: Option<&'a Location>,
    /// The innermost function, where that is another one.
    inner: Option<&'a str>,
}

impl Holder<'_> {
    /// `held by Task-7 in fetch (…/app/db.py:42)`, at most `columns` wide.
    pub(super) fn within(&self, columns: usize) -> String {
        let who = escape_to(&self.who, columns / 2).into_owned();
        let inner = match self.inner {
            Some(function) => format!(", inside {}", escape_to(function, 40)),
            None => String::new(),
        };
        let Some(location) = self.place else {
            return format!("held by {who}, its stack could not be read");
        };
        let room = columns.saturating_sub("held by  in ".len() + width(&who) + width(&inner));
        format!("held by {who} in {}{inner}", frame(location, room.max(30)))
    }
}

/// Who holds the loop; `None` unless it is busy.
pub(super) fn holder<'a>(
    tasks: &TasksById<'a>,
    loop_info: &LoopInfo,
    thread: Option<&'a ThreadInfo>,
) -> Option<Holder<'a>> {
    if loop_info.state != LoopState::Busy {
        return None;
    }
    let task = loop_info.running.and_then(|id| tasks.get(id));
    let who = match loop_info.running {
        Some(id) => tasks.name(id),
        None => match &loop_info.coroutine {
            Some(function) => format!("coroutine {}", escape_to(function, 60)),
            None => "a callback".to_owned(),
        },
    };
    let stack = thread.map(ThreadInfo::frames_in_loop).unwrap_or_default();
    let place = task
        .and_then(|task| task.user_location())
        .or_else(|| stack.iter().find(|location| !location.is_library()))
        .or_else(|| stack.first());
    let innermost = task
        .and_then(|task| task.sync_stack.first())
        .or_else(|| stack.first());
    let inner = innermost
        .filter(|location| Some(*location) != place)
        .map(|location| &*location.function);
    Some(Holder { who, place, inner })
}

#[cfg(test)]
mod tests {
    use asyncspy_model::Location;

    use super::*;
    use crate::sink::fixtures::{at, idle_loop, loop_id, snapshot, thread};

    /// How a callback is told that holds a loop with this stack.
    fn told(stack: Vec<Location>) -> String {
        told_of(None, stack)
    }

    /// The same with a coroutine of no known task.
    fn told_of(coroutine: Option<&str>, stack: Vec<Location>) -> String {
        let running = ThreadInfo {
            loop_id: Some(loop_id(0)),
            stack: stack.into(),
            ..thread(4242, "MainThread")
        };
        let busy = LoopInfo {
            state: LoopState::Busy,
            coroutine: coroutine.map(Into::into),
            ..idle_loop(0, 4242)
        };
        let snapshot = snapshot(vec![busy], Vec::new());
        let tasks = TasksById::new(&snapshot);
        let holder = holder(&tasks, &snapshot.loops[0], Some(&running));
        holder.map(|holder| holder.within(200)).unwrap_or_default()
    }

    fn asyncio(function: &str, file: &str) -> Location {
        at(function, &format!("/usr/lib/python3.12/asyncio/{file}"), 88)
    }

    #[test]
    fn a_coroutine_of_a_task_that_has_begun_since_is_no_callback() {
        let stack = vec![at("resize", "/srv/app/shop/images.py", 9)];
        let text = told_of(Some("handle"), stack);
        let expected = "coroutine handle in resize (/srv/app/shop/images.py:9)";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_callback_is_placed_where_it_is_and_not_where_the_loop_was_started() {
        let text = told(vec![
            asyncio("_SelectorSocketTransport._read_ready", "selector_events.py"),
            asyncio("Handle._run", "events.py"),
            asyncio("BaseEventLoop._run_once", "base_events.py"),
            asyncio("BaseEventLoop.run_forever", "base_events.py"),
            at("serve", "/srv/app/shop/__main__.py", 9),
        ]);
        let place = "a callback in _SelectorSocketTransport._read_ready (";
        assert!(text.contains(place), "{text}");
        let site = "/usr/lib/python3.12/site-packages";
        let text = told(vec![
            at(
                "RequestHandler.data_received",
                &format!("{site}/aiohttp/web_protocol.py"),
                371,
            ),
            asyncio("Runner.run", "runners.py"),
            at("run", &format!("{site}/uvloop/__init__.py"), 109),
            at("serve", "/srv/app/shop/__main__.py", 9),
        ]);
        let place = "a callback in RequestHandler.data_received (";
        assert!(text.contains(place), "{text}");
        let text = told(vec![
            at(
                "RequestHandler.data_received",
                &format!("{site}/aiohttp/web_protocol.py"),
                371,
            ),
            at("run", &format!("{site}/uvloop/__init__.py"), 82),
            at("serve", "/srv/app/shop/__main__.py", 9),
        ]);
        assert!(text.contains(place), "{text}");
    }
}
