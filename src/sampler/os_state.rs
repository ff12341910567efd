//! What the kernel says of one thread, through files that are kept open.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::target::threads::{SystemCall, parse_stat, parse_system_call};

/// Files of one thread below `/proc`.
#[derive(Debug)]
pub struct OsThread {
    stat: Option<File>,
    system_call: Option<File>,
}

impl OsThread {
    /// Opens the files of a thread.
    #[must_use]
    pub fn open(pid: i32, tid: i32) -> Self {
        let open = |name: &str| File::open(format!("/proc/{pid}/task/{tid}/{name}")).ok();
        Self {
            stat: open("stat"),
            system_call: open("syscall"),
        }
    }

    /// Scheduling state letter; `?` when it cannot be read.
    #[must_use]
    pub fn state(&self) -> char {
        let mut bytes = [0; 512];
        let read = self.stat.as_ref().map(|file| file.read_at(&mut bytes, 0));
        match read {
            Some(Ok(count)) => parse_stat(&bytes[..count]).map_or('?', |(state, _)| state),
            _ => '?',
        }
    }

    /// The system call that the thread is in.
    #[must_use]
    pub fn system_call(&self) -> SystemCall {
        let mut bytes = [0; 256];
        let read = self
            .system_call
            .as_ref()
            .map(|file| file.read_at(&mut bytes, 0));
        match read {
            Some(Ok(count)) => parse_system_call(&String::from_utf8_lossy(&bytes[..count])),
            _ => SystemCall::Unknown,
        }
    }
}
