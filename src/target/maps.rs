//! What is mapped where: `/proc/PID/maps`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use super::map_queries::query_mappings;
use super::proc_file;

/// One executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file of the first byte.
    pub file_offset: u64,
    /// Inode of the file, as the kernel gives it.
    pub inode: u64,
    /// The path as the kernel gives it, without the mark of a deleted file.
    pub path: PathBuf,
    /// True if the file was deleted or replaced since it was mapped.
    pub deleted: bool,
}

/// The executable file mappings of a process, in order of address.
///
/// # Errors
/// When `/proc/PID/maps` cannot be read.
pub fn read_mappings(pid: i32) -> io::Result<Vec<Mapping>> {
    let maps = File::open(format!("/proc/{pid}/maps"))?;
    if let Some(mappings) = query_mappings(&maps) {
        return Ok(mappings);
    }
    let text = proc_file::read_open(&maps)?;
    Ok(parse_mappings(&String::from_utf8_lossy(&text)))
}

/// The lowest mapping of each file, in order of address.
#[must_use]
pub fn first_of_each_file(mappings: &[Mapping]) -> Vec<&Mapping> {
    let mut seen = FxHashSet::default();
    let is_first = |mapping: &&Mapping| seen.insert(mapping.inode);
    mappings.iter().filter(is_first).collect()
}

fn parse_mappings(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_line).collect()
}

/// Format: `start-end perms offset dev inode   path` (proc_pid_maps(5)).
fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_start();
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        word
    };
    let (range, permissions, offset, _device, inode) =
        (field(), field(), field(), field(), field());
    let path = rest.trim_start();
    if !path.starts_with('/') || !permissions.contains('x') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (path, deleted) = split_deleted(OsStr::new(path));
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        file_offset: u64::from_str_radix(offset, 16).ok()?,
        inode: inode.parse().ok()?,
        path,
        deleted,
    })
}

/// A path as the kernel gives it without its mark of a deleted file, and whether it had that.
pub(super) fn split_deleted(path: &OsStr) -> (PathBuf, bool) {
    let bytes = path.as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(path) => (PathBuf::from(OsStr::from_bytes(path)), true),
        None => (PathBuf::from(path), false),
    }
}

/// Opens the very file that is mapped, also when it was deleted, lies in another mount namespace
/// or below another root: `/proc/PID/map_files` where the kernel permits it, else the path below
/// `/proc/PID/root`, else the path itself; the latter two only if the inode is the mapped one.
///
/// # Errors
/// The last attempt's error.
pub fn open_mapped(pid: i32, mapping: &Mapping) -> io::Result<File> {
    let (start, end) = (mapping.start, mapping.end);
    let exact = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
    if let Ok(file) = File::open(exact) {
        return Ok(file);
    }
    let below_root = || {
        let relative = mapping.path.strip_prefix("/").unwrap_or(&mapping.path);
        Path::new(&format!("/proc/{pid}/root")).join(relative)
    };
    open_same_inode(&below_root(), mapping.inode)
        .or_else(|_| open_same_inode(&mapping.path, mapping.inode))
}

fn open_same_inode(path: &Path, inode: u64) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.ino() == inode {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "another file lies at the path of the mapped one",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn however_the_kernel_is_asked_it_says_the_same() {
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read go"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let text = proc_file::read_text(format!("/proc/{pid}/maps")).unwrap();
        let mappings = read_mappings(pid).unwrap();
        assert!(mappings.len() > 2);
        assert_eq!(mappings, parse_mappings(&text));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(read_mappings(pid).is_err());
    }

    #[test]
    fn paths_with_spaces_and_deleted_files_are_understood() {
        let text = "\
55d0c0a00000-55d0c0a01000 r--p 00000000 fe:00 42                         /opt/my app/python3.8\n\
55d0c0a01000-55d0c0a02000 r-xp 00001000 fe:00 42                         /opt/my app/python3.8\n\
7f0000000000-7f0000001000 r-xp 00002000 fe:00 7                          /lib/libpython3.9.so.1.0 (deleted)\n\
7f0000001000-7f0000002000 r-xp 00006000 fe:00 7                          /lib/libpython3.9.so.1.0 (deleted)\n\
7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n\
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n";
        let mappings = parse_mappings(text);
        assert_eq!(mappings.len(), 3);
        assert_eq!(mappings[0].start, 0x55d0_c0a0_1000);
        assert_eq!(mappings[0].path, Path::new("/opt/my app/python3.8"));
        assert!(!mappings[0].deleted);
        assert_eq!(mappings[1].file_offset, 0x2000);
        assert!(mappings[1].deleted);
        assert_eq!(mappings[1].path, Path::new("/lib/libpython3.9.so.1.0"));
        let files = first_of_each_file(&mappings);
        assert_eq!(files, [&mappings[0], &mappings[1]]);
    }
}
