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

/// What several names have in common: `worker-*` for `worker-1`, `worker-2`; the name itself if
/// they are all the same; `*` if they have nothing in common.
pub(super) fn name_pattern<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut common = first;
    let mut all_equal = true;
    for name in names {
        all_equal &= name == first;
        common = common_prefix(common, name);
    }
    if all_equal {
        return first.to_owned();
    }
    let stem = common.trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{stem}*")
}

/// The beginning that both have; not more than can be shown.
fn common_prefix<'a>(left: &'a str, right: &str) -> &'a str {
    let shown = left.char_indices().nth(MAX_COLUMNS);
    let left = &left[..shown.map_or(left.len(), |(at, _)| at)];
    let end = left
        .char_indices()
        .zip(right.chars())
        .find(|((_, a), b)| a != b)
        .map_or(left.len().min(right.len()), |((at, _), _)| at);
    &left[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_what_is_common() {
        let cases: [(&[&str], &str); 7] = [
            (&["worker-1", "worker-2", "worker-30"], "worker-*"),
            (&["Task-10", "Task-11"], "Task-*"),
            (&["same", "same"], "same"),
            (&["alpha", "beta"], "*"),
            (&["abc", "ab"], "ab*"),
            (&["naïve", "naïf"], "naï*"),
            (&[], ""),
        ];
        for (names, pattern) in cases {
            assert_eq!(name_pattern(names.iter().copied()), pattern, "{names:?}");
        }
    }
}
