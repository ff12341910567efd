//! One look of the kernel's, as its program writes it: a head, then what the loop's frame, the
//! task and its name are, then the frames of the thread, innermost first.

use asyncspy_model::RemoteAddr;

use crate::layout::Layout;
use crate::python::frame::RawFrame;
use crate::sampler::opaque::OpaqueReading;
use crate::sampler::task_reads::DICT_KEYS;
use crate::target::memory::Fields;
use crate::target::threads::SystemCall;

/// Nanoseconds of the initial namespace's CLOCK_MONOTONIC.
pub(super) const AT: i16 = 0;
/// Value of the event, time enabled, time running.
pub(super) const COUNTS: i16 = 8;
pub(super) const RAN: i16 = 24;
/// What is known: see the flags.
pub(super) const FLAGS: i16 = 32;
/// Where the frames end.
pub(super) const END: i16 = 40;
/// Where among them the loop's frame is; [`NONE`] before it was met.
pub(super) const LOOP_AT: i16 = 48;
/// The running task, null if there is none.
pub(super) const TASK_AT: i16 = 56;
/// Its name.
pub(super) const NAME_AT: i16 = 64;
/// First argument of the system call that the thread is in, and its number: negative if it is in
/// none, or that is not told.
pub(super) const ARGUMENT: i16 = 72;
pub(super) const CALL: i16 = 80;
/// What is written of a stock loop that polls.
pub(super) const HEAD: i32 = 88;

/// Locals of the loop's frame.
pub(super) const LOCALS: i16 = 88;
pub(super) const LOCALS_SIZE: i16 = 512;
/// What some of them name.
pub(super) const NUMBERS: i16 = LOCALS + LOCALS_SIZE;
pub(super) const NUMBER_SIZE: i16 = 32;
pub(super) const NUMBERS_COUNT: i16 = 4;
/// The dict of running tasks, where there is one, and its keys.
pub(super) const DICT: i16 = NUMBERS + NUMBERS_COUNT * NUMBER_SIZE;
pub(super) const DICT_SIZE: i16 = 48;
pub(super) const KEYS: i16 = DICT + DICT_SIZE;
pub(super) const KEYS_SIZE: i16 = 256;
/// The running task, and the beginning of its name.
pub(super) const TASK: i16 = KEYS + KEYS_SIZE;
pub(super) const TASK_SIZE: i16 = 512;
pub(super) const NAME: i16 = TASK + TASK_SIZE;
pub(super) const NAME_SIZE: i16 = 128;
/// What tells the turns of a loop without a frame apart: count of contexts, uvloop's time and count.
pub(super) const WORDS: i16 = NAME + NAME_SIZE;
/// The frames: address and first bytes of each.
pub(super) const FRAMES: i16 = WORDS + 3 * 8;

/// Most bytes of a record: what the kernel has for each processor in one piece
/// (`PCPU_MIN_UNIT_SIZE`, include/linux/percpu.h).
pub(super) const MOST: u32 = 32 << 10;

/// [`LOOP_AT`] before the loop's frame was met.
pub(super) const NONE: i32 = 0;

/// The frames end where the thread's do.
pub(super) const WHOLE: i32 = 1;
/// The stock loop polls; there is nothing but the head.
pub(super) const POLLS: i32 = 2;
/// The thread leaves its processor.
pub(super) const LEAVES: i32 = 4;

/// Bytes of a frame in a record.
pub(super) const fn stride(layout: &Layout) -> u64 {
    8 + layout.frame.size.next_multiple_of(8)
}

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(pub &'a [u8]);

impl<'a> Record<'a> {
    fn word(self, at: i16) -> u64 {
        Fields(self.0).u64(at.unsigned_abs().into())
    }

    fn has(self, flag: i32) -> bool {
        self.word(FLAGS) & u64::from(flag.unsigned_abs()) != 0
    }

    /// When it was, by the kernel's initial monotonic clock.
    #[must_use]
    pub fn at_ns(self) -> u64 {
        self.word(AT)
    }

    /// For how long the thread had run since its events began.
    #[must_use]
    pub fn ran_ns(self) -> u64 {
        self.word(RAN)
    }

    /// True if the thread left its processor; else it ran on.
    #[must_use]
    pub fn leaves(self) -> bool {
        self.has(LEAVES)
    }

    /// True if the thread left its processor in a system call: as a rule to wait for what it has
    /// called for.
    #[must_use]
    pub fn waits(self) -> bool {
        self.leaves() && self.word(CALL).cast_signed() >= 0
    }

    /// The system call that the thread was in.
    #[must_use]
    pub fn system_call(self) -> SystemCall {
        match self.word(CALL).cast_signed() {
            ..0 => SystemCall::None,
            number => SystemCall::In {
                number,
                first_argument: self.word(ARGUMENT),
            },
        }
    }

    /// What tells the turns of a loop without a frame apart.
    #[must_use]
    pub fn opaque(self) -> OpaqueReading {
        OpaqueReading {
            context_version: self.word(WORDS),
            uv_time: self.word(WORDS + 8),
            uv_count: self.word(WORDS + 16),
        }
    }

    /// True if a stock loop polled.
    #[must_use]
    pub fn polls(self) -> bool {
        self.has(POLLS)
    }

    /// True if all frames are there.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.has(WHOLE)
    }

    /// The frames, innermost first.
    pub fn frames(self, layout: &'a Layout) -> impl Iterator<Item = RawFrame> + 'a {
        let bytes = self
            .0
            .get(FRAMES.unsigned_abs().into()..)
            .unwrap_or_default();
        let each = bytes.chunks_exact(stride(layout) as usize);
        each.map(|bytes| RawFrame::decode(layout, Fields(bytes).ptr(0), &bytes[8..]))
    }

    /// Which of the frames is the loop's; `None` if none is.
    #[must_use]
    pub fn loop_frame(self, layout: &Layout) -> Option<usize> {
        let beyond = self
            .word(LOOP_AT)
            .checked_sub(FRAMES.unsigned_abs().into())?;
        Some((beyond / stride(layout)) as usize)
    }

    fn part(self, at: i16, size: i16) -> Fields<'a> {
        let start = usize::from(at.unsigned_abs());
        let end = start + usize::from(size.unsigned_abs());
        Fields(self.0.get(start..end).unwrap_or_default())
    }

    /// The locals of the loop's frame.
    #[must_use]
    pub fn locals(self) -> Fields<'a> {
        self.part(LOCALS, LOCALS_SIZE)
    }

    /// What the nth of those locals names that tell the turn.
    #[must_use]
    pub fn number(self, nth: usize) -> Fields<'a> {
        let nth = i16::try_from(nth).unwrap_or(0).clamp(0, NUMBERS_COUNT - 1);
        self.part(NUMBERS + nth * NUMBER_SIZE, NUMBER_SIZE)
    }

    /// What tells the running task: address and bytes of each object. `dict` is that of running
    /// tasks, null where the thread names the task itself, at `field`.
    pub fn objects(
        self,
        layout: &Layout,
        (dict, field): (RemoteAddr, RemoteAddr),
    ) -> impl Iterator<Item = (RemoteAddr, &'a [u8])> {
        let task_size = usize::try_from(layout.task.size).unwrap_or(0);
        let task = self.part(TASK, TASK_SIZE).0;
        let dict_bytes = self.part(DICT, DICT_SIZE);
        let keys = dict_bytes.ptr(DICT_KEYS);
        let ways = [(dict, dict_bytes.0), (keys, self.part(KEYS, KEYS_SIZE).0)];
        let ways = ways.map(|(addr, bytes)| (!dict.is_null()).then_some((addr, bytes)));
        let field = dict.is_null().then_some((field, self.part(TASK_AT, 8).0));
        let objects = [
            (
                RemoteAddr(self.word(TASK_AT)),
                task.get(..task_size).unwrap_or_default(),
            ),
            (RemoteAddr(self.word(NAME_AT)), self.part(NAME, NAME_SIZE).0),
        ];
        let ways = ways.into_iter().chain([field]).flatten();
        ways.chain(objects).filter(|(addr, _)| !addr.is_null())
    }
}
