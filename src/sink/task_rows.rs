//! The rows of the task table: filtered, folded and sorted.

use std::borrow::Cow;
use std::cmp::Ordering;

use asyncspy_model::{Location, TaskInfo, TaskState, WaitsOn};
use regex::Regex;
use rustc_hash::FxHashMap;

use super::escape::{MAX_COLUMNS, escape};
use super::likeness::{FOLD_FROM, Likeness, name_pattern};
use super::place::{chain, place};
use super::process_text::TasksById;

/// What the rows of a loop are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Name, numbers in it by their value.
    Name,
    /// State: running, runnable, waiting, done.
    State,
    /// What it waits for.
    Waiting,
    /// File and line.
    Where,
    /// Address of the Task object.
    Id,
    /// Functions of its coroutines, outermost first.
    Chain,
}

/// One row: a task, or several that look the same.
pub(super) struct Row<'a> {
    /// The task, or the first of several.
    pub(super) task: &'a TaskInfo,
    /// How many.
    pub(super) count: usize,
    /// Its name or what their names have in common; unescaped.
    pub(super) name: Cow<'a, str>,
    /// What it waits for; unescaped, empty when it does not wait.
    pub(super) wait: String,
}

impl<'a> Row<'a> {
    fn new(members: &[&'a TaskInfo], tasks: &TasksById<'_>) -> Option<Self> {
        let task = *members.first()?;
        let (name, wait) = match members {
            [_] => (Cow::Borrowed(&*task.name), wait_text(task, tasks)),
            _ => (
                Cow::Owned(name_pattern(members.iter().map(|member| &*member.name))),
                common_wait(members, tasks),
            ),
        };
        Some(Self {
            task,
            count: members.len(),
            name,
            wait,
        })
    }

    fn location(&self) -> Option<&'a Location> {
        self.task.user_location()
    }
}

/// The word for a task's state; `?` stands behind one that is not proven.
pub(super) fn state_text(task: &TaskInfo) -> String {
    let word = match task.state {
        TaskState::Waiting | TaskState::Runnable if task.cancelling => "cancelling",
        state => state.word(),
    };
    let mark = if task.torn { "?" } else { "" };
    format!("{word}{mark}")
}

/// What a task waits for: `sleep 5`, `gather (3 tasks)`, `task fetch-1`.
pub(super) fn wait_text(task: &TaskInfo, tasks: &TasksById<'_>) -> String {
    let Some(wait) = &task.waits_on else {
        return String::new();
    };
    let detail = match &wait.detail {
        Some(detail) => format!(" {}", escape(detail)),
        None => String::new(),
    };
    let awaited = match &*wait.tasks {
        [] => String::new(),
        [only] => format!(" {}", tasks.name(*only)),
        several => format!(" ({} tasks)", several.len()),
    };
    format!("{}{detail}{awaited}", wait_kind(wait))
}

fn wait_kind(wait: &WaitsOn) -> String {
    match (&*wait.kind, &*wait.leaf) {
        ("future", leaf) if !leaf.is_empty() && leaf != "Future" => {
            format!("future ({})", escape(leaf))
        }
        (kind, _) => escape(kind).into_owned(),
    }
}

/// What folded tasks wait for: the text of one if it is that of all, else only the kind.
fn common_wait(members: &[&TaskInfo], tasks: &TasksById<'_>) -> String {
    let mut texts = members.iter().map(|member| wait_text(member, tasks));
    let first = texts.next().unwrap_or_default();
    if texts.all(|text| text == first) {
        return first;
    }
    let wait = members.first().and_then(|member| member.waits_on.as_ref());
    wait.map(wait_kind).unwrap_or_default()
}

/// True if the filter finds something in what the table shows of the task.
pub(super) fn matches(filter: &Regex, task: &TaskInfo, tasks: &TasksById<'_>) -> bool {
    let found = |text: &str| filter.is_match(text);
    found(&task.name)
        || found(&state_text(task))
        || found(&wait_text(task, tasks))
        || task
            .user_location()
            .is_some_and(|location| found(&place(location, MAX_COLUMNS)))
        || found(&chain(&task.coroutine_stack, usize::MAX))
}

/// Makes rows of tasks; equal ones become one row unless `all`.
pub(super) fn fold<'a>(members: &[&'a TaskInfo], tasks: &TasksById<'_>, all: bool) -> Vec<Row<'a>> {
    let mut groups: Vec<Vec<&'a TaskInfo>> = Vec::new();
    let mut group_of: FxHashMap<Likeness<'a>, usize> = FxHashMap::default();
    for task in members {
        let group = *group_of.entry(Likeness::of(task)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(task),
            None => groups.push(vec![task]),
        }
    }
    if all || groups.iter().all(|group| group.len() < FOLD_FROM) {
        return members
            .iter()
            .filter_map(|task| Row::new(&[*task], tasks))
            .collect();
    }
    let mut rows = Vec::new();
    for group in &groups {
        if group.len() >= FOLD_FROM {
            rows.extend(Row::new(group, tasks));
        } else {
            rows.extend(group.iter().filter_map(|task| Row::new(&[*task], tasks)));
        }
    }
    rows
}

/// Sorts rows; without a key what runs comes first and the rest stays in the target's order.
pub(super) fn sort(rows: &mut [Row<'_>], key: Option<SortKey>) {
    match key {
        None => rows.sort_by_key(|row| row.task.state != TaskState::Running),
        Some(key) => rows.sort_by(|left, right| {
            compare(left, right, key).then_with(|| natural_order(&left.name, &right.name))
        }),
    }
}

fn compare(left: &Row<'_>, right: &Row<'_>, key: SortKey) -> Ordering {
    let functions = |row: &Row<'_>| {
        let links = row.task.coroutine_stack.iter().rev();
        links.map(|link| link.function.clone()).collect::<Vec<_>>()
    };
    match key {
        SortKey::Name => Ordering::Equal,
        SortKey::State => left.task.state.cmp(&right.task.state),
        SortKey::Waiting => left.wait.cmp(&right.wait),
        SortKey::Where => {
            let file_and_line = |row: &Row<'_>| row.location().map(|at| (at.file.clone(), at.line));
            file_and_line(left).cmp(&file_and_line(right))
        }
        SortKey::Id => left.task.id.cmp(&right.task.id),
        SortKey::Chain => functions(left).cmp(&functions(right)),
    }
}

/// Compares texts with the numbers in them by value: `Task-9` comes before `Task-10`.
fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        match (left.first(), right.first()) {
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (left_digits, left_rest) = split_number(left);
                let (right_digits, right_rest) = split_number(right);
                let by_value =
                    (left_digits.len(), left_digits).cmp(&(right_digits.len(), right_digits));
                if by_value != Ordering::Equal {
                    return by_value;
                }
                (left, right) = (left_rest, right_rest);
            }
            (Some(a), Some(b)) if a == b => (left, right) = (&left[1..], &right[1..]),
            (a, b) => return a.cmp(&b),
        }
    }
}

/// The digits at the beginning without leading zeros, and what follows them.
fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let start = digits.iter().position(|byte| *byte != b'0').unwrap_or(end);
    (&digits[start..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut names = vec!["Task-10", "Task-9", "a", "Task-09b", "Task-", "Task-1x", ""];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["", "Task-", "Task-1x", "Task-9", "Task-09b", "Task-10", "a"]
        );
    }
}
