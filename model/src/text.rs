//! Making text from the target safe to show.
//!
//! Names, paths and command lines come from another process and may hold anything: escape
//! sequences that drive the terminal, characters that reorder or hide their neighbours, or a
//! megabyte of letters. Whatever is shown goes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Stands where text was cut.
pub const ELLIPSIS: char = '…';

/// The text with every character that could act on a terminal, reorder or hide text replaced by
/// a visible escape such as `\n`, `\x1b` or `\u{202e}`.
///
/// Borrowed when there is nothing to replace, which is the common case.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else {
        return Cow::Borrowed(text);
    };
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(&text[..first]);
    for character in text[first..].chars() {
        push_escaped(&mut safe, character);
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

/// Appends the character, escaped if it must be.
fn push_escaped(safe: &mut String, character: char) {
    match character {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        _ if !is_unsafe(character) => safe.push(character),
        _ => {
            let code = u32::from(character);
            // Writing to a String cannot fail.
            let _ = if code <= 0xff {
                write!(safe, "\\x{code:02x}")
            } else {
                write!(safe, "\\u{{{code:x}}}")
            };
        }
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
            ("user\u{202e}gpj.exe", "user\\u{202e}gpj.exe"),
            ("\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("\u{e0041}", "\\u{e0041}"),
            ("\u{2028}", "\\u{2028}"),
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
