//! Tables of text: columns sized to their content and to the width of the terminal.

use std::borrow::Cow;
use std::io;

use asyncspy_model::Location;

use super::columns::{GAP, Wish, fit};
use super::escape::{MAX_COLUMNS, escape_to, width};
use super::place::{chain, place};
use super::style::{LineWriter, Role};

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its head.
    pub(super) title: &'static str,
    /// Least legible width.
    pub(super) min: usize,
    /// So many columns it keeps more than the others when all shrink.
    pub(super) head_start: usize,
    /// Which one goes first when not even the minima fit; 0 stays.
    pub(super) drop_rank: u8,
}

/// A column in one line.
pub(super) const fn column(
    title: &'static str,
    min: usize,
    head_start: usize,
    drop_rank: u8,
) -> Column {
    Column {
        title,
        min,
        head_start,
        drop_rank,
    }
}

/// The content of a cell; each kind is shortened in its own way.
#[derive(Clone, Debug)]
pub(super) enum Cell<'a> {
    /// Cut at the end; unescaped.
    Text(Cow<'a, str>),
    /// A file and line, cut at the beginning; `?` when unknown.
    Place(Option<&'a Location>),
    /// Functions, innermost first, cut in the middle.
    Chain(&'a [Location]),
}

impl Cell<'_> {
    fn within(&self, columns: usize) -> Cow<'_, str> {
        match self {
            Self::Text(text) => escape_to(text, columns),
            Self::Place(Some(location)) => Cow::Owned(place(location, columns)),
            Self::Place(None) => Cow::Borrowed("?"),
            Self::Chain(links) => Cow::Owned(chain(links, columns)),
        }
    }
}

/// The width of each column of a table.
pub(super) struct Layout {
    columns: &'static [Column],
    widths: Vec<Option<usize>>,
}

impl Layout {
    /// Sizes the columns to `rows`, so that a line fits `limit`.
    pub(super) fn new<'a>(
        columns: &'static [Column],
        rows: impl Iterator<Item = &'a [Cell<'a>]>,
        limit: usize,
    ) -> Self {
        let mut natural: Vec<usize> = columns.iter().map(|column| column.title.len()).collect();
        for row in rows {
            for (widest, cell) in natural.iter_mut().zip(row) {
                *widest = (*widest).max(width(&cell.within(MAX_COLUMNS)));
            }
        }
        let wish = |(column, natural): (&Column, usize)| Wish {
            min: column.min,
            natural,
            head_start: column.head_start,
            drop_rank: column.drop_rank,
        };
        let wishes: Vec<Wish> = columns.iter().zip(natural).map(wish).collect();
        Self {
            columns,
            widths: fit(&wishes, limit),
        }
    }

    /// Writes the heads of the columns.
    pub(super) fn write_titles(&self, lines: &mut LineWriter<'_>) -> io::Result<()> {
        let titles = self
            .columns
            .iter()
            .map(|column| Cell::Text(Cow::Borrowed(column.title)));
        let titles: Vec<Cell<'_>> = titles.collect();
        self.write_row(lines, &titles, Some(Role::Heading))
    }

    /// Writes one row; the end of the line is not filled.
    pub(super) fn write_row(
        &self,
        lines: &mut LineWriter<'_>,
        cells: &[Cell<'_>],
        role: Option<Role>,
    ) -> io::Result<()> {
        let mut line = String::new();
        let mut target: usize = 0;
        for (cell, columns) in cells.iter().zip(&self.widths) {
            let Some(columns) = *columns else {
                continue;
            };
            let missing = target.saturating_sub(width(&line));
            line.extend(std::iter::repeat_n(' ', missing));
            line.push_str(&cell.within(columns));
            target += columns + GAP;
        }
        let shown = escape_to(&line, lines.width);
        match role {
            Some(role) => lines.line(&lines.style.paint(role, &shown)),
            None => lines.line(&shown),
        }
    }
}
