//! Which tasks look the same, so that a thousand of them take one line.

use asyncspy_model::{Location, TaskInfo, TaskState};

use super::escape::MAX_COLUMNS;

/// From so many equal tasks on they are folded into one line.
pub(super) const FOLD_FROM: usize = 20;

/// What two tasks must have in common to be folded: place, state and wait, not their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Likeness<'a> {
    chain: &'a [Location],
    sync_stack: &'a [Location],
    state: TaskState,
    cancelling: bool,
    torn: bool,
    wait: Option<(&'a str, &'a str)>,
}

impl<'a> Likeness<'a> {
    pub(super) fn of(task: &'a TaskInfo) -> Self {
        Self {
            chain: &task.coroutine_stack,
            sync_stack: &task.sync_stack,
            state: task.state,
            cancelling: task.cancelling,
            torn: task.torn,
            wait: task
                .waits_on
                .as_ref()
                .map(|wait| (&*wait.kind, &*wait.leaf)),
        }
    }
}

/// Kinds of names that are listed side by side; of more only the common beginning is given.
const MAX_STEMS: usize = 3;

/// What several names have in common: `worker-*` for `worker-1` and `worker-2`, also
/// `Task-*, worker-*` for names of two kinds; the name itself if there is only one.
pub(super) fn name_pattern<'a>(names: impl Iterator<Item = &'a str>) -> String {
    // Of a name of megabytes the beginning is all that can be shown.
    let mut names = names.map(|name| beginning(name, MAX_COLUMNS));
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut common = first;
    let mut kinds = vec![Kind::new(first)];
    for name in names {
        common = common_prefix(common, name);
        match kinds.iter().position(|kind| kind.stem == stem(name)) {
            Some(at) => kinds[at].is_one_name &= kinds[at].first == name,
            None if kinds.len() <= MAX_STEMS => kinds.push(Kind::new(name)),
            None => {}
        }
    }
    if kinds.len() > MAX_STEMS {
        return format!("{}*", stem(common));
    }
    let texts: Vec<String> = kinds.iter().map(Kind::text).collect();
    texts.join(", ")
}

/// Names that differ only in the number at their end.
struct Kind<'a> {
    stem: &'a str,
    first: &'a str,
    is_one_name: bool,
}

impl<'a> Kind<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            stem: stem(name),
            first: name,
            is_one_name: true,
        }
    }

    fn text(&self) -> String {
        match self.is_one_name {
            true => self.first.to_owned(),
            false => format!("{}*", self.stem),
        }
    }
}

/// The name without the number at its end.
fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn beginning(text: &str, chars: usize) -> &str {
    let end = text.char_indices().nth(chars);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

fn common_prefix<'a>(left: &'a str, right: &str) -> &'a str {
    let equal = left.chars().zip(right.chars()).take_while(|(a, b)| a == b);
    beginning(left, equal.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_what_is_common() {
        let cases: [(&[&str], &str); 8] = [
            (&["worker-1", "worker-2", "worker-30"], "worker-*"),
            (
                &["Task-10", "sync-1", "Task-11", "main"],
                "Task-*, sync-1, main",
            ),
            (&["same", "same"], "same"),
            (&["alpha", "beta"], "alpha, beta"),
            (&["GET /a", "GET /b", "GET /c", "GET /d"], "GET /*"),
            (&["naïve", "naïf", "naïver", "naïg"], "naï*"),
            (&["a", "b", "c", "d"], "*"),
            (&[], ""),
        ];
        for (names, pattern) in cases {
            assert_eq!(name_pattern(names.iter().copied()), pattern, "{names:?}");
        }
    }
}
