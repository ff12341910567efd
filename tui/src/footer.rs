//! The last line: what can be done here, what is being typed, how the last key went.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Input};
use crate::pieces::{Piece, draw_pieces};
use crate::screen::indented;
use crate::table::put;
use crate::text::{self, clean};
use crate::theme::Tone;
use crate::views::ViewKind;

impl App {
    /// Draws the line.
    pub(crate) fn draw_footer(&self, buffer: &mut Buffer, area: Rect) {
        let position = self.position_words();
        let width = u16::try_from(text::width(&position))
            .unwrap_or(0)
            .min(area.width);
        let left = Rect {
            width: area.width - width,
            ..indented(area)
        };
        let left = Rect {
            width: left.width.saturating_sub(2),
            ..left
        };
        draw_pieces(buffer, left, &self.footer_pieces(), 2, self.theme);
        let at = (area.right() - width, area.y);
        put(buffer, area, at, &position, self.theme.style(Tone::Dim));
    }

    /// Where the selection or the story stands.
    fn position_words(&self) -> String {
        if let Some(story) = &self.story {
            let height = self.story_height();
            let last = (story.skip + self.page()).min(height);
            return if height > self.page() {
                format!("{last}/{height}")
            } else {
                String::new()
            };
        }
        match &self.rows {
            Some(rows) if rows.len() > 0 => {
                let list = self.list();
                let all = rows.len();
                if list.shown() == all {
                    format!("{}/{all}", list.position())
                } else {
                    format!("{}/{} of {all}", list.position(), list.shown())
                }
            }
            _ => String::new(),
        }
    }

    fn footer_pieces(&self) -> Vec<Piece> {
        match &self.input {
            Input::Save => {
                let text = "save what was gathered:  f flame graph   j JSON   Esc nothing";
                return vec![Piece::new(0, text, Tone::Strong)];
            }
            Input::Filter { .. } => {
                let filter = clean(&self.list().filter);
                return vec![
                    Piece::new(0, format!("/{filter}█"), Tone::Strong),
                    Piece::new(1, "Enter keep  Esc drop", Tone::Dim),
                ];
            }
            Input::Keys => {}
        }
        if let Some((message, wrong)) = &self.message {
            let tone = if *wrong { Tone::Bad } else { Tone::Strong };
            return vec![Piece::new(0, clean(message), tone)];
        }
        self.hint_pieces()
    }

    /// The filter that is on, and the keys that matter most here.
    fn hint_pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let filter = &self.list().filter;
        if !filter.is_empty() && self.story.is_none() {
            let found = self
                .flame
                .found_words()
                .filter(|_| self.view == ViewKind::Flame);
            let found = found.map(|found| format!("  {found}")).unwrap_or_default();
            let text = format!("filter: {}{found}", clean(filter));
            pieces.push(Piece::new(0, text, Tone::Found));
        }
        if self.flags.frozen {
            pieces.push(Piece::new(0, "space go on", Tone::Strong));
        }
        let hints = match self.view {
            _ if self.story.is_some() => STORY_HINTS,
            ViewKind::Flame => FLAME_HINTS,
            _ => LIST_HINTS,
        };
        pieces.extend(
            hints
                .iter()
                .map(|(rank, hint)| Piece::new(*rank, *hint, Tone::Dim)),
        );
        if let Some(grouping) = self.view.groupings().get(self.list().grouping) {
            pieces.push(Piece::new(8, format!("l ({grouping})"), Tone::Dim));
        }
        pieces
    }
}

/// Keys that matter most in a list, with the rank by which they are left out.
const LIST_HINTS: &[(u8, &str)] = &[
    (1, "Enter story"),
    (1, "/ filter"),
    (2, "< > sort"),
    (3, "space freeze"),
    (6, "y plain text"),
    (4, "d dump"),
    (5, "S save"),
    (0, "? help"),
    (0, "q quit"),
];

/// Keys that matter most in a story.
const STORY_HINTS: &[(u8, &str)] = &[
    (0, "Esc back"),
    (1, "j k scroll"),
    (2, "y plain text"),
    (0, "q quit"),
];

/// Keys that matter most at the flame graph.
const FLAME_HINTS: &[(u8, &str)] = &[
    (1, "Enter zoom"),
    (1, "Esc out"),
    (2, "/ search"),
    (6, "space freeze"),
    (4, "i turn over"),
    (5, "y plain text"),
    (3, "S save"),
    (0, "? help"),
    (0, "q quit"),
];
