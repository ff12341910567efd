//! A line made of pieces, of which the least important are left out when there is no room.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::table::put;
use crate::text;
use crate::theme::{Theme, Tone};

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The text, already safe.
    pub(crate) text: String,
    pub(crate) tone: Tone,
    /// The highest is left out first; 0 never is.
    pub(crate) rank: u8,
}

impl Piece {
    pub(crate) fn new(rank: u8, text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
            rank,
        }
    }
}

/// The pieces that fit into so many cells, with `gap` cells between two.
pub(crate) fn fit_pieces(pieces: &[Piece], columns: usize, gap: usize) -> Vec<&Piece> {
    let mut kept: Vec<&Piece> = pieces
        .iter()
        .filter(|piece| !piece.text.is_empty())
        .collect();
    while total_width(&kept, gap) > columns {
        let Some(rank) = kept
            .iter()
            .map(|piece| piece.rank)
            .max()
            .filter(|rank| *rank > 0)
        else {
            break;
        };
        let Some(position) = kept.iter().rposition(|piece| piece.rank == rank) else {
            break;
        };
        kept.remove(position);
    }
    kept
}

fn total_width(pieces: &[&Piece], gap: usize) -> usize {
    let gaps = gap * pieces.len().saturating_sub(1);
    pieces
        .iter()
        .map(|piece| text::width(&piece.text))
        .sum::<usize>()
        + gaps
}

/// The last piece is cut rather than left out if at least this many cells are free for it.
const WORTH_CUTTING: usize = 8;

/// Draws the pieces that fit into the first line of the area.
pub(crate) fn draw_pieces(
    buffer: &mut Buffer,
    area: Rect,
    pieces: &[Piece],
    gap: u16,
    theme: Theme,
) {
    let mut x = area.x;
    let columns = usize::from(area.width);
    let mut shown = fit_pieces(pieces, columns, usize::from(gap));
    let used = total_width(&shown, usize::from(gap)) + usize::from(gap);
    if let Some(last) = pieces.last()
        && shown.last() != Some(&last)
        && used + WORTH_CUTTING <= columns
    {
        shown.push(last);
    }
    for piece in shown {
        let room = usize::from(area.right().saturating_sub(x));
        let shown = text::cut(&piece.text, room);
        put(buffer, area, (x, area.y), &shown, theme.style(piece.tone));
        let width = u16::try_from(text::width(&shown)).unwrap_or(u16::MAX);
        x = x.saturating_add(width).saturating_add(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_important_goes_first() {
        let pieces = [
            Piece::new(0, "blocked", Tone::Bad),
            Piece::new(2, "by task", Tone::Plain),
            Piece::new(0, "app.py:42", Tone::Strong),
            Piece::new(1, "sleep", Tone::Plain),
            Piece::new(9, "", Tone::Plain),
        ];
        let texts = |columns| -> Vec<&str> {
            fit_pieces(&pieces, columns, 1)
                .iter()
                .map(|piece| piece.text.as_str())
                .collect()
        };
        assert_eq!(texts(31), ["blocked", "by task", "app.py:42", "sleep"]);
        assert_eq!(texts(30), ["blocked", "app.py:42", "sleep"]);
        assert_eq!(texts(17), ["blocked", "app.py:42"]);
        assert_eq!(texts(3), ["blocked", "app.py:42"]);
    }
}
