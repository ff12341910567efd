//! JSON on one line, safe to be shown on a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::escape::prints;

/// Writes one object and a line end, and flushes, so that a reader sees it at once.
pub(super) fn write_line(out: &mut dyn io::Write, value: &impl Serialize) -> io::Result<()> {
    // serde_json writes in pieces of a few bytes.
    let mut out = io::BufWriter::new(out);
    value.serialize(&mut Serializer::with_formatter(&mut out, Printable))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Compact JSON in which every character that does not print is an escape. JSON itself asks for
/// that below U+0020 only; a terminal obeys U+009B, too, and bidi overrides mislead the reader.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character| !prints(character)) {
            let (printable, tail) = rest.split_at(at);
            out.write_all(printable.as_bytes())?;
            let mut chars = tail.chars();
            for unit in chars.next().into_iter().flat_map(utf16) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// The one or two UTF-16 units of a character, which is how JSON escapes it.
fn utf16(character: char) -> impl Iterator<Item = u16> {
    let mut units = [0; 2];
    let count = character.encode_utf16(&mut units).len();
    units.into_iter().take(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::text;
    use super::*;

    #[test]
    fn what_does_not_print_is_an_escape() {
        let value = ["a\u{9b}m\u{202e}\u{e0041}\n\u{7f}é漢\"\\"];
        let shown = text(|out| write_line(out, &value));
        let expected = r#"["a\u009bm\u202e\udb40\udc41\n\u007fé漢\"\\"]"#;
        assert_eq!(shown.trim_end(), expected);
    }

    proptest! {
        #[test]
        fn any_text_survives(original in any::<String>()) {
            let shown = text(|out| write_line(out, &original));
            prop_assert!(shown.trim_end_matches('\n').chars().all(prints));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), original);
        }
    }
}
