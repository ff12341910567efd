//! Drawing the flame graph.

use asyncspy_model::FrameKind;
use asyncspy_model::report::CallNode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::flame::Flame;
use super::flame_layout::Bar;
use super::identity_of;
use crate::format;
use crate::table::put;
use crate::text::{self, clean};
use crate::theme::{Material, Theme, Tone};

impl Flame {
    /// Draws a line about the selected bar, and the bars.
    pub(crate) fn draw(&self, buffer: &mut Buffer, area: Rect, theme: Theme) {
        let Some(selected) = self
            .node(self.selected)
            .filter(|_| self.tree.nodes[0].total_ns > 0)
        else {
            let text = "No sample has caught a loop at work yet";
            put(
                buffer,
                area,
                (area.x + 1, area.y),
                text,
                theme.style(Tone::Dim),
            );
            return;
        };
        let times = format!(
            "   total {}   self {}",
            self.share(selected.total_ns),
            format::duration_or_dash(selected.self_ns),
        );
        let room = usize::from(area.width).saturating_sub(text::width(&times) + 1);
        let info = format!("{}{times}", text::cut(&clean(&selected.label), room));
        put(
            buffer,
            area,
            (area.x + 1, area.y),
            &info,
            theme.style(Tone::Strong),
        );
        let graph = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        for bar in &self.bars {
            self.draw_bar(buffer, graph, bar, theme);
        }
    }

    fn draw_bar(&self, buffer: &mut Buffer, area: Rect, bar: &Bar, theme: Theme) {
        let Some(level) = bar
            .depth
            .checked_sub(self.skip)
            .and_then(|l| u16::try_from(l).ok())
        else {
            return;
        };
        let Some(node) = self.node(bar.node).filter(|_| level < area.height) else {
            return;
        };
        let y = if self.inverted {
            area.bottom() - 1 - level
        } else {
            area.y + level
        };
        let (base, fill) = theme.bar(material(node), identity_of(&node.label));
        let style = if bar.node == self.selected {
            base.patch(Theme::selected())
        } else if self.found.get(bar.node as usize) == Some(&true) {
            theme.style(Tone::Found)
        } else {
            base
        };
        draw_label(
            buffer,
            area,
            (area.x + bar.x, y, bar.width),
            (&node.label, fill),
            style,
        );
    }
}

/// A bar's border, its label and the rest of its cells.
fn draw_label(
    buffer: &mut Buffer,
    area: Rect,
    (x, y, width): (u16, u16, u16),
    (label, fill): (&str, char),
    style: Style,
) {
    let room = usize::from(width).saturating_sub(1);
    let label = text::cut(&clean(label), room);
    let rest = room.saturating_sub(text::width(&label));
    let filling: String = std::iter::repeat_n(fill, rest).collect();
    put(buffer, area, (x, y), &format!("│{label}{filling}"), style);
}

/// What a bar is made of decides its colour.
fn material(node: &CallNode) -> Material {
    match &node.location {
        None => Material::Group,
        Some(_) if node.kind == FrameKind::Machinery => Material::Library,
        Some(place) if place.is_library() => Material::Library,
        Some(_) => Material::Own,
    }
}
