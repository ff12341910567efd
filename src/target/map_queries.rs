//! What is mapped where, asked of the kernel mapping by mapping: from Linux 6.11 on.
//!
//! The text of `/proc/PID/maps` names the file of each mapping, which takes the kernel most of the
//! time that it needs for the text. Here it names those that are executable: one a file as a rule.
#![expect(unsafe_code, reason = "no crate offers this ioctl(2)")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::maps::{Mapping, split_deleted};

/// `struct procmap_query` (include/uapi/linux/fs.h).
#[repr(C)]
#[derive(Debug, Default)]
pub struct MapQuery {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

/// The mapping that covers the address, or else the next one.
const COVERING_OR_NEXT: u64 = 0x10;

/// Of files alone.
const FILE_BACKED: u64 = 0x20;

/// Of those whose bytes may be executed.
const EXECUTABLE: u64 = 0x04;

/// `PATH_MAX` (include/uapi/linux/limits.h).
const MAX_PATH: usize = 4096;

nix::ioctl_readwrite!(
    /// `PROCMAP_QUERY` on an open `/proc/PID/maps`.
    procmap_query,
    b'f',
    17,
    MapQuery
);

/// The executable file mappings of the process whose `/proc/PID/maps` this is, in order of address;
/// `None` where the kernel cannot be asked.
pub(super) fn query_mappings(maps: &File) -> Option<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut path = vec![0; MAX_PATH];
    let mut at = 0;
    while let Some(found) = ask(maps, at, &mut path).ok()? {
        at = found.vma_end;
        // With the 0 at its end.
        let len = (found.vma_name_size as usize).saturating_sub(1);
        let (path, deleted) = split_deleted(OsStr::from_bytes(path.get(..len)?));
        // What is shared without a file, such as a System V segment, has no path.
        if !path.is_absolute() {
            continue;
        }
        mappings.push(Mapping {
            start: found.vma_start,
            end: found.vma_end,
            file_offset: found.vma_offset,
            inode: found.inode,
            path,
            deleted,
        });
    }
    Some(mappings)
}

/// The executable file mapping at this address, or else the next one, with its path; `None` when
/// there is none, or no process any more.
fn ask(maps: &File, at: u64, path: &mut [u8]) -> nix::Result<Option<MapQuery>> {
    let mut query = MapQuery {
        size: size_of::<MapQuery>() as u64,
        query_flags: COVERING_OR_NEXT | FILE_BACKED | EXECUTABLE,
        query_addr: at,
        vma_name_size: u32::try_from(path.len()).unwrap_or(u32::MAX),
        vma_name_addr: path.as_mut_ptr() as u64,
        ..MapQuery::default()
    };
    // SAFETY: the kernel reads and writes `query`, whose size it says, and writes at most
    // `vma_name_size` bytes at `vma_name_addr`, which is what `path` has; both outlive the call.
    match unsafe { procmap_query(maps.as_raw_fd(), &raw mut query) } {
        Ok(_) => Ok(Some(query)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}
