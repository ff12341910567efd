//! The whole story of one thing: headings, facts and stacks, to be scrolled or copied.

use asyncspy_model::Location;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::table::put;
use crate::text::{self, clean};
use crate::theme::{Theme, Tone};
use crate::views::SourceLines;

/// No stack is shown with more frames than this; the model's chains are bounded as well.
const MAX_FRAMES: usize = 500;

/// Width of the names of facts.
const FACT_WIDTH: usize = 14;

/// One line of a document. Texts are safe already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Heading(String),
    Fact {
        name: String,
        value: String,
        tone: Tone,
    },
    Frame {
        location: String,
        function: String,
        source: Option<String>,
        library: bool,
    },
    Text {
        text: String,
        tone: Tone,
    },
    Blank,
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) lines: Vec<Line>,
}

impl Document {
    /// Adds a heading, with a blank line before it.
    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        if !self.lines.is_empty() {
            self.lines.push(Line::Blank);
        }
        self.lines.push(Line::Heading(text.into()));
    }

    /// Adds a heading right below the line before it.
    pub(crate) fn heading_below(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Heading(text.into()));
    }

    /// Adds a named fact.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.toned_fact(name, value, Tone::Plain);
    }

    /// Adds a named fact that stands out.
    pub(crate) fn toned_fact(&mut self, name: &str, value: impl Into<String>, tone: Tone) {
        self.lines.push(Line::Fact {
            name: name.to_owned(),
            value: value.into(),
            tone,
        });
    }

    /// Adds a line of text.
    pub(crate) fn text(&mut self, text: impl Into<String>, tone: Tone) {
        self.lines.push(Line::Text {
            text: text.into(),
            tone,
        });
    }

    /// Adds the frames of a stack, in the order given, with their source lines.
    pub(crate) fn stack(&mut self, frames: &[Location], sources: SourceLines<'_>) {
        for location in frames.iter().take(MAX_FRAMES) {
            let library = location.is_library();
            let source = if library { None } else { sources(location) };
            self.lines.push(Line::Frame {
                location: text::full_place(location),
                function: clean(&location.function),
                source: source
                    .map(|line| clean(line.trim()))
                    .filter(|line| !line.is_empty()),
                library,
            });
        }
        if frames.len() > MAX_FRAMES {
            let left_out = frames.len() - MAX_FRAMES;
            self.text(format!("  … {left_out} more frames"), Tone::Dim);
        }
    }

    /// What it looks like in so many columns, a screen line each.
    pub(crate) fn lay_out(&self, columns: usize) -> Vec<(String, Tone)> {
        self.lines
            .iter()
            .flat_map(|line| screen_lines(line, columns))
            .collect()
    }

    /// Draws the part of it that begins `skip` screen lines down.
    pub(crate) fn draw(&self, buffer: &mut Buffer, area: Rect, theme: Theme, skip: usize) {
        let lines = self.lay_out(usize::from(area.width));
        for (y, (text, tone)) in (area.y..area.bottom()).zip(lines.iter().skip(skip)) {
            put(buffer, area, (area.x, y), text, theme.style(*tone));
        }
    }

    /// As text without decoration. Frames look as in a traceback, which editors and terminals
    /// know how to open.
    pub(crate) fn plain_text(&self) -> String {
        let mut plain = String::new();
        for line in &self.lines {
            match line {
                Line::Blank => {}
                Line::Heading(text) => plain += &format!("{text}\n"),
                Line::Fact { name, value, .. } => plain += &format!("{name:FACT_WIDTH$} {value}\n"),
                Line::Text { text, .. } => plain += &format!("{text}\n"),
                Line::Frame {
                    location,
                    function,
                    source,
                    ..
                } => {
                    let (file, line) = location.rsplit_once(':').unwrap_or((location, "?"));
                    plain += &format!("  File \"{file}\", line {line}, in {function}\n");
                    if let Some(source) = source {
                        plain += &format!("    {source}\n");
                    }
                }
            }
        }
        plain
    }
}

/// What the line looks like at this width.
fn screen_lines(line: &Line, columns: usize) -> Vec<(String, Tone)> {
    match line {
        Line::Blank => vec![(String::new(), Tone::Plain)],
        Line::Heading(text) => vec![(text::cut(text, columns), Tone::Heading)],
        Line::Text { text, tone } => vec![(text::cut(text, columns), *tone)],
        Line::Fact { name, value, tone } => {
            let parts = text::wrap(value, columns.saturating_sub(FACT_WIDTH + 1));
            let names = std::iter::once(name.as_str()).chain(std::iter::repeat(""));
            let joined = names
                .zip(parts)
                .map(|(name, part)| format!("{name:FACT_WIDTH$} {part}"));
            joined.map(|text| (text, *tone)).collect()
        }
        Line::Frame {
            location,
            function,
            source,
            library,
        } => frame_lines((location, function), source.as_deref(), *library, columns),
    }
}

/// A frame: its place and function side by side, the source line below.
fn frame_lines(
    (location, function): (&str, &str),
    source: Option<&str>,
    library: bool,
    width: usize,
) -> Vec<(String, Tone)> {
    let (mark, tone) = if library {
        (' ', Tone::Dim)
    } else {
        ('>', Tone::Plain)
    };
    let room = width.saturating_sub(3 + text::width(function));
    let place = if text::width(location) <= room {
        location.to_owned()
    } else {
        text::base_name(location).to_owned()
    };
    let mut lines = vec![(
        text::cut(&format!("{mark} {place} {function}"), width),
        tone,
    )];
    if let Some(source) = source {
        lines.push((text::cut(&format!("      {source}"), width), Tone::Strong));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn sample() -> Document {
        let location = |file: &str| Location {
            function: "run".into(),
            file: file.into(),
            line: 7,
        };
        let mut document = Document::default();
        document.heading("Stack");
        document.fact("cause", "cpu");
        let frames = [
            location("/usr/lib/python3.12/x.py"),
            location("/srv/app.py"),
        ];
        document.stack(&frames, &mut |_| Some(Arc::from("    work()\n")));
        document
    }

    #[test]
    fn plain_text_reads_like_a_traceback() {
        let expected = "Stack\ncause          cpu\n  File \"/usr/lib/python3.12/x.py\", line 7, in run\n  \
                        File \"/srv/app.py\", line 7, in run\n    work()\n";
        assert_eq!(sample().plain_text(), expected);
    }

    #[test]
    fn scrolling_skips_screen_lines() {
        let document = sample();
        assert_eq!(document.lay_out(24).len(), 5);
        let area = Rect::new(0, 0, 24, 2);
        let mut buffer = Buffer::empty(area);
        document.draw(&mut buffer, area, Theme::new(crate::ColorMode::None), 3);
        let lines: Vec<String> = buffer
            .content
            .chunks(24)
            .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect())
            .collect();
        assert_eq!(
            lines,
            ["> /srv/app.py:7 run     ", "      work()            "]
        );
    }
}
