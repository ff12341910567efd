//! The program that looks at a loop's thread from within: it follows the frames outwards, and takes
//! along what tells the loop's turn and the running task.

use asyncspy_model::RemoteAddr;

use super::record::{
    ARGUMENT, AT, CALL, COUNTS, DICT, DICT_SIZE, END, FLAGS, FRAMES, HEAD, KEYS, KEYS_SIZE, LEAVES,
    LOCALS, LOCALS_SIZE, LOOP_AT, MOST, NAME, NAME_AT, NAME_SIZE, NONE, NUMBER_SIZE, NUMBERS,
    POLLS, TASK, TASK_AT, TASK_SIZE, WHOLE, WORDS, stride,
};
use crate::aio::loop_turn::RunOnceFacts;
use crate::layout::{DictKeySizes, FrameEntry, Layout, RunningTask, uvloop};
use crate::sampler::discovery::RunningLoopFound;
use crate::sampler::task_reads::DICT_KEYS;
use crate::target::bpf::assembler::{
    Assembler, Helper, Instruction, Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK, When,
};

/// `BPF_RB_NO_WAKEUP`: whoever reads the ring looks now and then.
const NO_WAKEUP: i32 = 1;

/// What a value's low two bits say of it, where they say anything: 3 for a small int.
const TAG: i32 = 3;

/// How many frames there may be outside of the loop's own.
const MOST_OUTSIDE: i32 = 100;

/// Where on the stack it is counted how many were followed.
const COUNTER: i16 = -16;

/// Where in the record's place for a frame this offset of the frame is.
fn in_frame(offset: u64) -> i16 {
    i16::try_from(8 + offset).unwrap_or(0)
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The loop, and its thread.
    pub found: &'a RunningLoopFound,
    /// How that Python lays things out.
    pub layout: &'a Layout,
    /// The loop's own code; `None` for uvloop, which has no frame.
    pub run_once: Option<RunOnceFacts>,
}

/// Where a program may write, and where its records go: descriptors of maps.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// The kernel's memory for a record.
    pub scratch: i32,
    /// The ring of records.
    pub ring: i32,
}

/// In R6 the record, in R7 the frame, in R8 how long the record is, in R9 its place for the frame.
struct Writer<'a> {
    code: Assembler,
    subject: Subject<'a>,
}

/// When a program looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While the thread runs.
    Running,
    /// When it leaves its processor.
    Leaving,
}

/// Where among the registers, as the kernel keeps them, the first argument of the system call is,
/// followed by its number (`di`, `orig_ax` of `struct pt_regs`, arch/x86/include/asm/ptrace.h).
const CALL_IN_REGISTERS: i32 = 112;

/// Whether it is known where the system call is.
const KNOWS_CALLS: bool = cfg!(target_arch = "x86_64");

/// Writes a program for looks; `None` where there is too much to look at, or not enough is known.
/// Not every kernel `tells_calls`: the system call that a thread is in.
#[must_use]
pub fn write(
    subject: Subject<'_>,
    maps: Maps,
    (moment, tells_calls): (Moment, bool),
) -> Option<Vec<Instruction>> {
    let fits = subject.layout.task.size <= TASK_SIZE.unsigned_abs().into()
        && subject
            .run_once
            .is_none_or(|code| 8 * code.count <= LOCALS_SIZE.unsigned_abs().into());
    let is_told = KNOWS_CALLS && tells_calls || subject.run_once.is_some();
    if !fits || !is_told {
        return None;
    }
    let mut writer = Writer {
        code: Assembler::default(),
        subject,
    };
    let end = writer.code.label();
    writer.begin(maps, moment, end);
    if KNOWS_CALLS && tells_calls {
        writer.system_call();
    }
    let polls = writer.code.label();
    writer.frames(polls);
    if subject.run_once.is_none() {
        writer.words();
    }
    writer.task();
    let output = writer.code.label();
    writer.code.place(output);
    writer.code.set_map(R1, maps.ring);
    writer.code.copy(R2, R6);
    writer.code.copy(R3, R8);
    writer
        .code
        .jump_when(R3, When::Above, MOST.cast_signed(), end);
    writer.code.set(R4, NO_WAKEUP);
    writer.code.call(Helper::RingbufOutput);
    writer.code.place(end);
    writer.code.set(R0, 0);
    writer.code.exit();
    // What is never reached the kernel does not take.
    if subject.run_once.is_some() {
        writer.code.place(polls);
        writer.add_flag(POLLS);
        writer.code.set(R8, HEAD);
        writer.code.jump(output);
    }
    writer.code.finish()
}

impl Writer<'_> {
    fn begin(&mut self, maps: Maps, moment: Moment, end: Label) {
        let code = &mut self.code;
        code.copy(R9, R1);
        code.store_value(STACK, -8, 0);
        code.set_map(R1, maps.scratch);
        code.copy(R2, STACK);
        code.plus_value(R2, -8);
        code.call(Helper::MapLookup);
        code.jump_when(R0, When::Is, 0, end);
        code.copy(R6, R0);
        code.call(Helper::KtimeGetNs);
        code.store(R6, AT, R0);
        code.copy(R1, R9);
        code.copy(R2, R6);
        code.plus_value(R2, COUNTS.into());
        code.set(R3, 24);
        code.call(Helper::PerfProgReadValue);
        let flags = match moment {
            Moment::Running => 0,
            Moment::Leaving => LEAVES,
        };
        let fresh = [
            (FLAGS, flags),
            (LOOP_AT, NONE),
            (TASK_AT, 0),
            (NAME_AT, 0),
            (CALL, -1),
        ];
        for (at, value) in fresh {
            code.store_value(R6, at, value);
        }
    }

    fn system_call(&mut self) {
        self.code.call(Helper::CurrentTask);
        self.code.copy(R1, R0);
        self.code.call(Helper::TaskRegisters);
        self.code.copy(R3, R0);
        self.code.plus_value(R3, CALL_IN_REGISTERS);
        self.code.copy(R1, R6);
        self.code.plus_value(R1, ARGUMENT.into());
        self.code.set(R2, (CALL + 8 - ARGUMENT).into());
        self.code.call(Helper::ProbeReadKernel);
    }

    /// Takes along what tells the turns of a loop without a frame apart; null addresses give 0.
    fn words(&mut self) {
        let (found, layout) = (self.subject.found, self.subject.layout);
        let queues = &found.facts.queues;
        let time = match queues.uv_loop {
            RemoteAddr::NULL => queues.uv_loop,
            uv_loop => uv_loop.offset(uvloop::TIME),
        };
        let version = found.thread.addr.offset(layout.thread.context_version);
        for (at, addr) in [
            (WORDS, version),
            (WORDS + 8, time),
            (WORDS + 16, queues.uv_count),
        ] {
            self.code.set_wide(R3, addr.0);
            self.copy_to(at, 8);
        }
    }

    fn add_flag(&mut self, flag: i32) {
        self.code.load(R1, R6, FLAGS);
        self.code.plus_value(R1, flag);
        self.code.store(R6, FLAGS, R1);
    }

    /// Copies what R3 points to into the record; R0 is 0 if it could.
    fn copy_to(&mut self, at: i16, size: u64) {
        self.code.copy(R1, R6);
        self.code.plus_value(R1, at.into());
        self.code.set(R2, i32::try_from(size).unwrap_or(0));
        self.code.call(Helper::ProbeReadUser);
    }

    /// R7 = the innermost frame; goes there if it cannot be read.
    fn innermost(&mut self, unread: Label) {
        let thread = self.subject.found.thread.addr;
        let pointer = |writer: &mut Self| {
            let code = &mut writer.code;
            code.copy(R1, STACK);
            code.plus_value(R1, -8);
            code.set(R2, 8);
            code.call(Helper::ProbeReadUser);
            code.jump_when(R0, When::IsNot, 0, unread);
            code.load(R7, STACK, -8);
        };
        match self.subject.layout.thread.frame {
            FrameEntry::Direct(offset) => {
                self.code.set_wide(R3, thread.offset(offset).0);
                pointer(self);
            }
            FrameEntry::CFrame {
                offset, current, ..
            } => {
                self.code.set_wide(R3, thread.offset(offset).0);
                pointer(self);
                self.code.jump_when(R7, When::Is, 0, unread);
                self.code.copy(R3, R7);
                self.code
                    .plus_value(R3, i32::try_from(current).unwrap_or(0));
                pointer(self);
            }
        }
    }

    /// Follows the frames; goes to `polls` if the loop's own shows that it does.
    fn frames(&mut self, polls: Label) {
        let [loop_frame, whole, end] = std::array::from_fn(|_| self.code.label());
        self.code.set(R8, FRAMES.into());
        self.innermost(end);
        let until = self.subject.run_once.map(|code| (code.code, loop_frame));
        self.walk(MOST.cast_signed(), until, (whole, end));
        if let Some(run_once) = self.subject.run_once {
            self.code.place(loop_frame);
            self.forget_length();
            self.loop_frame(run_once, polls, end);
            self.take_place(end);
            self.go_on();
            self.walk(MOST_OUTSIDE, None, (whole, end));
        }
        self.code.place(whole);
        self.add_flag(WHOLE);
        self.code.place(end);
        self.forget_length();
    }

    /// The kernel follows each way through a loop. To it the length is now any number, and what
    /// comes next the same for all of them.
    fn forget_length(&mut self) {
        self.code.store(R6, END, R8);
        self.code.load(R8, R6, END);
    }

    /// Follows so many frames from R7 outwards, until one of this code is met, where that is wanted,
    /// or they are at their end, or another one cannot be read.
    fn walk(
        &mut self,
        most: i32,
        until: Option<(RemoteAddr, Label)>,
        (whole, end): (Label, Label),
    ) {
        let frame = self.subject.layout.frame;
        let next = self.code.label();
        self.code.store_value(STACK, COUNTER, 0);
        self.code.place(next);
        self.code.jump_when(R7, When::Is, 0, whole);
        self.take_place(end);
        self.code.store(R9, 0, R7);
        self.code.copy(R1, R9);
        self.code.plus_value(R1, 8);
        self.code.set(R2, i32::try_from(frame.size).unwrap_or(0));
        self.code.copy(R3, R7);
        self.code.call(Helper::ProbeReadUser);
        self.code.jump_when(R0, When::IsNot, 0, end);
        if let Some((until, met)) = until {
            self.code.load(R1, R9, in_frame(frame.code));
            if frame.tagged {
                self.code.mask(R1, !TAG);
            }
            self.code.set_wide(R3, until.0);
            self.code.jump_when_both(R1, When::Is, R3, met);
        }
        self.go_on();
        self.code.load(R1, STACK, COUNTER);
        self.code.plus_value(R1, 1);
        self.code.store(STACK, COUNTER, R1);
        self.code.jump_when(R1, When::Above, most, end);
        self.code.jump(next);
    }

    /// R9 = where the record has room for a frame; goes there if it has none.
    fn take_place(&mut self, end: Label) {
        let step = i32::try_from(stride(self.subject.layout)).unwrap_or(0);
        let last = MOST.cast_signed() - step;
        self.code.jump_when(R8, When::Above, last, end);
        self.code.copy(R9, R6);
        self.code.plus(R9, R8);
    }

    /// From the frame in the record to the one that has called it.
    fn go_on(&mut self) {
        let step = i32::try_from(stride(self.subject.layout)).unwrap_or(0);
        let previous = in_frame(self.subject.layout.frame.previous);
        self.code.load(R7, R9, previous);
        self.code.plus_value(R8, step);
    }

    /// Takes along what the loop's frame tells, which R7 points to.
    fn loop_frame(&mut self, run_once: RunOnceFacts, polls: Label, unread: Label) {
        let frame = self.subject.layout.frame;
        self.code.copy(R3, R7);
        let locals = i32::try_from(frame.localsplus).unwrap_or(0);
        self.code.plus_value(R3, locals);
        self.copy_to(LOCALS, 8 * run_once.count as u64);
        // What could not be read is zeros, which are the locals of a loop that polls.
        self.code.jump_when(R0, When::IsNot, 0, unread);
        self.code.store(R6, LOOP_AT, R8);
        let local = |slot: u64| i16::try_from(8 * slot).map_or(LOCALS, |at| LOCALS + at);
        for (nth, slot) in run_once.slots.into_iter().enumerate() {
            let Some(slot) = slot else { continue };
            let skip = self.code.label();
            self.code.load(R3, R6, local(slot));
            if frame.tagged {
                self.code.copy(R1, R3);
                self.code.mask(R1, TAG);
                self.code.jump_when(R1, When::Is, TAG, skip);
                self.code.mask(R3, !TAG);
            }
            // The first is unset while the loop polls.
            let unset = if nth == 0 { polls } else { skip };
            self.code.jump_when(R3, When::Is, 0, unset);
            let at = NUMBERS + NUMBER_SIZE * i16::try_from(nth).unwrap_or(0);
            self.copy_to(at, NUMBER_SIZE.unsigned_abs().into());
            self.code.place(skip);
        }
    }

    /// Takes the running task along, and its name.
    fn task(&mut self) {
        let (found, layout) = (self.subject.found, self.subject.layout);
        match layout.running_task {
            RunningTask::Field(offset) => {
                self.code.set_wide(R3, found.thread.addr.offset(offset).0);
                self.copy_to(TASK_AT, 8);
            }
            RunningTask::CurrentTasks => self.task_of_dict(found.current_tasks),
        }
        let none = self.code.label();
        self.code.load(R3, R6, TASK_AT);
        self.code.jump_when(R3, When::Is, 0, none);
        self.copy_to(TASK, layout.task.size);
        let name = i16::try_from(layout.task.name).map_or(TASK, |at| TASK + at);
        self.code.load(R3, R6, name);
        self.code.store(R6, NAME_AT, R3);
        self.copy_to(NAME, NAME_SIZE.unsigned_abs().into());
        self.code.place(none);
    }

    /// The same where a dict tells it. It is looked up in one of the usual size alone, whose keys
    /// have eight slots of a byte each and five entries of hash, key and value.
    fn task_of_dict(&mut self, dict: RemoteAddr) {
        let keys = self.subject.layout.dict_keys;
        self.code.set_wide(R3, dict.0);
        self.copy_to(DICT, DICT_SIZE.unsigned_abs().into());
        let at = i16::try_from(DICT_KEYS).map_or(DICT, |at| DICT + at);
        self.code.load(R3, R6, at);
        self.copy_to(KEYS, KEYS_SIZE.unsigned_abs().into());
        let end = self.code.label();
        self.code.load(R1, R6, KEYS + 8);
        match keys.sizes {
            DictKeySizes::Size => self.code.jump_when(R1, When::IsNot, 8, end),
            DictKeySizes::Log2 => {
                // dk_log2_size, dk_log2_index_bytes, dk_kind, in the second to fourth byte.
                self.code.mask(R1, 0x00ff_ff00);
                self.code.jump_when(R1, When::IsNot, 0x0300, end);
            }
        }
        self.code.set_wide(R2, self.subject.found.facts.addr.0);
        let first = KEYS + i16::try_from(keys.indices + 8).unwrap_or(0);
        for entry in 0..5 {
            let other = self.code.label();
            self.code.load(R1, R6, first + 24 * entry + 8);
            self.code.jump_when_both(R1, When::IsNot, R2, other);
            self.code.load(R3, R6, first + 24 * entry + 16);
            // One that was left holds nothing.
            self.code.jump_when(R3, When::Is, 0, other);
            self.code.store(R6, TASK_AT, R3);
            self.code.place(other);
        }
        self.code.place(end);
    }
}
