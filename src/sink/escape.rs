//! Text of the target made safe for a terminal.
//!
//! Names, paths and representations are chosen by whoever controls the target. Shown as they
//! are, they could move the cursor, recolour or retitle the terminal, reorder a line (bidi
//! overrides) or flood it. What comes out of here prints on one line, has a known width and no
//! more than the columns that were asked for.

use std::borrow::Cow;

use asyncspy_model::text::{ELLIPSIS, MAX_MARKS, Piece, Pieces, is_unsafe};
use unicode_width::UnicodeWidthChar;

/// Columns after which [`escape`] cuts. No honest name is longer; a few thousand of them must
/// still fit a log line and memory.
pub const MAX_COLUMNS: usize = 400;

/// The text with everything that does not print made visible, cut to [`MAX_COLUMNS`].
///
/// The notation is that of [`asyncspy_model::text::escape`].
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_to(text, MAX_COLUMNS)
}

/// The text escaped and cut at its end, at most `columns` wide, the ellipsis included.
#[must_use]
pub fn escape_to(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns && is_plain(text) {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut out = String::new();
    let mut used = 0;
    let mut room_left_at = 0;
    for piece in Pieces::new(text) {
        used += piece.width;
        if used > columns {
            out.truncate(room_left_at);
            out.push(ELLIPSIS);
            break;
        }
        piece.push_to(&mut out);
        if used < columns {
            room_left_at = out.len();
        }
    }
    Cow::Owned(out)
}

/// The text escaped and cut at its beginning, at most `columns` wide, the ellipsis included.
#[must_use]
pub fn escape_tail(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns && is_plain(text) {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    // Each column takes at most one character and its marks, so this tail is long enough.
    let chars = columns.saturating_mul(MAX_MARKS + 1).saturating_add(1);
    let start = text.char_indices().rev().nth(chars).map_or(0, |(at, _)| at);
    let pieces: Vec<Piece> = Pieces::new(&text[start..]).collect();
    let total: usize = pieces.iter().map(|piece| piece.width).sum();
    let mut out = String::new();
    let mut excess = total.saturating_sub(columns);
    if excess > 0 {
        out.push(ELLIPSIS);
        excess += 1;
    }
    let mut dropped = 0;
    for piece in pieces {
        if dropped < excess {
            dropped += piece.width;
        } else if piece.width > 0 || !out.ends_with(ELLIPSIS) {
            piece.push_to(&mut out);
        }
    }
    Cow::Owned(out)
}

/// Columns that an escaped text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// True for a character that may be shown as it is, as far as it can be told without those
/// around it.
pub(super) fn prints(character: char) -> bool {
    !is_unsafe(character)
}

/// True for text that prints as it is, one column a byte.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_would_not_print() {
        let cases = [
            ("plain name", "plain name"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
            ("\u{7f}\u{80}\u{9b}m", "\\x7f\\x80\\x9bm"),
            ("a\u{202e}b\u{2069}", "a\\u202eb\\u2069"),
            (
                "\u{2028}\u{2029}\u{feff}\u{ad}",
                "\\u2028\\u2029\\ufeff\\xad",
            ),
            ("\u{200b}\u{200d}", "\\u200b\\u200d"),
            ("tag\u{e0041}", "tag\\U000e0041"),
            ("naïve 漢字 ok", "naïve 漢字 ok"),
            ("cafe\u{301}", "cafe\u{301}"),
            ("\u{301}e", "\\u0301e"),
        ];
        for (raw, shown) in cases {
            assert_eq!(escape(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        let zalgo = format!("e{}", "\u{301}".repeat(1000));
        let shown = escape_to(&zalgo, 20);
        assert_eq!(shown.matches('\u{301}').count(), MAX_MARKS);
        assert!(width(&shown) <= 20, "{shown}");
    }

    #[test]
    fn cuts_at_either_end() {
        let cases = [
            ("abcdef", 6, "abcdef", "abcdef"),
            ("abcdef", 4, "abc…", "…def"),
            ("abcdef", 1, "…", "…"),
            ("abcdef", 0, "", ""),
            ("漢字漢字", 5, "漢字…", "…漢字"),
            ("漢字漢字", 4, "漢…", "…字"),
            ("a\x1bbc", 4, "a…", "…bc"),
        ];
        for (raw, columns, end, start) in cases {
            assert_eq!(escape_to(raw, columns), end, "{raw:?} {columns}");
            assert_eq!(escape_tail(raw, columns), start, "{raw:?} {columns}");
        }
    }

    #[test]
    fn ten_megabytes_are_cut() {
        for unit in ["a", "\x1b", "漢", "\u{301}", "\u{e0041}"] {
            let huge = unit.repeat(10_000_000 / unit.len());
            for shown in [escape(&huge), escape_tail(&huge, 50)] {
                assert!(width(&shown) <= MAX_COLUMNS);
                assert!(shown.len() <= MAX_COLUMNS * 12);
            }
        }
    }

    proptest! {
        #[test]
        fn never_wider_and_never_a_control(text in any::<String>(), columns in 0_usize..40) {
            for shown in [escape_to(&text, columns), escape_tail(&text, columns)] {
                prop_assert!(width(&shown) <= columns);
                prop_assert!(shown.chars().all(prints));
                prop_assert_eq!(escape(&shown), shown.clone());
            }
        }
    }
}
