//! How soon the kernel lets this thread run when it wakes.
#![expect(
    unsafe_code,
    reason = "no crate offers sched_setattr(2) for ordinary threads"
)]

use nix::libc::{SYS_sched_getattr, SYS_sched_setattr, c_long, sched_attr, syscall};

/// The shortest slice that the kernel grants (kernel/sched/syscalls.c, Linux 6.12).
const SLICE_NS: u64 = 100_000;

/// `SCHED_OTHER` (include/uapi/linux/sched.h).
const ORDINARY: u32 = 0;

/// `sizeof(struct sched_attr)` without what came after its first version.
const ATTR_SIZE: u32 = 48;

/// Asks for short slices of time for this thread, and so to run as soon as it wakes: among threads
/// that wait for a processor the kernel takes the one whose slice would end first. A thread that
/// burns the processor else keeps a waking one waiting for some milliseconds. What it gets in all
/// stays the same, and no right is needed (sched-eevdf.rst; from Linux 6.12 on, of no effect
/// before). Whoever runs it at another policy has wanted that.
pub fn shorten_slice() {
    let Some(mut attr) = attributes() else {
        return;
    };
    if attr.sched_policy == ORDINARY {
        attr.sched_runtime = SLICE_NS;
        // SAFETY: the kernel reads `attr`, whose size it is told, during the call and only then;
        // 0 is the calling thread. A refusal changes nothing.
        unsafe { syscall(SYS_sched_setattr, 0 as c_long, &raw const attr, 0 as c_long) };
    }
}

/// How this thread is scheduled; `None` where the kernel does not tell.
fn attributes() -> Option<sched_attr> {
    let mut attr = sched_attr {
        size: ATTR_SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most `ATTR_SIZE` bytes, which is what `attr` has, during the
    // call and only then; 0 is the calling thread.
    let told = unsafe {
        syscall(
            SYS_sched_getattr,
            0 as c_long,
            &raw mut attr,
            c_long::from(ATTR_SIZE),
            0 as c_long,
        )
    };
    (told == 0).then_some(attr)
}

const _: () = assert!(size_of::<sched_attr>() == ATTR_SIZE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_slice_changes_nothing_else() {
        let thread = std::thread::spawn(|| {
            let before = attributes();
            shorten_slice();
            (before, attributes())
        });
        let (before, after) = thread.join().unwrap();
        let (before, after) = (before.unwrap(), after.unwrap());
        let kind = |attr: &sched_attr| (attr.sched_policy, attr.sched_nice, attr.sched_flags);
        assert_eq!(kind(&before), kind(&after));
        let slice = after.sched_runtime;
        // Linux before 6.12 knows none.
        assert!(
            slice == SLICE_NS || slice == before.sched_runtime,
            "{slice}"
        );
    }
}
