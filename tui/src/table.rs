//! Tables: which columns fit, and drawing the rows that can be seen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::text;
use crate::theme::{Theme, Tone};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Least width in cells.
    pub(crate) min: u16,
    /// Greatest width; what is left over is shared among columns that can take it.
    pub(crate) max: u16,
    /// True if its text stands at the right, as numbers do.
    pub(crate) right: bool,
    /// Columns with the highest rank are left out first when there is no room; those with 0
    /// never are.
    pub(crate) rank: u8,
    /// True if sorting by it begins with the largest.
    pub(crate) descending: bool,
}

impl Column {
    /// A column of text between two widths.
    pub(crate) const fn text(title: &'static str, min: u16, max: u16, rank: u8) -> Self {
        Self {
            title,
            min,
            max,
            right: false,
            rank,
            descending: false,
        }
    }

    /// A column of numbers, largest first when sorted.
    pub(crate) const fn number(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            title,
            min: width,
            max: width,
            right: true,
            rank,
            descending: true,
        }
    }
}

/// What stands in one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The text, already safe.
    pub(crate) text: String,
    /// A shorter form to be used if the text does not fit.
    pub(crate) short: Option<String>,
    /// How it looks.
    pub(crate) tone: Tone,
}

impl Cell {
    /// Plain text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            short: None,
            tone: Tone::Plain,
        }
    }

    /// The same with another tone.
    pub(crate) const fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// The same with a short form.
    pub(crate) fn or(mut self, short: String) -> Self {
        self.short = Some(short);
        self
    }

    /// The form for a column of this width.
    fn for_width(&self, width: usize) -> &str {
        match &self.short {
            Some(short) if text::width(&self.text) > width => short,
            _ => &self.text,
        }
    }
}

/// A column that is shown: its index and its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fitted {
    pub(crate) column: usize,
    pub(crate) width: u16,
}

/// Chooses the columns that fit side by side, with a space between, and their widths.
pub(crate) fn fit_columns(columns: &[Column], room: u16) -> Vec<Fitted> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    while least_width(columns, &shown) > room {
        let droppable = |index: &&usize| columns[**index].rank > 0;
        let Some(last) = shown
            .iter()
            .filter(droppable)
            .max_by_key(|i| columns[**i].rank)
        else {
            break;
        };
        let last = *last;
        shown.retain(|index| *index != last);
    }
    let mut fitted: Vec<Fitted> = shown
        .iter()
        .map(|&column| Fitted {
            column,
            width: columns[column].min,
        })
        .collect();
    let spare = room.saturating_sub(least_width(columns, &shown));
    share(columns, &mut fitted, spare);
    fitted
}

/// Width of these columns at their least, with the spaces between them.
fn least_width(columns: &[Column], shown: &[usize]) -> u16 {
    let gaps = u16::try_from(shown.len().saturating_sub(1)).unwrap_or(u16::MAX);
    shown
        .iter()
        .map(|index| columns[*index].min)
        .fold(gaps, u16::saturating_add)
}

/// Deals the spare cells out, one at a time in turn, to the columns that can grow.
fn share(columns: &[Column], fitted: &mut [Fitted], mut spare: u16) {
    loop {
        let before = spare;
        for one in fitted.iter_mut() {
            if spare > 0 && one.width < columns[one.column].max {
                one.width += 1;
                spare -= 1;
            }
        }
        if spare == before {
            return;
        }
    }
}

/// The column that the rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    /// Its index.
    pub(crate) column: usize,
    /// True for the largest first.
    pub(crate) descending: bool,
}

/// Draws tables into one area of the screen.
pub(crate) struct TableView<'a> {
    pub(crate) columns: &'a [Column],
    pub(crate) theme: Theme,
    /// Marked in the headings.
    pub(crate) sort: Option<Sort>,
    /// Cells kept free at the left, for the mark of the selected row.
    pub(crate) margin: u16,
}

impl TableView<'_> {
    /// The columns for an area.
    pub(crate) fn fit(&self, area: Rect) -> Vec<Fitted> {
        fit_columns(self.columns, area.width.saturating_sub(self.margin))
    }

    /// Draws the headings into the first line of the area.
    pub(crate) fn headings(&self, buffer: &mut Buffer, area: Rect) {
        let style = self.theme.style(Tone::Heading);
        let mut x = area.x + self.margin;
        for fitted in self.fit(area) {
            let column = &self.columns[fitted.column];
            let arrow = match self.sort {
                Some(sort) if sort.column != fitted.column => "",
                Some(sort) if sort.descending => "▼",
                Some(_) => "▲",
                None => "",
            };
            let width = usize::from(fitted.width);
            if column.right {
                let title = text::fit(column.title, width, true);
                put(buffer, area, (x, area.y), &title, style);
                // The arrow stands in the gap between the columns.
                put(buffer, area, (x + fitted.width, area.y), arrow, style);
            } else {
                let title = text::fit(&format!("{}{arrow}", column.title), width, false);
                put(buffer, area, (x, area.y), &title, style);
            }
            x += fitted.width + 1;
        }
    }

    /// Draws one row into the first line of the area.
    pub(crate) fn row(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        selected: bool,
        cell: &dyn Fn(usize) -> Cell,
    ) {
        let mut x = area.x + self.margin;
        for fitted in self.fit(area) {
            let width = usize::from(fitted.width);
            let content = cell(fitted.column);
            let shown = content.for_width(width);
            let shown = text::fit(shown, width, self.columns[fitted.column].right);
            put(
                buffer,
                area,
                (x, area.y),
                &shown,
                self.theme.style(content.tone),
            );
            x += fitted.width + 1;
        }
        if selected {
            put(buffer, area, (area.x, area.y), "▶", Style::new());
            let line = Rect { height: 1, ..area };
            buffer.set_style(line, Theme::selected());
        }
    }
}

/// Writes text that is already safe, never beyond the right edge of the area.
pub(crate) fn put(buffer: &mut Buffer, area: Rect, at: (u16, u16), text: &str, style: Style) {
    let (x, y) = at;
    let inside = area.intersection(buffer.area);
    if y >= inside.y && y < inside.bottom() && x >= inside.x && x < inside.right() {
        buffer.set_stringn(x, y, text, usize::from(inside.right() - x), style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::text("name", 10, 20, 0),
        Column::number("count", 5, 2),
        Column::text("where", 10, 40, 1),
    ];

    fn widths(room: u16) -> Vec<(usize, u16)> {
        fit_columns(&COLUMNS, room)
            .iter()
            .map(|f| (f.column, f.width))
            .collect()
    }

    #[test]
    fn columns_are_left_out_by_rank_and_grow_to_their_bound() {
        assert_eq!(widths(27), [(0, 10), (1, 5), (2, 10)]);
        assert_eq!(widths(26), [(0, 13), (2, 12)]);
        assert_eq!(widths(15), [(0, 15)]);
        assert_eq!(widths(3), [(0, 10)]);
        assert_eq!(widths(200), [(0, 20), (1, 5), (2, 40)]);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        let area = Rect::new(2, 0, 4, 1);
        put(&mut buffer, area, (3, 0), "abcdef", Style::new());
        put(&mut buffer, area, (3, 1), "below", Style::new());
        put(&mut buffer, area, (90, 0), "right", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["   abc  ", "        "]));
    }
}
