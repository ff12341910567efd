//! The processes that the picker lists.

use std::sync::Arc;

use super::{Rows, SortKey, SourceLines, identity_of};
use crate::backend::ProcessRow;
use crate::document::Document;
use crate::format;
use crate::table::{Cell, Column, Sort};
use crate::text::clean;
use crate::theme::Tone;

const COLUMNS: &[Column] = &[
    Column {
        descending: false,
        ..Column::number("pid", 7, 0)
    },
    Column::text("python", 8, 8, 3),
    Column::text("loop", 14, 16, 1),
    Column::number("tasks", 5, 2),
    Column::number("busy", 5, 0),
    Column::text("command", 20, 200, 0),
];

/// The list of processes as rows.
#[derive(Default)]
pub(crate) struct Processes {
    pub(crate) rows: Vec<ProcessRow>,
    /// True once a first list has come.
    pub(crate) known: bool,
}

impl Rows for Processes {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn cell(&self, row: usize, column: usize) -> Cell {
        let row = &self.rows[row];
        match column {
            0 => Cell::new(row.pid.to_string()),
            1 => Cell::new(clean(&row.python)),
            2 if !row.note.is_empty() => Cell::new(clean(&row.note)).tone(Tone::Warn),
            2 if row.loop_kind.is_empty() => Cell::new("no loop").tone(Tone::Dim),
            2 => Cell::new(clean(&row.loop_kind)),
            3 => Cell::new(row.tasks.map_or_else(|| "-".into(), format::count)),
            4 => {
                let share = |busy| format::percent(u64::from(busy), 1000);
                let busy = row.busy_permille.unwrap_or(0);
                let tone = if busy >= 900 { Tone::Bad } else { Tone::Plain };
                Cell::new(row.busy_permille.map_or_else(|| "-".into(), share)).tone(tone)
            }
            _ => Cell::new(clean(&row.command)),
        }
    }

    fn sort_key(&self, row: usize, column: usize) -> SortKey {
        let row = &self.rows[row];
        match column {
            0 => SortKey::Number(u64::try_from(row.pid).unwrap_or(0)),
            1 => SortKey::Text(row.python.as_str().into()),
            2 => SortKey::Text(row.loop_kind.as_str().into()),
            3 => SortKey::Number(row.tasks.unwrap_or(0)),
            4 => SortKey::Number(u64::from(row.busy_permille.unwrap_or(0))),
            _ => SortKey::Text(Arc::from(row.command.as_str())),
        }
    }

    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str)) {
        let row = &self.rows[row];
        visit(&row.command);
        visit(&row.pid.to_string());
        visit(&row.loop_kind);
        visit(&row.python);
        visit(&row.note);
    }

    fn identity(&self, row: usize) -> u64 {
        identity_of(&self.rows[row].pid)
    }

    fn document(&self, _row: usize, _sources: SourceLines<'_>) -> Document {
        Document::default()
    }

    fn first_sort(&self) -> Option<Sort> {
        Some(Sort {
            column: 3,
            descending: true,
        })
    }

    fn empty_text(&self) -> &'static str {
        if self.known {
            "No Python process here that you may read; as root all can be read"
        } else {
            "Looking for Python processes …"
        }
    }
}
