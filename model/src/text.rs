//! Making text from the target safe to show.
//!
//! Names, paths and command lines come from another process and may hold anything: escape
//! sequences that drive the terminal, characters that reorder or hide their neighbours, or a
//! megabyte of letters. Whatever is shown goes through here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

/// Stands where text was cut.
pub const ELLIPSIS: char = '…';

/// Combining marks that may follow one character. Vietnamese and Thai need two; a hundred of
/// them paint over the lines above.
pub const MAX_MARKS: usize = 4;

/// The text with every character that could act on a terminal, reorder, hide or paint over text
/// replaced by a visible escape.
///
/// Python's notation is used: `\n`, `\x1b`, `\u202e`, `\U000e0001`. A backslash stays as it is.
/// Borrowed when there is nothing to replace, which is the common case.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if is_plain || Pieces::new(text).all(|piece| !piece.escaped) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for piece in Pieces::new(text) {
        piece.push_to(&mut safe);
    }
    Cow::Owned(safe)
}

/// Like [`escape`], but of at most the first `max_chars` characters of the text; a cut one ends
/// in [`ELLIPSIS`], which counts as one of them.
#[must_use]
pub fn escape_cut(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.len() <= max_chars || text.chars().nth(max_chars).is_none() {
        return escape(text);
    }
    let kept = max_chars.saturating_sub(1);
    let end = text
        .char_indices()
        .nth(kept)
        .map_or(text.len(), |(position, _)| position);
    let mut safe = escape(&text[..end]).into_owned();
    if max_chars > 0 {
        safe.push(ELLIPSIS);
    }
    Cow::Owned(safe)
}

/// True for a character that must not reach a terminal as it is: C0 and C1 controls, and
/// characters that are invisible or change the order or shape of others (Unicode's format
/// characters, line and paragraph separators, variation selectors, fillers, tags).
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1345f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// One character as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The character of the original.
    pub character: char,
    /// True if its escape is shown instead.
    pub escaped: bool,
    /// Columns of what is shown.
    pub width: usize,
}

impl Piece {
    /// Appends what is shown.
    pub fn push_to(self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match (self.escaped, self.character) {
            (false, character) => out.write_char(character),
            (true, '\n') => out.write_str("\\n"),
            (true, '\r') => out.write_str("\\r"),
            (true, '\t') => out.write_str("\\t"),
            (true, character) => match u32::from(character) {
                code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                code @ 0x100..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            },
        };
    }
}

/// The characters of a text as they are shown.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    chars: Chars<'a>,
    /// Marks since the last character that has a width; at the beginning there is none to carry
    /// them.
    marks: usize,
}

impl<'a> Pieces<'a> {
    /// From the first character on.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            chars: text.chars(),
            marks: MAX_MARKS,
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let character = self.chars.next()?;
        let width = character.width().filter(|_| !is_unsafe(character));
        let escaped = match width {
            None => true,
            Some(0) => self.marks >= MAX_MARKS,
            Some(_) => false,
        };
        let width = match (escaped, width) {
            (false, Some(width)) => width,
            _ => escape_width(character),
        };
        self.marks = match (escaped, width) {
            (false, 0) => self.marks + 1,
            (true, _) => MAX_MARKS,
            (false, _) => 0,
        };
        Some(Piece {
            character,
            escaped,
            width,
        })
    }
}

fn escape_width(character: char) -> usize {
    match u32::from(character) {
        0x09 | 0x0a | 0x0d => 2,
        0..=0xff => 4,
        0x100..=0xffff => 6,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_text_is_borrowed() {
        for text in ["", "worker-1", "größe", "日本語", "a\\b", "🐍"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn hostile_text_is_made_visible() {
        let cases = [
            ("a\nb\rc\td", "a\\nb\\rc\\td"),
            ("\x1b[2Jx", "\\x1b[2Jx"),
            ("\0\x7f", "\\x00\\x7f"),
            ("\u{9b}31m", "\\x9b31m"),
            ("user\u{202e}gpj.exe", "user\\u202egpj.exe"),
            ("\u{2066}a\u{2069}", "\\u2066a\\u2069"),
            ("zero\u{200b}width", "zero\\u200bwidth"),
            ("\u{e0041}", "\\U000e0041"),
            ("\u{2028}", "\\u2028"),
            ("\u{301}e", "\\u0301e"),
            (
                "e\u{301}\u{301}\u{301}\u{301}\u{301}",
                "e\u{301}\u{301}\u{301}\u{301}\\u0301",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn cut_counts_characters_of_the_original() {
        let cases = [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("äöüäöü", 3, "äö…"),
            ("ab\x1b\x1bcd", 4, "ab\\x1b…"),
            ("abc", 0, ""),
            ("", 0, ""),
            ("abc", 1, "…"),
        ];
        for (text, max_chars, expected) in cases {
            assert_eq!(escape_cut(text, max_chars), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_unsafe_is_left() {
        let all: String = ('\0'..=char::MAX).collect();
        assert!(!escape(&all).chars().any(is_unsafe));
    }
}
