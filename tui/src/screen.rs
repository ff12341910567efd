//! Drawing the state.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::app::{App, Story};
use crate::ascii;
use crate::header::{draw_identity, draw_loops};
use crate::layout::{Areas, LEAST};
use crate::pieces::{Piece, draw_pieces};
use crate::table::put;
use crate::theme::Tone;
use crate::views::ViewKind;

impl App {
    /// Draws everything.
    pub(crate) fn draw(&self, frame: &mut Frame) {
        let buffer = frame.buffer_mut();
        match &self.areas {
            Some(areas) => self.draw_areas(buffer, areas),
            None => self.draw_too_small(buffer),
        }
        if self.options.ascii {
            ascii::degrade(buffer);
        }
    }

    fn draw_too_small(&self, buffer: &mut Buffer) {
        let area = buffer.area;
        let note = format!(
            "terminal too small: {}x{} needed",
            LEAST.width, LEAST.height
        );
        put(
            buffer,
            area,
            (area.x, area.y),
            &note,
            self.theme.style(Tone::Strong),
        );
    }

    fn draw_areas(&self, buffer: &mut Buffer, areas: &Areas) {
        match &self.shown {
            Some(report) => {
                let flags = (&self.flags, self.options.pausing);
                draw_identity(buffer, areas.identity, report, flags, self.theme);
                draw_loops(buffer, areas.loops, report, self.thresholds, self.theme);
                draw_pieces(
                    buffer,
                    indented(areas.verdict),
                    &self.verdict,
                    1,
                    self.theme,
                );
            }
            None => {
                let at = (areas.identity.x + 1, areas.identity.y);
                put(
                    buffer,
                    areas.identity,
                    at,
                    "attaching …",
                    self.theme.style(Tone::Dim),
                );
            }
        }
        self.draw_tabs(buffer, areas.tabs);
        self.draw_body(buffer, areas);
        self.draw_footer(buffer, areas.footer);
    }

    fn draw_tabs(&self, buffer: &mut Buffer, area: Rect) {
        let roomy = area.width >= 80;
        let pieces: Vec<Piece> = ViewKind::ALL
            .iter()
            .map(|&kind| {
                let count = self.tab_count(kind).filter(|_| roomy);
                let count = count.map(|count| format!(" {count}")).unwrap_or_default();
                let title = format!("{}{count}", kind.title());
                if kind == self.view {
                    Piece::new(0, format!("[{title}]"), Tone::Strong)
                } else {
                    Piece::new(1, format!("{}:{title}", kind.letter()), Tone::Plain)
                }
            })
            .collect();
        let gap = if roomy { 2 } else { 1 };
        draw_pieces(buffer, area, &pieces, gap, self.theme);
        buffer.set_style(
            area,
            self.theme
                .style(Tone::Plain)
                .add_modifier(Modifier::REVERSED),
        );
    }

    /// How many rows a view has, where the report says it without counting.
    fn tab_count(&self, kind: ViewKind) -> Option<String> {
        let report = self.shown.as_ref()?;
        let snapshot = report.snapshot.as_ref();
        let number = match kind {
            ViewKind::Stalls => report.totals.stalls,
            ViewKind::Tasks => {
                let sign = if snapshot?.complete { "" } else { "+" };
                return Some(format!(
                    "{}{sign}",
                    crate::format::count(snapshot?.tasks.len() as u64)
                ));
            }
            ViewKind::Tree if !self.graph.cycles().is_empty() => return Some("DEADLOCK".into()),
            ViewKind::Threads => snapshot?.threads.len() as u64,
            _ => return None,
        };
        Some(crate::format::count(number))
    }

    fn draw_body(&self, buffer: &mut Buffer, areas: &Areas) {
        if let Some(story) = &self.story {
            self.draw_story(buffer, areas.whole_body(), story);
        } else if let Some(rows) = &self.rows {
            self.list().draw(buffer, areas.body, &**rows, self.theme);
            if let Some(preview) = areas.preview.filter(|_| self.list().shown() > 0) {
                self.draw_preview(buffer, preview, areas);
            }
        } else if self.view == ViewKind::Flame && self.shown.is_some() {
            self.flame.draw(buffer, areas.whole_body(), self.theme);
        }
    }

    fn draw_story(&self, buffer: &mut Buffer, area: Rect, story: &Story) {
        let mut inner = indented(area);
        if story.gone {
            let note = "it has ended or is no longer listed; this is the last that was seen";
            put(
                buffer,
                inner,
                (inner.x, inner.y),
                note,
                self.theme.style(Tone::Warn),
            );
            inner = Rect {
                y: inner.y + 1,
                height: inner.height.saturating_sub(1),
                ..inner
            };
        }
        story.document.draw(buffer, inner, self.theme, story.skip);
    }

    /// The story of the selected row, set apart from the list by a line.
    fn draw_preview(&self, buffer: &mut Buffer, area: Rect, areas: &Areas) {
        let style = self.theme.style(Tone::Dim);
        let inner = if area.x > areas.body.x {
            for y in area.y..area.bottom() {
                put(buffer, area, (area.x, y), "│", style);
            }
            Rect {
                x: area.x + 2,
                width: area.width.saturating_sub(2),
                ..area
            }
        } else {
            let line = "─".repeat(usize::from(area.width));
            put(buffer, area, (area.x, area.y), &line, style);
            Rect {
                y: area.y + 1,
                height: area.height.saturating_sub(1),
                ..indented(area)
            }
        };
        self.preview.draw(buffer, inner, self.theme, 0);
    }
}

/// The area without its first column.
pub(crate) fn indented(area: Rect) -> Rect {
    Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(1),
        ..area
    }
}
