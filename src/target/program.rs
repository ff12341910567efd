//! Which program a process runs: `exec` keeps the pid and the start time, and replaces all else.

/// The program that a process runs now. Two values of one pid are equal as long as it has not
/// called `exec` in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramMark {
    /// `startcode` of `/proc/PID/stat`, field 26 (proc_pid_stat(5)).
    start_code: u64,
    /// `startstack`, field 28: the kernel chooses it at random at each `exec`.
    start_stack: u64,
}

impl ProgramMark {
    /// The mark in the contents of `/proc/PID/stat`; `None` when it is not there. The numbers of a
    /// process that this user may not read are always the same. A mark that is taken while `exec`
    /// is under way is equal to none before it or behind it.
    #[must_use]
    pub fn parse(stat: &[u8]) -> Option<Self> {
        // The name in parentheses may hold anything, closing parentheses too.
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        // The state, first behind the name, is field 3.
        let mut fields = rest.split_ascii_whitespace().skip(26 - 3);
        let start_code = fields.next()?.parse().ok()?;
        let start_stack = fields.nth(1)?.parse().ok()?;
        Some(Self {
            start_code,
            start_stack,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::proc_file;
    use crate::target::process::{Fate, ProcessFacts};
    use std::process::{Command, Stdio};

    #[test]
    fn fields_are_counted_behind_the_name() {
        let numbers: Vec<String> = (4..=40).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b) ) S {}\n", numbers.join(" "));
        let mark = ProgramMark::parse(stat.as_bytes()).unwrap();
        assert_eq!((mark.start_code, mark.start_stack), (26, 28));
        assert_eq!(ProgramMark::parse(b"7 (cut) S 4 5"), None);
        assert_eq!(ProgramMark::parse(b""), None);
    }

    #[test]
    fn exec_is_told_from_waiting_and_from_the_end() {
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read go; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // `spawn` returns in the midst of its own `exec`; what writes has gone through it.
        let mut ready = [0; 6];
        let mut output = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut output, &mut ready).unwrap();
        let facts = ProcessFacts::read(pid).unwrap();
        assert!(facts.program.is_some());
        assert_eq!(facts.fate(), Fate::Unchanged);
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
        let name = format!("/proc/{pid}/comm");
        while proc_file::read_text(&name).unwrap() != "cat\n" {
            std::thread::yield_now();
        }
        assert_eq!(facts.fate(), Fate::Replaced);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(facts.fate(), Fate::Ended);
    }
}
