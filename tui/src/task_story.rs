//! The whole story of one task: facts, stacks, who awaits it and whom it awaits.

use asyncspy_model::report::Report;
use asyncspy_model::{Snapshot, TaskId, TaskInfo, TaskState};

use crate::document::Document;
use crate::format;
use crate::text::{clean, place_and_function};
use crate::theme::Tone;
use crate::views::SourceLines;
use crate::views::tasks::since;

/// At most this many tasks are listed under one heading.
const LISTED: usize = 50;

/// What a task waits for, in words: `Queue.get`, `sleep 5`, `-`.
pub(crate) fn waits_words(task: &TaskInfo) -> String {
    match (&task.waits_on, task.state) {
        (Some(waits), _) => match &waits.detail {
            Some(detail) => format!("{} {}", clean(&waits.kind), clean(detail)),
            None => clean(&waits.kind),
        },
        (None, TaskState::Runnable) => "its turn".into(),
        (None, _) => "-".into(),
    }
}

/// Like [`waits_words`], with the name of the task that is awaited, or the number of them.
pub(crate) fn waits_words_in(snapshot: Option<&Snapshot>, task: &TaskInfo) -> String {
    let words = waits_words(task);
    match task.waits_on.as_ref().map_or(&[][..], |waits| &waits.tasks) {
        [] => words,
        [one] => match snapshot.and_then(|snapshot| find_task(snapshot, *one)) {
            Some(awaited) => format!("{words} {}", clean(&awaited.name)),
            None => words,
        },
        several => format!("{words} of {}", several.len()),
    }
}

fn find_task(snapshot: &Snapshot, id: TaskId) -> Option<&TaskInfo> {
    snapshot.tasks.iter().find(|task| task.id == id)
}

/// Writes down all that is known of a task.
pub(crate) fn describe_task(
    document: &mut Document,
    report: &Report,
    task: &TaskInfo,
    sources: SourceLines<'_>,
) {
    document.heading(format!("Task {}", clean(&task.name)));
    facts(document, report, task);
    if !task.sync_stack.is_empty() {
        document.heading("Runs, innermost first");
        document.stack(&task.sync_stack, sources);
    }
    document.heading("Await chain, innermost first");
    if task.coroutine_stack.is_empty() {
        document.text("could not be read", Tone::Dim);
    }
    document.stack(&task.coroutine_stack, sources);
    let awaited = task.waits_on.as_ref().map_or(&[][..], |waits| &waits.tasks);
    list_tasks(document, report, "Awaits", awaited);
    list_tasks(document, report, "Awaited by", &task.awaited_by);
    document.heading("Identity");
    document.fact("label", clean(&task.label()));
    document.fact("class", clean(&task.class));
    document.fact("id", task.id.to_string());
    document.fact("loop", loop_words(report, task));
}

fn facts(document: &mut Document, report: &Report, task: &TaskInfo) {
    let history = report
        .task_history
        .get(&task.id)
        .copied()
        .unwrap_or_default();
    let cancelling = if task.cancelling {
        ", cancellation requested"
    } else {
        ""
    };
    document.fact("state", format!("{}{cancelling}", task.state.word()));
    if let Some(waits) = &task.waits_on {
        let waited = since(report, history.waiting_since_monotonic_ns);
        let how_long = if waited == 0 {
            "?".into()
        } else {
            format::age(waited)
        };
        let leaf = clean(&waits.leaf);
        document.fact(
            "waits for",
            format!("{} ({leaf}) since {how_long}", waits_words(task)),
        );
    }
    let age = since(report, history.first_seen_monotonic_ns);
    document.fact("first seen", format!("{} ago", format::age(age)));
    let share = format::percent(history.held_ns, age.max(history.held_ns));
    document.fact(
        "held loop",
        format!("{} ({share})", format::duration(history.held_ns)),
    );
    if task.torn {
        let text = "the task changed while it was read: parts may mix two moments";
        document.toned_fact("torn", text, Tone::Warn);
    }
}

fn loop_words(report: &Report, task: &TaskInfo) -> String {
    let known = report.loops.iter().find(|one| one.id == task.loop_id);
    known.map_or_else(
        || task.loop_id.to_string(),
        |one| format!("{} ({})", clean(&one.thread_name), one.kind.word()),
    )
}

fn list_tasks(document: &mut Document, report: &Report, heading: &'static str, ids: &[TaskId]) {
    if ids.is_empty() {
        return;
    }
    document.heading(format!(
        "{heading} {}",
        format::plural(ids.len() as u64, "task")
    ));
    for id in ids.iter().take(LISTED) {
        document.text(
            format!("  {}", task_line(report.snapshot.as_deref(), *id)),
            Tone::Plain,
        );
    }
    if ids.len() > LISTED {
        document.text(format!("  … {} more", ids.len() - LISTED), Tone::Dim);
    }
}

/// One task on one line.
fn task_line(snapshot: Option<&Snapshot>, id: TaskId) -> String {
    let found = snapshot.and_then(|snapshot| find_task(snapshot, id));
    let Some(task) = found else {
        return format!("{id} (not in the census)");
    };
    let place = task
        .user_location()
        .map(place_and_function)
        .unwrap_or_default();
    format!(
        "{}  {}  {}  {place}",
        clean(&task.name),
        task.state.word(),
        waits_words(task)
    )
}
