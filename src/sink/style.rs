//! Whether to colour, and which few styles there are.
//!
//! The decision is made once, from facts that the caller looked up, and is passed as a [`Style`].
//! Colour never carries a meaning alone: whatever is red is also a word in capitals.

use std::io;

/// What the user asked for with `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Colour if the output is a terminal that wants it.
    #[default]
    Auto,
    /// Colour.
    Always,
    /// No colour.
    Never,
}

/// What is known of the place that the output goes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminalFacts<'a> {
    /// True if it is a terminal.
    pub is_terminal: bool,
    /// `NO_COLOR`; counts when it is set and not empty (<https://no-color.org>).
    pub no_color: Option<&'a str>,
    /// `CLICOLOR_FORCE`; counts when it is set, not empty and not `0`.
    pub clicolor_force: Option<&'a str>,
    /// `TERM`; `dumb` means no colour.
    pub term: Option<&'a str>,
}

impl ColorChoice {
    /// True if the output is to be coloured.
    #[must_use]
    pub fn decide(self, facts: &TerminalFacts<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => facts.want_color(),
        }
    }
}

impl TerminalFacts<'_> {
    fn want_color(&self) -> bool {
        let is_set = |value: Option<&str>| value.is_some_and(|text| !text.is_empty());
        if is_set(self.no_color) {
            return false;
        }
        if is_set(self.clicolor_force) && self.clicolor_force != Some("0") {
            return true;
        }
        self.is_terminal && self.term != Some("dumb")
    }
}

/// How text outputs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// True for ANSI colours.
    pub color: bool,
    /// True to draw lines, arrows and ellipses with ASCII alone. Text of the target stays as it
    /// is.
    pub ascii: bool,
}

/// What a piece of text is, as far as its look goes.
///
/// Only attributes and colours of the basic palette that stay legible on light and on dark:
/// no yellow, no blue, no white, no black.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Titles and column heads.
    Heading,
    /// A loop that is held, an error.
    Alert,
    /// Something to know: a warning, an incomplete result.
    Warning,
    /// What runs.
    Active,
    /// Secondary facts.
    Faint,
}

impl Role {
    const fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Alert => "1;31",
            Self::Warning => "35",
            Self::Active => "32",
            Self::Faint => "2",
        }
    }
}

impl Style {
    /// The text with the look of its role. The text must be escaped already.
    pub(super) fn paint(self, role: Role, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", role.code())
        } else {
            text.to_owned()
        }
    }
}

/// Writes lines in a style.
pub(super) struct LineWriter<'a> {
    out: &'a mut dyn io::Write,
    /// How they look.
    pub(super) style: Style,
    /// Columns that a line may take.
    pub(super) width: usize,
}

impl<'a> LineWriter<'a> {
    pub(super) fn new(out: &'a mut dyn io::Write, style: Style, width: usize) -> Self {
        Self { out, style, width }
    }

    /// Writes one line, whole, in a single write.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        let mut line = String::with_capacity(text.len() + 1);
        if self.style.ascii {
            line.extend(text.chars().map(to_ascii));
        } else {
            line.push_str(text);
        }
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }

    /// Writes a line of one role, cut to the width.
    pub(super) fn painted(&mut self, role: Role, text: &str) -> io::Result<()> {
        let shown = super::escape::escape_to(text, self.width);
        self.line(&self.style.paint(role, &shown))
    }

    /// Writes a line without a look of its own, cut to the width.
    pub(super) fn plain(&mut self, text: &str) -> io::Result<()> {
        self.line(&super::escape::escape_to(text, self.width))
    }
}

/// Stands in for the few signs of our own, one column each.
const fn to_ascii(sign: char) -> char {
    match sign {
        '…' => '~',
        '├' => '|',
        '└' => '`',
        '│' => '|',
        '─' => '-',
        '→' => '>',
        '×' => 'x',
        'µ' => 'u',
        '±' => '~',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(
        is_terminal: bool,
        no: &'a str,
        force: &'a str,
        term: &'a str,
    ) -> TerminalFacts<'a> {
        let some = |text: &'a str| (text != "-").then_some(text);
        TerminalFacts {
            is_terminal,
            no_color: some(no),
            clicolor_force: some(force),
            term: some(term),
        }
    }

    #[test]
    fn decides_by_flag_then_environment() {
        let cases = [
            (ColorChoice::Auto, facts(true, "-", "-", "xterm"), true),
            (ColorChoice::Auto, facts(true, "-", "-", "-"), true),
            (ColorChoice::Auto, facts(false, "-", "-", "xterm"), false),
            (ColorChoice::Auto, facts(true, "1", "-", "xterm"), false),
            (ColorChoice::Auto, facts(true, "", "-", "xterm"), true),
            (ColorChoice::Auto, facts(false, "-", "1", "xterm"), true),
            (ColorChoice::Auto, facts(false, "-", "0", "xterm"), false),
            (ColorChoice::Auto, facts(true, "1", "1", "xterm"), false),
            (ColorChoice::Auto, facts(true, "-", "-", "dumb"), false),
            (ColorChoice::Always, facts(false, "1", "-", "dumb"), true),
            (ColorChoice::Never, facts(true, "-", "1", "xterm"), false),
        ];
        for (choice, facts, expected) in cases {
            assert_eq!(choice.decide(&facts), expected, "{choice:?} {facts:?}");
        }
    }

    #[test]
    fn paints_only_when_asked() {
        let color = Style {
            color: true,
            ascii: false,
        };
        assert_eq!(color.paint(Role::Alert, "BUSY"), "\x1b[1;31mBUSY\x1b[0m");
        assert_eq!(color.paint(Role::Alert, ""), "");
        assert_eq!(Style::default().paint(Role::Alert, "BUSY"), "BUSY");
    }

    #[test]
    fn ascii_replaces_our_signs() {
        let mut out = Vec::new();
        let style = Style {
            color: false,
            ascii: true,
        };
        LineWriter::new(&mut out, style, 80)
            .line("├── a → b… 3 µs")
            .unwrap();
        assert_eq!(out, b"|-- a > b~ 3 us\n");
    }
}
