//! Why the kernel forbids to read a process (ptrace(2), "Ptrace access mode checking").

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::geteuid;

use super::invocation;

/// Bit of `CapEff` (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;

/// Why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Why.
    pub why: String,
    /// What to do.
    pub advice: String,
}

/// What decides whether a process may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    pid: i32,
    /// Effective user of this process.
    us: u32,
    /// True if this process has CAP_SYS_PTRACE.
    capable: bool,
    /// Real, effective, saved and file-system user of the target; empty when unknown.
    them: Vec<u32>,
    /// Owner of `/proc/PID`: root for a process that is not dumpable.
    owner: Option<u32>,
    /// `kernel.yama.ptrace_scope`; `None` on a kernel without Yama.
    scope: Option<u8>,
}

/// The likeliest reason why this process may not be read.
#[must_use]
pub fn reason(pid: i32) -> Reason {
    let own = numbers("/proc/self/status", "CapEff:", 16);
    let capable = own.is_some_and(|caps| caps.iter().any(|cap| cap >> CAP_SYS_PTRACE & 1 == 1));
    let them = numbers(&format!("/proc/{pid}/status"), "Uid:", 10).unwrap_or_default();
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let facts = Facts {
        pid,
        us: geteuid().as_raw(),
        capable,
        them: them
            .into_iter()
            .filter_map(|uid| uid.try_into().ok())
            .collect(),
        owner: fs::metadata(format!("/proc/{pid}"))
            .ok()
            .map(|data| data.uid()),
        scope: scope.ok().and_then(|text| text.trim().parse().ok()),
    };
    facts.reason(&user_name)
}

/// The numbers behind a key of a status file.
fn numbers(path: &str, key: &str, radix: u32) -> Option<Vec<u64>> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let words = line.split_whitespace();
    words
        .map(|word| u64::from_str_radix(word, radix).ok())
        .collect()
}

/// Not through the C library: linked statically it would load the name services of the system,
/// which may have been built for another version of it.
fn user_name(uid: u32) -> String {
    let users = fs::read("/etc/passwd").unwrap_or_default();
    match find_user(&String::from_utf8_lossy(&users), uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The name of a user in the text of `/etc/passwd`: `name:password:uid:…`.
fn find_user(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    })
}

impl Facts {
    fn reason(&self, user_name: &dyn Fn(u32) -> String) -> Reason {
        let sudo = || invocation::with_sudo(self.pid);
        let scope = self.scope.unwrap_or(0);
        let (why, advice) = if scope >= 3 {
            (
                "kernel.yama.ptrace_scope is 3: nobody may read another process, root included"
                    .to_owned(),
                "set kernel.yama.ptrace_scope = 1 in /etc/sysctl.d and boot anew".to_owned(),
            )
        } else if self.capable {
            (
                "CAP_SYS_PTRACE is there, but a seccomp filter, a security module or another user \
                 namespace forbids it"
                    .to_owned(),
                format!("outside of the container, on the host: {}", sudo()),
            )
        } else if self.us == 0 {
            (
                "this root lacks CAP_SYS_PTRACE, as in a container".to_owned(),
                "docker run --cap-add SYS_PTRACE …, kubectl debug --profile=sysadmin …, or asyncspy \
                 on the host"
                    .to_owned(),
            )
        } else if let Some(other) = self.them.iter().find(|uid| **uid != self.us) {
            let (them, us) = (user_name(*other), user_name(self.us));
            (format!("it belongs to {them}, and you are {us}"), sudo())
        } else if self.owner.is_some_and(|owner| owner != self.us) {
            (
                "it has forbidden it (prctl PR_SET_DUMPABLE), or runs a program with more rights"
                    .to_owned(),
                sudo(),
            )
        } else if scope > 0 {
            let who = if scope == 1 {
                "only its own parent"
            } else {
                "only root"
            };
            (
                format!("kernel.yama.ptrace_scope is {scope}: {who} may read a process"),
                format!("{}, or: sudo sysctl kernel.yama.ptrace_scope=0", sudo()),
            )
        } else {
            (
                "it has more capabilities than you, or lives in another user namespace".to_owned(),
                sudo(),
            )
        };
        Reason { why, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nshort:x\nann:x:1000:1000::/:/bin/sh\n";
        for (uid, name) in [(0, Some("root")), (1000, Some("ann")), (7, None)] {
            assert_eq!(find_user(users, uid), name, "{uid}");
        }
    }

    fn why(change: impl FnOnce(&mut Facts)) -> String {
        let mut facts = Facts {
            pid: 7,
            us: 1000,
            capable: false,
            them: vec![1000; 4],
            owner: Some(1000),
            scope: None,
        };
        change(&mut facts);
        let reason = facts.reason(&|uid| format!("user{uid}"));
        format!("{} | {}", reason.why, reason.advice)
    }

    #[test]
    fn each_cause_is_named_with_its_remedy() {
        let ptrace_scope = |scope| why(|facts| facts.scope = Some(scope));
        let other = why(|facts| facts.them = vec![1001; 4]);
        assert!(other.starts_with("it belongs to user1001, and you are user1000 | sudo "));
        assert!(ptrace_scope(1).starts_with("kernel.yama.ptrace_scope is 1: only its own parent"));
        assert!(ptrace_scope(1).contains("| sudo "));
        assert!(ptrace_scope(2).starts_with("kernel.yama.ptrace_scope is 2: only root"));
        assert!(ptrace_scope(3).contains("boot anew"));
        assert!(why(|facts| facts.us = 0).contains("--cap-add SYS_PTRACE"));
        assert!(why(|facts| facts.capable = true).contains("seccomp"));
        assert!(why(|facts| facts.owner = Some(0)).contains("PR_SET_DUMPABLE"));
        assert!(why(|_| {}).contains("user namespace"));
    }
}
