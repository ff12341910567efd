//! The whole story of a stall: how long, why, the stack, who waited, what was before.

use std::sync::Arc;

use asyncspy_model::{BeganIs, Stall};

use super::SourceLines;
use super::stalls::{Row, Stalls, cause_word};
use crate::document::Document;
use crate::format;
use crate::text::clean;
use crate::theme::Tone;

/// At most this many single stalls are listed in the story of a culprit.
const HISTORY: usize = 20;

impl Stalls {
    /// All that is known of the newest stall of a row, what matters most first.
    pub(crate) fn story(&self, row: &Row, sources: SourceLines<'_>) -> Document {
        let mut document = Document::default();
        self.describe(&mut document, row);
        document.heading_below("Stack, innermost first");
        if row.newest.stack.is_empty() && row.newest.coroutine_stack.is_empty() {
            document.text("no sample caught a stack", Tone::Dim);
        }
        document.stack(&row.newest.stack, sources);
        if !row.newest.coroutine_stack.is_empty() {
            document.heading("Await chain of the task, innermost first");
            document.stack(&row.newest.coroutine_stack, sources);
        }
        if !row.newest.awaiters.is_empty() {
            document.heading("Awaited by, nearest first");
            for label in &row.newest.awaiters {
                document.text(format!("  {}", clean(label)), Tone::Plain);
            }
        }
        self.describe_further(&mut document, row);
        self.list_history(&mut document, row);
        document
    }

    /// The facts of the newest stall of a row that are wanted before its stack.
    fn describe(&self, document: &mut Document, row: &Row) {
        let stall = &row.newest;
        let kind = if stall.task.is_some() {
            "task"
        } else {
            "callback"
        };
        document.heading(format!(
            "Stall {} of {kind} {}",
            stall.number,
            clean(&stall.name)
        ));
        let so_far = if stall.ongoing {
            " so far, it goes on"
        } else {
            ""
        };
        let held = format::duration(stall.duration_ns);
        let within = format::duration(stall.uncertainty_ns);
        let held = format!("{held}{so_far} (within {within})");
        document.toned_fact("held", held, self.thresholds.tone(stall.duration_ns));
        document.fact("cause", stall.cause.word());
    }

    /// The facts that can wait.
    fn describe_further(&self, document: &mut Document, row: &Row) {
        let stall = &row.newest;
        document.heading("Further");
        let began = format::utc(stall.began_unix_ns);
        document.fact(
            "began",
            format!("{began} ({})", began_words(stall.began_is)),
        );
        if !stall.ongoing {
            document.fact("ended", self.when(stall));
        }
        document.fact("meanwhile", suffering(stall));
        document.fact("seen by", format::plural(stall.samples, "sample"));
        document.fact("loop", self.loop_words(stall));
        if let Some((current, all)) = stall.callbacks {
            document.fact(
                "callback",
                format!("{} of {all} in this turn", u64::from(current) + 1),
            );
        }
        if stall.name != stall.label {
            document.fact("label", clean(&stall.label));
        }
        if let Some(id) = stall.task {
            document.fact("task id", id.to_string());
        }
    }

    /// Which loop, and what its thread is called.
    fn loop_words(&self, stall: &Stall) -> String {
        let known = self.report.loops.iter().find(|one| one.id == stall.loop_id);
        known.map_or_else(
            || stall.loop_id.to_string(),
            |one| {
                format!(
                    "{} ({}), thread {}",
                    clean(&one.thread_name),
                    one.kind.word(),
                    one.tid
                )
            },
        )
    }

    /// The single stalls of the same culprit that are still kept.
    fn list_history(&self, document: &mut Document, row: &Row) {
        let same = |stall: &&Arc<Stall>| {
            stall.label == row.newest.label && stall.culprit() == row.location.as_ref()
        };
        let stalls: Vec<&Arc<Stall>> = self.report.stalls.iter().filter(same).collect();
        if stalls.len() < 2 {
            return;
        }
        document.heading("Its stalls, newest first");
        for stall in stalls.iter().take(HISTORY) {
            let began = format::utc(stall.began_unix_ns);
            let held = format::duration(stall.duration_ns);
            let text = format!("  {began}  {held:>7}  {}", cause_word(stall.cause));
            document.text(text, self.thresholds.tone(stall.duration_ns));
        }
        let left_out = row.count.saturating_sub(HISTORY.min(stalls.len()) as u64);
        if left_out > 0 {
            document.text(format!("  … and {left_out} before"), Tone::Dim);
        }
    }
}

/// What the beginning of a stall is of.
const fn began_words(began: BeganIs) -> &'static str {
    match began {
        BeganIs::Callback => "the callback's start",
        BeganIs::Turn => "the turn's start",
        BeganIs::Sample => "first seen then",
    }
}

/// Who had to wait meanwhile.
fn suffering(stall: &Stall) -> String {
    let ready = format::plural(stall.ready, "ready callback");
    format!(
        "{ready} and {} waited",
        format::plural(stall.late_timers, "late timer")
    )
}
