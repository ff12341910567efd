//! The target's threads as the kernel sees them.

use std::fs;

use rustc_hash::FxHashMap;

use super::proc_file;
use super::process::ProcessFacts;

/// Kernel thread ids of the target in asyncspy's own pid namespace.
#[derive(Clone, Debug, Default)]
pub struct ThreadIds {
    /// By the id that the thread sees itself, when the target lives in a pid namespace of its
    /// own; empty when both are the same.
    inner_to_outer: FxHashMap<i32, i32>,
    nested: bool,
}

impl ThreadIds {
    /// Reads the ids of all threads of a process (`NSpid` of `/proc/PID/task/TID/status`), where
    /// it sees others than asyncspy does.
    #[must_use]
    pub fn read(facts: &ProcessFacts) -> Self {
        if !facts.has_other_ids {
            return Self::default();
        }
        let pid = facts.pid;
        let mut inner_to_outer = FxHashMap::default();
        for tid in list_threads(pid) {
            let ids = namespace_ids(&format!("/proc/{pid}/task/{tid}/status"));
            if let Some(inner) = ids.last() {
                inner_to_outer.insert(*inner, tid);
            }
        }
        Self {
            inner_to_outer,
            nested: true,
        }
    }

    /// The id in asyncspy's namespace of the thread that calls itself `inner`; `None` if there
    /// is no such thread (any more), and for 0, which is none.
    #[must_use]
    pub fn outer(&self, inner: i32) -> Option<i32> {
        if inner == 0 {
            None
        } else if self.nested {
            self.inner_to_outer.get(&inner).copied()
        } else {
            Some(inner)
        }
    }
}

/// The id by which a process knows itself, and whether its threads have other ids for it than for
/// asyncspy, as those in a pid namespace of their own have.
#[must_use]
pub fn inner_id(pid: i32) -> (i32, bool) {
    if proc_file::share_namespace(pid, "pid") {
        return (pid, false);
    }
    let ids = namespace_ids(&format!("/proc/{pid}/status"));
    // As many as it is namespaces deep, counted from that of `/proc`.
    let own_depth = namespace_ids("/proc/self/status").len().max(1);
    (ids.last().copied().unwrap_or(pid), ids.len() > own_depth)
}

fn namespace_ids(status_path: &str) -> Vec<i32> {
    let Ok(text) = proc_file::read(status_path) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.map(|ids| {
        ids.split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect()
    })
    .unwrap_or_default()
}

/// Kernel ids of all threads of `pid`; empty when it has ended.
#[must_use]
pub fn list_threads(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Scheduling state letter of a thread and its kernel name (`/proc/PID/task/TID/stat`); `None`
/// when the thread has ended.
#[must_use]
pub fn state_and_name(pid: i32, tid: i32) -> Option<(char, String)> {
    let stat = proc_file::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    parse_stat(&stat)
}

/// Scheduling state letter and name out of the contents of a `stat` file. The name stands in
/// parentheses and may hold any byte, so the last `)` ends it.
#[must_use]
pub fn parse_stat(stat: &[u8]) -> Option<(char, String)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let state = *stat.get(close + 2)?;
    Some((char::from(state), name))
}

/// What system call a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemCall {
    /// None: it runs, or waits to run, in user space.
    None,
    /// This one.
    In {
        /// Number on x86-64.
        number: i64,
        /// First argument.
        first_argument: u64,
    },
    /// The kernel does not tell.
    Unknown,
}

/// Reads `/proc/PID/task/TID/syscall`, which needs the same rights as reading memory.
#[must_use]
pub fn system_call(pid: i32, tid: i32) -> SystemCall {
    match proc_file::read_text(format!("/proc/{pid}/task/{tid}/syscall")) {
        Ok(text) => parse_system_call(&text),
        Err(_) => SystemCall::Unknown,
    }
}

/// Understands the contents of `/proc/PID/task/TID/syscall`.
#[must_use]
pub fn parse_system_call(text: &str) -> SystemCall {
    let mut words = text.split_whitespace();
    let Some(first) = words.next() else {
        return SystemCall::Unknown;
    };
    if first == "running" {
        return SystemCall::None;
    }
    let (Ok(number), Some(argument)) = (first.parse(), words.next()) else {
        return SystemCall::Unknown;
    };
    // -1: blocked, but not in a system call (a page fault, say).
    if number < 0 {
        return SystemCall::None;
    }
    let argument = argument.trim_start_matches("0x");
    SystemCall::In {
        number,
        first_argument: u64::from_str_radix(argument, 16).unwrap_or(0),
    }
}

impl SystemCall {
    /// True for epoll_wait, epoll_pwait and epoll_pwait2 on this file descriptor
    /// (numbers: arch/x86/entry/syscalls/syscall_64.tbl).
    #[must_use]
    pub fn polls(self, epoll_fd: i32) -> bool {
        match self {
            Self::In {
                number: 232 | 281 | 441,
                first_argument,
            } => first_argument == u64::from(epoll_fd.cast_unsigned()),
            _ => false,
        }
    }

    /// True for any call that waits for file descriptors: poll, select, pselect6, ppoll and the
    /// epoll family.
    #[must_use]
    pub fn polls_anything(self) -> bool {
        matches!(
            self,
            Self::In {
                number: 7 | 23 | 232 | 270 | 271 | 281 | 441,
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_name_with_parentheses_does_not_hide_the_state() {
        let stat = b"12 (a) R (b) S 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', "a) R (b".to_owned())));
        assert_eq!(parse_stat(b"12 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn polling_another_descriptor_is_not_the_loop_idling() {
        let call = parse_system_call("232 0x5 0x7f 0x1 0x0 0x0 0x0 0x7ff 0x7f\n");
        assert!(call.polls(5));
        assert!(!call.polls(6));
        assert!(call.polls_anything());
        assert_eq!(parse_system_call("running\n"), SystemCall::None);
        assert_eq!(parse_system_call("-1 0x0 0x0\n"), SystemCall::None);
        assert_eq!(parse_system_call(""), SystemCall::Unknown);
    }
}
