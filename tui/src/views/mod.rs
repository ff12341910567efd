//! The views, one a file, and what they have in common.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use asyncspy_model::report::Report;
use asyncspy_model::{AwaitGraph, Location};

use self::hot::{By, Hot};
use self::stalls::Stalls;
use self::tasks::Tasks;
use self::threads::Threads;
use self::tree::Tree;
use self::waits::Waits;
use crate::document::Document;
use crate::table::{Cell, Column, Sort};
use crate::text::{Needle, long_place_and_function};
use crate::theme::Tone;

pub(crate) mod flame;
mod flame_draw;
mod flame_layout;
pub(crate) mod hot;
pub(crate) mod processes;
mod stall_story;
pub(crate) mod stalls;
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod tree;
mod tree_walk;
pub(crate) mod waits;

/// A view of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ViewKind {
    Stalls,
    Hot,
    Tasks,
    Tree,
    Waits,
    Threads,
    Flame,
    Help,
}

impl ViewKind {
    /// In the order of the tabs.
    pub(crate) const ALL: [Self; 8] = [
        Self::Stalls,
        Self::Hot,
        Self::Tasks,
        Self::Tree,
        Self::Waits,
        Self::Threads,
        Self::Flame,
        Self::Help,
    ];

    /// Its name on the tab.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Stalls => "Stalls",
            Self::Hot => "Hot",
            Self::Tasks => "Tasks",
            Self::Tree => "Tree",
            Self::Waits => "Waits",
            Self::Threads => "Threads",
            Self::Flame => "Flame",
            Self::Help => "Help",
        }
    }

    /// The key that opens it, as the tab shows it.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Stalls => 's',
            Self::Hot => 'o',
            Self::Tasks => 't',
            Self::Tree => 'e',
            Self::Waits => 'w',
            Self::Threads => 'a',
            Self::Flame => 'f',
            Self::Help => '?',
        }
    }

    /// What it is for, as the help says it.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Stalls => "Stalls: when the loop did not answer, for how long, and who held it",
            Self::Hot => "Hot: functions, lines and tasks by the time they held the loop",
            Self::Tasks => "Tasks: state, age, share of the loop, what each waits for",
            Self::Tree => "Tree: which task awaits which",
            Self::Waits => "Waits: tasks grouped by where and on what they wait",
            Self::Threads => "Threads: who runs, who holds the GIL, executor workers",
            Self::Flame => "Flame: where the loop's time went, as a flame graph",
            Self::Help => "Help: keys and what the words mean",
        }
    }

    /// The ways in which its rows can be grouped, in words; empty if there is but one.
    pub(crate) const fn groupings(self) -> &'static [&'static str] {
        match self {
            Self::Stalls => &["folded by culprit", "each stall"],
            Self::Hot => &["by line", "by function", "by task"],
            Self::Tree => &["equal tasks folded", "each task"],
            _ => &[],
        }
    }

    /// The next or previous tab, round and round.
    pub(crate) fn neighbour(self, forward: bool) -> Self {
        let count = Self::ALL.len();
        let here = Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0);
        Self::ALL[(here + if forward { 1 } else { count - 1 }) % count]
    }
}

/// What rows are made from.
#[derive(Clone, Copy)]
pub(crate) struct Material<'a> {
    pub(crate) report: &'a Arc<Report>,
    pub(crate) graph: &'a Arc<AwaitGraph>,
    pub(crate) thresholds: Thresholds,
    /// Index into the view's groupings.
    pub(crate) grouping: usize,
}

/// The rows of a list view; `None` for a view that is not a list.
pub(crate) fn rows_of(kind: ViewKind, material: Material<'_>) -> Option<Box<dyn Rows>> {
    let Material {
        report,
        graph,
        thresholds,
        grouping,
    } = material;
    let report = Arc::clone(report);
    let by = match grouping {
        0 => By::Line,
        1 => By::Function,
        _ => By::Task,
    };
    Some(match kind {
        ViewKind::Stalls => Box::new(Stalls::new(report, thresholds, grouping == 0)),
        ViewKind::Hot => Box::new(Hot::new(report, thresholds, by)),
        ViewKind::Tasks => Box::new(Tasks::new(report)),
        ViewKind::Tree => Box::new(Tree::new(report, Arc::clone(graph), grouping == 0)),
        ViewKind::Waits => Box::new(Waits::new(report)),
        ViewKind::Threads => Box::new(Threads::new(report)),
        ViewKind::Flame | ViewKind::Help => return None,
    })
}

/// From which length on a turn of a loop is worth a look, and from which it is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) stall_ns: u64,
    pub(crate) error_ns: u64,
}

impl Thresholds {
    /// How a length of time looks that a loop was held for.
    pub(crate) const fn tone(self, ns: u64) -> Tone {
        if ns >= self.error_ns {
            Tone::Bad
        } else if ns >= self.stall_ns {
            Tone::Warn
        } else {
            Tone::Plain
        }
    }
}

/// A cell with a place in code: the file's last name and the line are always there, its folder
/// and the function as far as there is room.
pub(crate) fn place_cell(location: Option<&Location>) -> Cell {
    match location {
        None => Cell::new("-"),
        Some(location) => Cell::new(long_place_and_function(location))
            .or(crate::text::place_and_function(location))
            .tone(if location.is_library() {
                Tone::Dim
            } else {
                Tone::Plain
            }),
    }
}

/// What rows are sorted by under a column of places: file, then line.
pub(crate) fn place_key(location: Option<&Location>) -> SortKey {
    let text = location.map(|location| format!("{}:{:09}", location.file, location.line));
    SortKey::Text(text.unwrap_or_default().into())
}

/// The same number for the same thing in every report.
pub(crate) fn identity_of(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// What rows are compared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    Number(u64),
    Text(Arc<str>),
}

/// Looks up the source line of a place; `None` if its file cannot be read.
pub(crate) type SourceLines<'a> = &'a mut dyn FnMut(&Location) -> Option<Arc<str>>;

/// The rows of a list view, made anew from each report. Rows are counted from 0 in an order of
/// the view's own; the list sorts and filters them by index.
pub(crate) trait Rows {
    /// All columns, those that do not fit included.
    fn columns(&self) -> &'static [Column];

    /// How many rows there are.
    fn len(&self) -> usize;

    /// What stands in a cell. Called for visible rows only.
    fn cell(&self, row: usize, column: usize) -> Cell;

    /// What the row is sorted by under this column.
    fn sort_key(&self, row: usize, column: usize) -> SortKey;

    /// Hands every text of the row that a filter may match to `visit`.
    fn visit_texts(&self, row: usize, visit: &mut dyn FnMut(&str));

    /// A number that stays the same for the same thing from report to report.
    fn identity(&self, row: usize) -> u64;

    /// The whole story of the row.
    fn document(&self, row: usize, sources: SourceLines<'_>) -> Document;

    /// What the rows are sorted by at first; `None` keeps the view's own order.
    fn first_sort(&self) -> Option<Sort>;

    /// False if the rows have but one order.
    fn is_sortable(&self) -> bool {
        true
    }

    /// What to say when there is no row at all.
    fn empty_text(&self) -> &'static str;

    /// The rows that are shown, in order.
    fn order(&self, needle: &Needle, sort: Option<Sort>) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).collect();
        if !needle.is_empty() {
            order.retain(|row| needle.matches(|visit| self.visit_texts(*row as usize, visit)));
        }
        if let Some(sort) = sort {
            sort_rows(&mut order, sort.descending, |row| {
                self.sort_key(row, sort.column)
            });
        }
        order
    }
}

/// Sorts rows by a key that is made once for each; equal ones keep their order.
fn sort_rows(order: &mut [u32], descending: bool, key: impl Fn(usize) -> SortKey) {
    if descending {
        order.sort_by_cached_key(|row| std::cmp::Reverse(key(*row as usize)));
    } else {
        order.sort_by_cached_key(|row| key(*row as usize));
    }
}
