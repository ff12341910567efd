//! Places in code as a person reads them, within a given width.

use std::borrow::Cow;

use asyncspy_model::Location;
use asyncspy_model::text::ELLIPSIS;

use super::escape::{escape, escape_tail, escape_to, width};

/// Stands between the functions of a chain.
const CHAIN_SEPARATOR: &str = " > ";

/// `file:line`, the file shortened from the left to whole components where that is enough:
/// `…/app/db.py:42`. A line that is unknown is left out.
pub(super) fn place(location: &Location, columns: usize) -> String {
    let line = match location.line {
        0 => String::new(),
        line => format!(":{line}"),
    };
    let room = columns.saturating_sub(line.len());
    let file = shortened(&location.file, room);
    escape_to(&format!("{file}{line}"), columns).into_owned()
}

fn shortened(file: &str, columns: usize) -> Cow<'_, str> {
    let shown = escape_tail(file, columns);
    if !shown.starts_with(ELLIPSIS) || file.starts_with(ELLIPSIS) {
        return shown;
    }
    match shown.find('/') {
        Some(slash) if slash + 1 < shown.len() => {
            Cow::Owned(format!("{ELLIPSIS}{}", &shown[slash..]))
        }
        _ => shown,
    }
}

/// `function (file:line)`, the way py-spy writes a frame.
pub(super) fn frame(location: &Location, columns: usize) -> String {
    let most = columns
        .saturating_sub(MIN_PLACE + BRACKETS)
        .max(columns / 2);
    let function = escape_to(&location.function, most);
    let room = columns.saturating_sub(width(&function) + BRACKETS);
    let line = format!("{function} ({})", place(location, room));
    escape_to(&line, columns).into_owned()
}

/// Columns that the place of a frame gets at least: `…/handlers.py:1042` fits.
const MIN_PLACE: usize = 20;

/// Columns of the blank and the two brackets of a frame.
const BRACKETS: usize = 3;

/// The functions of a chain that is given innermost first, outermost first:
/// `main > fetch > Lock.acquire`. What does not fit is left out of the middle; before that, the
/// library's innermost functions go, because the wait names them already.
pub(super) fn chain(chain: &[Location], columns: usize) -> String {
    if let Some(text) = whole_chain(chain, columns) {
        return text;
    }
    let user = chain
        .iter()
        .position(|link| !link.is_library())
        .unwrap_or(0);
    let end = if user > 0 { ELIDED_END } else { "" };
    match with_both_ends(&chain[user..], columns.saturating_sub(width(end))) {
        Some(text) => format!("{text}{end}"),
        None => lone_link(&chain[user..], end, columns),
    }
}

const ELIDED_END: &str = " > …";

/// `main > … > fetch`, with as many of the innermost functions as fit.
fn with_both_ends(chain: &[Location], columns: usize) -> Option<String> {
    if let Some(text) = whole_chain(chain, columns) {
        return Some(text);
    }
    let mut text = format!("{}{ELIDED_END}", escape(&chain.last()?.function));
    let mut room = columns.checked_sub(width(&text))?;
    let mut tail = Vec::new();
    for location in &chain[..chain.len() - 1] {
        let link = format!("{CHAIN_SEPARATOR}{}", escape(&location.function));
        if width(&link) > room {
            break;
        }
        room -= width(&link);
        tail.push(link);
    }
    text.extend(tail.iter().rev().map(String::as_str));
    (!tail.is_empty()).then_some(text)
}

/// `… > fetch > …`, or as much of it as fits.
fn lone_link(chain: &[Location], end: &str, columns: usize) -> String {
    let Some(innermost) = chain.first() else {
        return String::new();
    };
    let function = escape(&innermost.function);
    let before = if chain.len() > 1 { "… > " } else { "" };
    [
        format!("{before}{function}{end}"),
        format!("{function}{end}"),
    ]
    .into_iter()
    .find(|text| width(text) <= columns)
    .unwrap_or_else(|| escape_to(&function, columns).into_owned())
}

fn whole_chain(chain: &[Location], columns: usize) -> Option<String> {
    let mut text = String::new();
    for location in chain.iter().rev() {
        if !text.is_empty() {
            text.push_str(CHAIN_SEPARATOR);
        }
        text.push_str(&escape(&location.function));
        if text.len() > columns && width(&text) > columns {
            return None;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, chain_of, waiting_in};
    use super::*;

    #[test]
    fn places_lose_whole_folders_first() {
        let location = at("fetch", "/srv/app/shop/db.py", 42);
        let cases = [
            (40, "/srv/app/shop/db.py:42"),
            (22, "/srv/app/shop/db.py:42"),
            (21, "…/app/shop/db.py:42"),
            (17, "…/shop/db.py:42"),
            (10, "…/db.py:42"),
            (9, "…db.py:42"),
            (8, "…b.py:42"),
            (3, ":42"),
            (0, ""),
        ];
        for (columns, text) in cases {
            assert_eq!(place(&location, columns), text, "{columns}");
        }
        assert_eq!(place(&at("f", "<string>", 0), 20), "<string>");
        assert_eq!(place(&at("f", "a\x1b[2J.py", 7), 20), "a\\x1b[2J.py:7");
    }

    #[test]
    fn frames_keep_function_and_line() {
        let location = at("Pool.acquire", "/srv/app/shop/db.py", 42);
        assert_eq!(
            frame(&location, 80),
            "Pool.acquire (/srv/app/shop/db.py:42)"
        );
        assert_eq!(frame(&location, 32), "Pool.acquire (…/shop/db.py:42)");
        assert!(width(&frame(&location, 12)) <= 12);
    }

    #[test]
    fn chains_lose_their_middle() {
        let links = chain_of(&["main", "handle", "fetch", "acquire"]);
        let cases = [
            (80, "main > handle > fetch > acquire"),
            (31, "main > handle > fetch > acquire"),
            (30, "main > … > fetch > acquire"),
            (20, "main > … > acquire"),
            (12, "… > acquire"),
            (8, "acquire"),
            (4, "acq…"),
        ];
        for (columns, text) in cases {
            assert_eq!(chain(&links, columns), text, "{columns}");
        }
        let waiting = waiting_in(
            &["main", "handle", "fetch"],
            ("Lock.acquire", "locks.py", 9),
        );
        let cases = [
            (36, "main > handle > fetch > Lock.acquire"),
            (30, "main > handle > fetch > …"),
            (24, "main > … > fetch > …"),
            (17, "… > fetch > …"),
            (10, "fetch > …"),
            (7, "fetch"),
        ];
        for (columns, text) in cases {
            assert_eq!(chain(&waiting, columns), text, "{columns}");
        }
        assert_eq!(chain(&[], 10), "");
        assert_eq!(chain(&chain_of(&["only_one"]), 5), "only…");
    }

    #[test]
    fn a_deep_chain_is_not_walked_whole() {
        let names = vec!["f"; 1_000_000];
        assert_eq!(chain(&chain_of(&names), 15), "f > … > f > f");
    }
}
