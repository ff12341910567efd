//! Files below `/proc`, which do not tell their size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What most of them fit, so that one read is enough.
const USUAL: usize = 4 << 10;

/// The contents of a file below `/proc`.
///
/// # Errors
/// When it cannot be opened or read; its process may have ended.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_open(&File::open(path)?)
}

/// The contents of such a file that is open already.
///
/// # Errors
/// When it cannot be read; its process may have ended.
pub fn read_open(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; USUAL];
    let mut len = 0;
    // Asking for its size and position first, as for other files, takes as long as reading it.
    loop {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if len == bytes.len() {
            bytes.resize(2 * len, 0);
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The same as text; what is no UTF-8 is replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number of `/proc/PID/status` by its key, which ends with a colon (proc_pid_status(5)).
#[must_use]
pub fn status_number(pid: i32, key: &str) -> Option<i32> {
    let status = read_text(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().parse().ok()
}

/// True if a process is in the same namespace of this kind as asyncspy (namespaces(7)); false also
/// when it may not be looked at.
#[must_use]
pub fn share_namespace(pid: i32, kind: &str) -> bool {
    let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}"));
    match (link(&pid.to_string()), link("self")) {
        (Ok(its), Ok(own)) => its == own,
        _ => false,
    }
}
