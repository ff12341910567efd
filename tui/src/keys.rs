//! The one table of keys: it drives dispatch, the help view and the README's section.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::views::ViewKind;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
    Suspend,
    Redraw,
    View(ViewKind),
    NextView,
    PreviousView,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    Filter,
    Clear,
    /// Sort by this column, from 1.
    SortColumn(u8),
    SortNext,
    SortPrevious,
    Invert,
    Group,
    Freeze,
    Reset,
    Faster,
    Slower,
    Dump,
    Save,
    Plain,
}

/// The parts of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Views,
    Moving,
    Lists,
    Collecting,
    Program,
}

impl Group {
    /// In the order of the help.
    pub(crate) const ALL: [Self; 5] = [
        Self::Views,
        Self::Moving,
        Self::Lists,
        Self::Collecting,
        Self::Program,
    ];

    /// Heading of the part.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Views => "Views",
            Self::Moving => "Moving",
            Self::Lists => "Lists and flame graph",
            Self::Collecting => "Collecting and saving",
            Self::Program => "Program",
        }
    }
}

/// A key as it is pressed. Shift is part of the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Plain(KeyCode),
    Ctrl(char),
    /// Any of `1` to `9`.
    Digit,
}

impl Key {
    const fn char(character: char) -> Self {
        Self::Plain(KeyCode::Char(character))
    }

    /// True if the event is this key.
    fn is(self, event: KeyEvent) -> bool {
        let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        if event.modifiers.contains(KeyModifiers::ALT) {
            return false;
        }
        match self {
            Self::Plain(code) => !ctrl && event.code == code,
            Self::Ctrl(character) => ctrl && event.code == KeyCode::Char(character),
            Self::Digit => !ctrl && digit(event).is_some(),
        }
    }

    /// How it is written.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ctrl(character) => format!("Ctrl-{}", character.to_ascii_uppercase()),
            Self::Digit => "1 to 9".into(),
            Self::Plain(code) => match code {
                KeyCode::Char(' ') => "space".into(),
                KeyCode::Char(character) => character.to_string(),
                KeyCode::BackTab => "Shift-Tab".into(),
                KeyCode::PageUp => "PgUp".into(),
                KeyCode::PageDown => "PgDn".into(),
                other => other.to_string(),
            },
        }
    }
}

/// The digit from 1 to 9 that was pressed.
fn digit(event: KeyEvent) -> Option<u8> {
    let KeyCode::Char(character) = event.code else {
        return None;
    };
    character
        .to_digit(10)
        .and_then(|value| u8::try_from(value).ok())
        .filter(|value| *value > 0)
}

/// One line of the table.
pub(crate) struct Binding {
    /// Any of these keys.
    pub(crate) keys: &'static [Key],
    /// What it does; for [`Key::Digit`] the column is the digit.
    pub(crate) action: Action,
    /// Where the help lists it.
    pub(crate) group: Group,
    /// What the help says.
    pub(crate) help: &'static str,
}

const fn bind(group: Group, keys: &'static [Key], action: Action, help: &'static str) -> Binding {
    Binding {
        keys,
        action,
        group,
        help,
    }
}

const fn view(keys: &'static [Key], kind: ViewKind) -> Binding {
    bind(Group::Views, keys, Action::View(kind), kind.purpose())
}

const UP: Key = Key::Plain(KeyCode::Up);
const DOWN: Key = Key::Plain(KeyCode::Down);
const LEFT: Key = Key::Plain(KeyCode::Left);
const RIGHT: Key = Key::Plain(KeyCode::Right);
const PAGE_UP: Key = Key::Plain(KeyCode::PageUp);
const PAGE_DOWN: Key = Key::Plain(KeyCode::PageDown);
const HOME: Key = Key::Plain(KeyCode::Home);
const END: Key = Key::Plain(KeyCode::End);
const ENTER: Key = Key::Plain(KeyCode::Enter);
const ESC: Key = Key::Plain(KeyCode::Esc);
const BACKSPACE: Key = Key::Plain(KeyCode::Backspace);
const TAB: Key = Key::Plain(KeyCode::Tab);
const BACK_TAB: Key = Key::Plain(KeyCode::BackTab);

/// All keys, in the order of the help. A key stands in it once.
#[rustfmt::skip]
pub(crate) static TABLE: &[Binding] = &[
    view(&[Key::char('s')], ViewKind::Stalls),
    view(&[Key::char('o')], ViewKind::Hot),
    view(&[Key::char('t')], ViewKind::Tasks),
    view(&[Key::char('e')], ViewKind::Tree),
    view(&[Key::char('w')], ViewKind::Waits),
    view(&[Key::char('a')], ViewKind::Threads),
    view(&[Key::char('f'), Key::char('F')], ViewKind::Flame),
    view(&[Key::char('?'), Key::char('h')], ViewKind::Help),
    bind(Group::Views, &[TAB], Action::NextView, "next view"),
    bind(Group::Views, &[BACK_TAB], Action::PreviousView, "previous view"),

    bind(Group::Moving, &[UP, Key::char('k')], Action::Up, "up; in the flame graph to the caller"),
    bind(Group::Moving, &[DOWN, Key::char('j')], Action::Down, "down; in the flame graph to what it calls"),
    bind(Group::Moving, &[PAGE_UP, Key::Ctrl('b')], Action::PageUp, "a page up"),
    bind(Group::Moving, &[PAGE_DOWN, Key::Ctrl('f')], Action::PageDown, "a page down"),
    bind(Group::Moving, &[Key::char('g'), HOME], Action::First, "to the first"),
    bind(Group::Moving, &[Key::char('G'), END], Action::Last, "to the last"),
    bind(Group::Moving, &[ENTER], Action::Open, "open the whole story; in the flame graph zoom in"),
    bind(Group::Moving, &[ESC, BACKSPACE], Action::Back, "back; in the flame graph zoom out"),

    bind(Group::Lists, &[Key::char('/')], Action::Filter, "filter (search in the flame graph): Enter keeps it, Esc drops it; words must all match, !word must not"),
    bind(Group::Lists, &[Key::char('c')], Action::Clear, "clear filter and zoom"),
    bind(Group::Lists, &[Key::char('>'), RIGHT], Action::SortNext, "sort by the next column; in the flame graph to the right"),
    bind(Group::Lists, &[Key::char('<'), LEFT], Action::SortPrevious, "sort by the column before; in the flame graph to the left"),
    bind(Group::Lists, &[Key::Digit], Action::SortColumn(0), "sort by that column"),
    bind(Group::Lists, &[Key::char('i')], Action::Invert, "invert the order; turn the flame graph over"),
    bind(Group::Lists, &[Key::char('l')], Action::Group, "change the grouping: folded or each, line or function or task"),
    bind(Group::Lists, &[Key::char('y')], Action::Plain, "show the selected stack as plain text for copying"),

    bind(Group::Collecting, &[Key::char(' '), Key::char('p')], Action::Freeze, "freeze the display; collecting goes on"),
    bind(Group::Collecting, &[Key::char('r')], Action::Reset, "forget what was gathered"),
    bind(Group::Collecting, &[Key::char('d')], Action::Dump, "write a dump of this moment to a file"),
    bind(Group::Collecting, &[Key::char('S')], Action::Save, "save a flame graph or JSON of what was gathered"),
    bind(Group::Collecting, &[Key::char('+'), Key::char('=')], Action::Faster, "refresh more often"),
    bind(Group::Collecting, &[Key::char('-')], Action::Slower, "refresh less often"),

    bind(Group::Program, &[Key::Ctrl('l')], Action::Redraw, "draw everything anew"),
    bind(Group::Program, &[Key::Ctrl('z')], Action::Suspend, "suspend; fg comes back"),
    bind(Group::Program, &[Key::char('q'), Key::Ctrl('c')], Action::Quit, "quit"),
];

/// What the key does; `None` for a key without a meaning.
pub(crate) fn action(event: KeyEvent) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let binding = TABLE
        .iter()
        .find(|binding| binding.keys.iter().any(|key| key.is(event)))?;
    match (binding.action, digit(event)) {
        (Action::SortColumn(_), Some(column)) => Some(Action::SortColumn(column)),
        (action, _) => Some(action),
    }
}

impl Binding {
    /// Its keys, as they are written.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(|key| key.name()).collect();
        names.join("  ")
    }
}

/// The key table as a section of Markdown.
#[must_use]
pub fn key_table_markdown() -> String {
    let mut section = String::from("| Keys | What they do |\n|---|---|\n");
    for group in Group::ALL {
        section += &format!("| **{}** | |\n", group.title());
        for binding in TABLE.iter().filter(|binding| binding.group == group) {
            let keys: Vec<String> = binding
                .keys
                .iter()
                .map(|key| format!("`{}`", key.name()))
                .collect();
            section += &format!("| {} | {} |\n", keys.join(" "), binding.help);
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let keys: Vec<Key> = TABLE
            .iter()
            .flat_map(|binding| binding.keys.iter().copied())
            .collect();
        for (position, key) in keys.iter().enumerate() {
            assert!(
                !keys[..position].contains(key),
                "{} stands twice",
                key.name()
            );
        }
    }

    #[test]
    fn modifiers_are_told_apart() {
        let event = |character, modifiers| KeyEvent::new(KeyCode::Char(character), modifiers);
        assert_eq!(action(event('c', KeyModifiers::NONE)), Some(Action::Clear));
        assert_eq!(
            action(event('c', KeyModifiers::CONTROL)),
            Some(Action::Quit)
        );
        assert_eq!(action(event('c', KeyModifiers::ALT)), None);
        assert_eq!(action(event('G', KeyModifiers::SHIFT)), Some(Action::Last));
        assert_eq!(
            action(event('3', KeyModifiers::NONE)),
            Some(Action::SortColumn(3))
        );
        assert_eq!(action(event('0', KeyModifiers::NONE)), None);
    }

    #[test]
    fn every_view_can_be_reached() {
        for kind in ViewKind::ALL {
            let bound = TABLE
                .iter()
                .find(|binding| binding.action == Action::View(kind));
            let letter = bound.and_then(|binding| binding.keys.first());
            assert_eq!(letter, Some(&Key::char(kind.letter())));
        }
    }

    #[test]
    fn markdown_lists_every_binding() {
        let section = key_table_markdown();
        assert_eq!(section.lines().count(), 2 + Group::ALL.len() + TABLE.len());
        assert!(section.contains("| `space` `p` | freeze the display; collecting goes on |"));
    }
}
