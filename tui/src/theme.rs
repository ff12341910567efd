//! Colours and what they mean.
//!
//! The terminal's own foreground and background are kept, so that light and dark themes both
//! work; a colour only ever repeats what a word or a letter on the screen says.

use ratatui::style::{Color, Modifier, Style};

/// How many colours the terminal may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMode {
    /// As many as the environment promises: see [`ColorMode::resolve`].
    #[default]
    Auto,
    /// None: bold, underline and reverse only.
    None,
    /// The terminal's 16 named colours.
    Ansi16,
    /// The fixed palette of 256 colours.
    Ansi256,
}

impl ColorMode {
    /// Replaces `Auto` by what the environment promises: no colour for a non-empty `NO_COLOR` or
    /// a dumb terminal, 256 where `TERM` or `COLORTERM` says so, else 16. `variable` looks up an
    /// environment variable.
    #[must_use]
    pub fn resolve(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        if self != Self::Auto {
            return self;
        }
        let term = variable("TERM").unwrap_or_default();
        let rich = variable("COLORTERM").is_some_and(|value| !value.is_empty());
        if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || term == "dumb" {
            Self::None
        } else if rich || term.contains("256color") || term.contains("direct") {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }
}

/// What a piece of text means, and so how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// Of less interest: labels, library frames.
    Dim,
    /// Of more interest.
    Strong,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
    /// Bad and happening now: cannot be overlooked.
    Alarm,
    /// Headings.
    Heading,
    /// Found by the search.
    Found,
}

/// What a bar of the flame graph stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Material {
    /// A task or a loop.
    Group,
    /// The user's code.
    Own,
    /// Libraries and the loop's machinery.
    Library,
}

/// The styles of one terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    colors: ColorMode,
}

impl Theme {
    /// For a mode that is not `Auto`.
    pub(crate) const fn new(colors: ColorMode) -> Self {
        Self { colors }
    }

    /// The style of a tone.
    pub(crate) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        match tone {
            Tone::Plain => plain,
            Tone::Dim => self.dim(),
            Tone::Strong => bold,
            Tone::Good => self.color(plain, None, 28),
            Tone::Warn => self.color(bold, Some(Color::Magenta), 166),
            Tone::Bad => self.color(bold, Some(Color::Red), 160),
            Tone::Alarm => self.color(bold.add_modifier(Modifier::REVERSED), Some(Color::Red), 160),
            Tone::Heading => self.color(plain.add_modifier(Modifier::UNDERLINED), None, 31),
            Tone::Found => {
                let reversed = plain.add_modifier(Modifier::REVERSED);
                self.color(reversed, Some(Color::Magenta), 166)
            }
        }
    }

    /// The style of a bar and what fills it behind its label. Bars have a background only where
    /// it can be chosen together with the foreground; elsewhere a line fills them.
    pub(crate) fn bar(self, material: Material, variety: u64) -> (Style, char) {
        if self.colors == ColorMode::Ansi256 {
            let palette = match material {
                Material::Group => [252, 250, 252, 250],
                Material::Own => [215, 221, 209, 179],
                Material::Library => [152, 146, 151, 110],
            };
            let color = palette[usize::from(variety.to_le_bytes()[0]) % palette.len()];
            return (
                Style::new()
                    .fg(Color::Indexed(16))
                    .bg(Color::Indexed(color)),
                ' ',
            );
        }
        match material {
            Material::Group => (self.style(Tone::Strong), '─'),
            Material::Own => (self.style(Tone::Plain), '─'),
            Material::Library => (self.style(Tone::Dim), '─'),
        }
    }

    /// The style of the selected row: reverse works in every palette.
    pub(crate) const fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Less than plain. The named dark grey is invisible in some palettes, the attribute is not.
    fn dim(self) -> Style {
        match self.colors {
            ColorMode::None => Style::new(),
            ColorMode::Ansi256 => Style::new().fg(Color::Indexed(244)),
            ColorMode::Auto | ColorMode::Ansi16 => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// Adds a colour. Of the named ones only red and magenta can be read on black and on white
    /// in the usual palettes; of the 256 those were chosen whose contrast with each is about 4.
    fn color(self, style: Style, named: Option<Color>, indexed: u8) -> Style {
        match (self.colors, named) {
            (ColorMode::Ansi256, _) => style.fg(Color::Indexed(indexed)),
            (ColorMode::Auto | ColorMode::Ansi16, Some(color)) => style.fg(color),
            _ => style,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_chooses_the_palette() {
        let cases: [(&[(&str, &str)], ColorMode); 6] = [
            (&[("TERM", "xterm-256color")], ColorMode::Ansi256),
            (&[("TERM", "linux")], ColorMode::Ansi16),
            (
                &[("TERM", "xterm"), ("COLORTERM", "truecolor")],
                ColorMode::Ansi256,
            ),
            (
                &[("TERM", "xterm-256color"), ("NO_COLOR", "1")],
                ColorMode::None,
            ),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], ColorMode::Ansi16),
            (&[("TERM", "dumb")], ColorMode::None),
        ];
        for (environment, expected) in cases {
            let variable = |name: &str| {
                environment
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                ColorMode::Auto.resolve(variable),
                expected,
                "{environment:?}"
            );
            assert_eq!(ColorMode::Ansi16.resolve(variable), ColorMode::Ansi16);
        }
    }

    #[test]
    fn no_colour_means_none_at_all() {
        let theme = Theme::new(ColorMode::None);
        for tone in [
            Tone::Dim,
            Tone::Good,
            Tone::Warn,
            Tone::Bad,
            Tone::Alarm,
            Tone::Heading,
        ] {
            assert_eq!(theme.style(tone).fg, None);
        }
    }
}
