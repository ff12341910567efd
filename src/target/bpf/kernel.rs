//! Maps and programs in the kernel.
#![expect(
    unsafe_code,
    reason = "no crate offers bpf(2) without objects of clang's"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc::{SYS_bpf, syscall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::assembler::Instruction;

/// Which call of bpf(2) (`enum bpf_cmd`, include/uapi/linux/bpf.h).
const MAP_CREATE: i32 = 0;
const PROG_LOAD: i32 = 5;

/// `enum bpf_map_type`.
const PERCPU_ARRAY: u32 = 6;
const RINGBUF: u32 = 27;

/// `enum bpf_prog_type`.
const PERF_EVENT: u32 = 7;

/// What some of the functions that our programs call ask for.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// The beginning of `union bpf_attr` for a map.
#[repr(C)]
struct MapAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The same for a program.
#[repr(C)]
struct ProgAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// Memory of so many bytes for each processor.
///
/// # Errors
/// That the kernel refuses: without CAP_BPF.
pub fn create_scratch(size: u32) -> io::Result<OwnedFd> {
    create_map(&MapAttr {
        map_type: PERCPU_ARRAY,
        key_size: 4,
        value_size: size,
        max_entries: 1,
        map_flags: 0,
    })
}

/// A ring for so many bytes, a power of two and at least a page.
///
/// # Errors
/// That the kernel refuses: without CAP_BPF, before Linux 5.8.
pub fn create_ring(size: u32) -> io::Result<OwnedFd> {
    create_map(&MapAttr {
        map_type: RINGBUF,
        key_size: 0,
        value_size: 0,
        max_entries: size,
        map_flags: 0,
    })
}

fn create_map(attr: &MapAttr) -> io::Result<OwnedFd> {
    // Before Linux 5.11 maps count as locked memory, of which little is allowed as a rule.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        // What is refused here is refused below, with its reason.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, most, most);
    }
    // SAFETY: `attr` is the beginning of a `union bpf_attr`, the rest of which counts as 0; the
    // kernel reads it during the call only.
    unsafe { bpf(MAP_CREATE, attr) }
}

/// Hands a program for perf events to the kernel, which checks it.
///
/// # Errors
/// That the kernel refuses: without CAP_BPF and CAP_PERFMON, or because it cannot see that the
/// program is safe.
pub fn load_program(name: &str, program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    for (to, from) in prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let attr = ProgAttr {
        prog_type: PERF_EVENT,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: as for maps; `insns` has as many instructions as it says, and `license` ends with 0.
    unsafe { bpf(PROG_LOAD, &attr) }
}

/// Calls bpf(2) for a new descriptor.
///
/// # Safety
/// `attr` must be what the command expects, and what it points to valid.
unsafe fn bpf<T>(command: i32, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says; the size is that of `attr`.
    let result = unsafe { syscall(SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    match i32::try_from(result) {
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of a descriptor, as programs name maps.
#[must_use]
pub fn number(descriptor: &OwnedFd) -> i32 {
    descriptor.as_raw_fd()
}
