//! Text of a given width in terminal cells, and short forms of places in code.

use asyncspy_model::Location;
use asyncspy_model::text::{ELLIPSIS, escape_cut};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No text from the target is shown beyond this many characters, wherever it stands.
const MAX_CHARS: usize = 400;

/// Text from the target, made safe and bounded.
pub(crate) fn clean(text: &str) -> String {
    escape_cut(text, MAX_CHARS).into_owned()
}

/// How many terminal cells the text takes.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text cut to `columns` cells, with an ellipsis in place of its end if it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let cells = character.width().unwrap_or(0);
        if used + cells + 1 > columns {
            break;
        }
        used += cells;
        kept.push(character);
    }
    if columns > 0 {
        kept.push(ELLIPSIS);
    }
    kept
}

/// The text in exactly `columns` cells: cut or filled up with spaces, which stand before it if
/// `right`.
pub(crate) fn fit(text: &str, columns: usize, right: bool) -> String {
    let shown = cut(text, columns);
    let spaces = " ".repeat(columns.saturating_sub(width(&shown)));
    if right {
        spaces + &shown
    } else {
        shown + &spaces
    }
}

/// The text in lines of at most `columns` cells, broken between words where that is possible.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let wide = width(word);
        if used > 0 && used + 1 + wide <= columns {
            push_to_last(&mut lines, &format!(" {word}"));
            used += 1 + wide;
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        used = 0;
        for character in word.chars() {
            let cells = character.width().unwrap_or(0);
            if used > 0 && used + cells > columns {
                lines.push(String::new());
                used = 0;
            }
            push_to_last(&mut lines, character.encode_utf8(&mut [0; 4]));
            used += cells;
        }
    }
    lines
}

fn push_to_last(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

/// The last part of a path, or the whole of a name such as `<string>`.
pub(crate) fn base_name(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => name,
        _ => path,
    }
}

/// The command, without the folders of its first word, then of all words, where it is too long:
/// which script runs says more than where the interpreter lies.
pub(crate) fn shorten_command(command: &str, columns: usize) -> String {
    if width(command) <= columns {
        return command.to_owned();
    }
    let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
    let shorter = format!("{} {rest}", base_name(program));
    if width(shorter.trim_end()) <= columns {
        return shorter.trim_end().to_owned();
    }
    let words = command.split(' ').map(|word| match word.starts_with('/') {
        true => base_name(word),
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The last two parts of a path: enough to tell one `__init__.py` from another.
fn base_and_parent(path: &str) -> &str {
    let mut slashes = path.rmatch_indices('/').map(|(position, _)| position);
    match (slashes.next(), slashes.next()) {
        (Some(_), Some(second)) => &path[second + 1..],
        _ => path.trim_start_matches('/'),
    }
}

/// `app.py:42`.
pub(crate) fn place(location: &Location) -> String {
    with_line(base_name(&location.file), location.line)
}

/// `/srv/service/app.py:42`.
pub(crate) fn full_place(location: &Location) -> String {
    with_line(&location.file, location.line)
}

/// `app.py:42 handler`.
pub(crate) fn place_and_function(location: &Location) -> String {
    format!("{} {}", place(location), clean(&location.function))
}

/// `service/app.py:42 Server.handler`.
pub(crate) fn long_place_and_function(location: &Location) -> String {
    let file = with_line(base_and_parent(&location.file), location.line);
    format!("{file} {}", clean(&location.function))
}

fn with_line(file: &str, line: u32) -> String {
    let file = if file.is_empty() { "?" } else { file };
    if line == 0 {
        format!("{}:?", clean(file))
    } else {
        format!("{}:{line}", clean(file))
    }
}

/// The words of a filter. A row is kept if each word occurs in one of its texts, and no word
/// that was given with a `!` before it does. Case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needle {
    words: Vec<(bool, String)>,
}

impl Needle {
    /// Takes the filter apart.
    pub(crate) fn new(filter: &str) -> Self {
        let words = filter.split_whitespace().filter_map(|word| {
            let (wanted, word) = match word.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, word),
            };
            (!word.is_empty()).then(|| (wanted, word.to_lowercase()))
        });
        Self {
            words: words.collect(),
        }
    }

    /// True if every row matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// True if a row with these texts is kept. `visit` hands each of them to what it is given.
    pub(crate) fn matches(&self, visit: impl Fn(&mut dyn FnMut(&str))) -> bool {
        self.words.iter().all(|(wanted, word)| {
            let mut found = false;
            visit(&mut |text| found = found || contains_ignoring_case(text, word));
            found == *wanted
        })
    }
}

/// True if `text` contains `lower`, which is in lower case already.
fn contains_ignoring_case(text: &str, lower: &str) -> bool {
    if text.is_ascii() {
        let (text, lower) = (text.as_bytes(), lower.as_bytes());
        return text.len() >= lower.len()
            && text
                .windows(lower.len())
                .any(|part| part.eq_ignore_ascii_case(lower));
    }
    text.to_lowercase().contains(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_loses_its_folders_first() {
        let command = "/usr/bin/python3 /srv/shop/app.py --port 80";
        for (columns, expected) in [
            (43, command),
            (42, "python3 /srv/shop/app.py --port 80"),
            (33, "python3 app.py --port 80"),
        ] {
            assert_eq!(shorten_command(command, columns), expected);
        }
    }

    #[test]
    fn cuts_by_cells_not_by_characters() {
        let cases = [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ];
        for (text, columns, expected) in cases {
            assert_eq!(cut(text, columns), expected);
            assert!(width(&cut(text, columns)) <= columns);
        }
        assert_eq!(fit("日本語", 4, true), " 日…");
        assert_eq!(fit("ab", 4, false), "ab  ");
    }

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("un breakable", 5), ["un", "break", "able"]);
        assert_eq!(wrap("日本語", 5), ["日本", "語"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn paths_keep_their_end() {
        let location = |file: &str, line| Location {
            function: "f".into(),
            file: file.into(),
            line,
        };
        assert_eq!(
            place_and_function(&location("/srv/a/app.py", 42)),
            "app.py:42 f"
        );
        assert_eq!(
            long_place_and_function(&location("/srv/a/app.py", 42)),
            "a/app.py:42 f"
        );
        assert_eq!(
            long_place_and_function(&location("/app.py", 1)),
            "app.py:1 f"
        );
        assert_eq!(place(&location("<string>", 0)), "<string>:?");
        assert_eq!(place(&location("", 3)), "?:3");
        assert_eq!(place(&location("/", 3)), "/:3");
        assert_eq!(place(&location("a/x\x1b[2J.py", 3)), "x\\x1b[2J.py:3");
    }

    #[test]
    fn filters_by_all_words() {
        let matches = |filter: &str| {
            Needle::new(filter).matches(|visit| {
                visit("Blocker");
                visit("app.py");
            })
        };
        for (filter, expected) in [
            ("", true),
            ("block", true),
            ("BLOCK app", true),
            ("block nothing", false),
            ("!app", false),
            ("block !zzz", true),
            ("!", true),
        ] {
            assert_eq!(matches(filter), expected, "{filter:?}");
        }
        assert!(contains_ignoring_case("GRÖSSE", "ö"));
    }
}
