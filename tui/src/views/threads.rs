//! Threads: who runs, who holds the GIL, what the executor's workers do.
//!
//! ```text
//! tid     name        state    GIL  role            where
//! 4242    MainThread  sleeping      loop asyncio    app.py:42 handler
//! 4251    asyncio_0   running  GIL  executor busy   images.py:33 compress
//! ```

use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{Location, Snapshot, ThreadInfo};

use super::{Rows, SortKey, SourceLines, identity_of, place_cell, place_key};
use crate::document::Document;
use crate::table::{Cell, Column, Sort};
use crate::text::clean;
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column {
        descending: false,
        ..Column::number("tid", 7, 2)
    },
    Column::text("name", 14, 30, 0),
    Column::text("state", 10, 14, 1),
    Column::text("GIL", 5, 5, 0),
    Column::text("role", 13, 20, 0),
    Column::text("where", 16, 70, 0),
];

/// The rows of the view.
pub(crate) struct Threads {
    report: Arc<Report>,
    snapshot: Option<Arc<Snapshot>>,
}

impl Threads {
    /// From the last census of a report.
    pub(crate) fn new(report: Arc<Report>) -> Self {
        let snapshot = report.snapshot.clone();
        Self { report, snapshot }
    }

    fn threads(&self) -> &[ThreadInfo] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.threads)
    }

    /// What the thread is there for.
    fn role(&self, thread: &ThreadInfo) -> String {
        if let Some(id) = thread.loop_id {
            let known = self.report.loops.iter().find(|one| one.id == id);
            return format!("loop {}", known.map_or("?", |one| one.kind.word()));
        }
        match worker(thread) {
            Some(true) => "executor busy".into(),
            Some(false) => "executor idle".into(),
            None => "-".into(),
        }
    }
}

/// Whether an executor's worker has work; `None` for another thread. A worker without work waits
/// in the executor's own `_worker`.
fn worker(thread: &ThreadInfo) -> Option<bool> {
    let is_executor = |frame: &Location| frame.file.ends_with("concurrent/futures/thread.py");
    let is_worker = |frame: &Location| is_executor(frame) && frame.function.ends_with("_worker");
    thread
        .stack
        .iter()
        .any(is_worker)
        .then(|| !thread.stack.first().is_some_and(is_worker))
}

/// The kernel's letter in words.
fn state_words(letter: char) -> String {
    match letter {
        'R' => "running".into(),
        'S' => "sleeping".into(),
        'D' => "disk wait".into(),
        'T' | 't' => "stopped".into(),
        'Z' | 'X' => "dead".into(),
        'I' => "idle".into(),
        other => clean(&other.to_string()),
    }
}

/// What the thread has of the interpreter: the GIL, a garbage collection, or both.
const fn gil_words(thread: &ThreadInfo) -> &'static str {
    match (thread.holds_gil, thread.collects_garbage) {
        (true, true) => "GIL+gc",
        (true, false) => "GIL",
        (false, true) => "gc",
        (false, false) => "",
    }
}

/// The innermost frame of the user's code; an idle thread has none.
fn thread_place(thread: &ThreadInfo) -> Option<&Location> {
    thread
        .stack
        .iter()
        .find(|frame| !frame.is_library())
        .or_else(|| thread.stack.first())
}

impl Rows for Threads {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.threads().len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let thread = &self.threads()[row];
        match column {
            0 => Cell::new(thread.tid.to_string()),
            1 => Cell::new(clean(&thread.name)),
            2 => {
                let tone = match thread.os_state {
                    'R' => Tone::Strong,
                    'D' | 'T' | 't' => Tone::Warn,
                    _ => Tone::Plain,
                };
                Cell::new(state_words(thread.os_state)).tone(tone)
            }
            3 => Cell::new(gil_words(thread)).tone(Tone::Strong),
            4 => Cell::new(self.role(thread)),
            _ => place_cell(thread_place(thread)),
        }
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        let thread = &self.threads()[row];
        match column {
            0 => SortKey::Number(u64::try_from(thread.tid).unwrap_or(0)),
            1 => SortKey::Text(thread.name.clone()),
            2 => SortKey::Text(state_words(thread.os_state).into()),
            3 => SortKey::Text(gil_words(thread).into()),
            4 => SortKey::Text(self.role(thread).into()),
            _ => place_key(thread_place(thread)),
        }
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let thread = &self.threads()[row];
        visit(&thread.name);
        visit(&self.role(thread));
        visit(&state_words(thread.os_state));
        visit(gil_words(thread));
        for frame in thread.stack.iter() {
            visit(&frame.function);
            visit(&frame.file);
        }
    }

    fn identity(&self, row: usize) -> u64 {
        let thread = &self.threads()[row];
        identity_of(&(thread.tid, &thread.name))
    }

    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document {
        let thread = &self.threads()[row];
        let mut document = Document::default();
        document.heading(format!("Thread {} {}", thread.tid, clean(&thread.name)));
        document.fact(
            "state",
            format!(
                "{} ({})",
                state_words(thread.os_state),
                thread.os_state.escape_default()
            ),
        );
        document.fact("role", self.role(thread));
        document.fact(
            "GIL",
            if thread.holds_gil {
                "holds it"
            } else {
                "does not hold it"
            },
        );
        if thread.collects_garbage {
            document.toned_fact(
                "garbage",
                "is being collected by this thread now",
                Tone::Warn,
            );
        }
        if thread.interpreter != 0 {
            document.fact("interpreter", thread.interpreter.to_string());
        }
        if thread.torn {
            let text = "the frames changed while they were read: only the outer part is shown";
            document.toned_fact("torn", text, Tone::Warn);
        }
        document.heading("Stack, innermost first");
        if thread.stack.is_empty() {
            document.text("runs no Python code, or could not be read", Tone::Dim);
        }
        document.stack(&thread.stack, sources);
        document
    }

    fn first_sort(&self) -> Option<Sort> {
        None
    }

    fn empty_text(&self) -> &'static str {
        "No census of threads yet"
    }
}
