//! A list on the screen: which rows it shows, in which order, and which one is selected.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::table::{Sort, TableView, put};
use crate::text::Needle;
use crate::theme::{Theme, Tone};
use crate::views::Rows;

/// What a person has set up for one list; outlives the rows, which each report brings anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListState {
    /// The filter as it was typed.
    pub(crate) filter: String,
    /// `None` until the view's first sort or a key has set it.
    pub(crate) sort: Option<Sort>,
    /// Which of the view's groupings is on.
    pub(crate) grouping: usize,
    /// Indices of the rows that are shown, in order.
    order: Vec<u32>,
    /// Position in `order`.
    selected: usize,
    /// Identity of the selected row; `None` while the first row is selected by default, so that
    /// the selection stays at the top when a new first row comes.
    held: Option<u64>,
    /// Position in `order` of the first visible row.
    offset: usize,
}

impl ListState {
    /// Takes new rows: filters and sorts them and finds the selected one again.
    pub(crate) fn update(&mut self, rows: &dyn Rows) {
        if self.sort.is_none() {
            self.sort = rows.first_sort();
        }
        self.order = rows.order(&Needle::new(&self.filter), self.sort);
        if let Some(identity) = self.held {
            let found = self
                .order
                .iter()
                .position(|row| rows.identity(*row as usize) == identity);
            self.selected = found.unwrap_or(self.selected);
        } else {
            self.selected = 0;
        }
        self.selected = self.selected.min(self.order.len().saturating_sub(1));
    }

    /// The selected row.
    pub(crate) fn selected(&self) -> Option<usize> {
        self.order.get(self.selected).map(|row| *row as usize)
    }

    /// How many rows the filter lets through.
    pub(crate) fn shown(&self) -> usize {
        self.order.len()
    }

    /// Where the selection stands, from 1; 0 when nothing is shown.
    pub(crate) fn position(&self) -> usize {
        if self.order.is_empty() {
            0
        } else {
            self.selected + 1
        }
    }

    /// Moves the selection by so many rows, up if negative.
    pub(crate) fn move_by(&mut self, steps: isize, rows: &dyn Rows) {
        let last = self.order.len().saturating_sub(1);
        self.select(self.selected.saturating_add_signed(steps).min(last), rows);
    }

    /// Selects the first or the last row. The first one is not held on to.
    pub(crate) fn move_to_end(&mut self, last: bool, rows: &dyn Rows) {
        if last {
            self.select(self.order.len().saturating_sub(1), rows);
        } else {
            self.selected = 0;
            self.held = None;
        }
    }

    fn select(&mut self, position: usize, rows: &dyn Rows) {
        self.selected = position;
        self.held = self.selected().map(|row| rows.identity(row));
    }

    /// Sorts by this column, if there is one; a second time turns the order over.
    pub(crate) fn sort_by(&mut self, column: usize, rows: &dyn Rows) {
        if !rows.is_sortable() {
            return;
        }
        let Some(definition) = rows.columns().get(column) else {
            return;
        };
        self.sort = match self.sort {
            Some(sort) if sort.column == column => Some(Sort {
                descending: !sort.descending,
                ..sort
            }),
            _ => Some(Sort {
                column,
                descending: definition.descending,
            }),
        };
    }

    /// Sorts by a neighbour of the present column, round and round.
    pub(crate) fn sort_by_neighbour(&mut self, forward: bool, rows: &dyn Rows) {
        if !rows.is_sortable() {
            return;
        }
        let count = rows.columns().len();
        let column = match self.sort {
            None => 0,
            Some(sort) if forward => (sort.column + 1) % count,
            Some(sort) => (sort.column + count - 1) % count,
        };
        let descending = rows.columns()[column].descending;
        self.sort = Some(Sort { column, descending });
    }

    /// Turns the order over.
    pub(crate) fn invert(&mut self) {
        if let Some(sort) = &mut self.sort {
            sort.descending = !sort.descending;
        }
    }

    /// Makes the selected row visible in a list of this many lines.
    pub(crate) fn scroll_into(&mut self, lines: usize) {
        let lines = lines.max(1);
        let last_offset = self.order.len().saturating_sub(lines);
        let lowest = self.selected.saturating_sub(lines - 1);
        self.offset = self
            .offset
            .clamp(lowest, self.selected.max(lowest))
            .min(last_offset);
    }

    /// Draws headings and the visible rows.
    pub(crate) fn draw(&self, buffer: &mut Buffer, area: Rect, rows: &dyn Rows, theme: Theme) {
        let table = TableView {
            columns: rows.columns(),
            theme,
            sort: self.sort,
            margin: 1,
        };
        table.headings(buffer, area);
        let body = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        if self.order.is_empty() {
            let text = if rows.len() == 0 {
                rows.empty_text()
            } else {
                "Nothing matches the filter"
            };
            put(
                buffer,
                body,
                (body.x + 1, body.y),
                text,
                theme.style(Tone::Dim),
            );
            return;
        }
        let visible = self.order.iter().enumerate().skip(self.offset);
        for (y, (position, row)) in (body.y..body.bottom()).zip(visible) {
            let line = Rect {
                y,
                height: 1,
                ..body
            };
            let row = *row as usize;
            let cell = |column| rows.cell(row, column);
            table.row(buffer, line, position == self.selected, &cell);
        }
    }
}
