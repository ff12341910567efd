//! The screen for terminals that show ASCII alone.
//!
//! Everything is drawn with the usual characters first; then each cell that holds another than
//! an ASCII one is replaced. So no view has to know.

use ratatui::buffer::Buffer;

/// Replaces every character of the picture that is not ASCII.
pub(crate) fn degrade(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let replacement = cell.symbol().chars().next().map_or(' ', replace);
            cell.set_char(replacement);
        }
    }
}

/// The text with every character that is not ASCII replaced.
pub(crate) fn degrade_text(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii() { c } else { replace(c) })
        .collect()
}

/// The nearest ASCII character of the same width; `?` where there is none.
fn replace(character: char) -> char {
    match character {
        '…' => '~',
        'µ' => 'u',
        '×' => 'x',
        '·' | '─' => '-',
        '│' => '|',
        '├' => '|',
        '└' => '`',
        '▶' => '>',
        '◀' => '<',
        '▲' => '^',
        '▼' => 'v',
        '▁' => '_',
        '▂' => '.',
        '▃' => '-',
        '▄' => '=',
        '▅' => '+',
        '▆' => '*',
        '▇' => '%',
        '█' => '#',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn leaves_only_ascii_at_the_same_columns() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(0, 0, "日a…▁█│ 4 µs", Style::new());
        degrade(&mut buffer);
        let line: String = buffer
            .content
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        assert_eq!(line, "? a~_#| 4 us");
        assert_eq!(degrade_text("├─ ä×2"), "|- ?x2");
    }
}
