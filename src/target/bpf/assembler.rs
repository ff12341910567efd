//! Writes eBPF instructions (Documentation/bpf/standardization/instruction-set.rst). Of these only
//! what asyncspy's own programs need.

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u8);

/// What a call returns, and a program.
pub const R0: Register = Register(0);
/// First argument of a call; at the beginning the context.
pub const R1: Register = Register(1);
/// Second argument of a call.
pub const R2: Register = Register(2);
/// Third argument of a call.
pub const R3: Register = Register(3);
/// Fourth argument of a call.
pub const R4: Register = Register(4);
/// Kept over calls, as the next three.
pub const R6: Register = Register(6);
/// Kept over calls.
pub const R7: Register = Register(7);
/// Kept over calls.
pub const R8: Register = Register(8);
/// Kept over calls.
pub const R9: Register = Register(9);
/// The end of the stack, of which the 512 bytes below may be used.
pub const STACK: Register = Register(10);

/// A function of the kernel (`enum bpf_func_id`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// (map, key): the value's address, or null.
    MapLookup = 1,
    /// (): nanoseconds of CLOCK_MONOTONIC.
    KtimeGetNs = 5,
    /// (context, buffer, size): value, time enabled, time running of the event that fired.
    PerfProgReadValue = 56,
    /// (destination, size, address): copies the current process' memory; 0 if it could.
    ProbeReadUser = 112,
    /// The same of the kernel's memory.
    ProbeReadKernel = 113,
    /// (ring, data, size, flags): 0 if there was room.
    RingbufOutput = 130,
    /// (): the thread that runs, as the next one takes it. From Linux 5.11 on.
    CurrentTask = 158,
    /// (thread): the registers with which it has entered the kernel. From Linux 5.15 on.
    TaskRegisters = 175,
}

/// A comparison, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum When {
    /// Equal.
    Is = 0x10,
    /// Greater.
    Above = 0x20,
    /// Not equal.
    IsNot = 0x50,
}

/// A place in a program, which may be jumped to before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// One instruction, or half of one that has 64 bits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A program that is being written.
#[derive(Debug, Default)]
pub struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label is, once that is known.
    places: Vec<Option<usize>>,
    /// Jumps, and where they go.
    jumps: Vec<(usize, Label)>,
}

/// `BPF_PSEUDO_MAP_FD`.
const MAP: Register = Register(1);

impl Assembler {
    fn add(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.instructions.push(Instruction {
            code,
            registers: from.0 << 4 | to.0,
            offset,
            immediate,
        });
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.add(0xbf, to, from, 0, 0);
    }

    /// `to = value`, for values of 31 bits.
    pub fn set(&mut self, to: Register, value: i32) {
        self.add(0xb7, to, R0, 0, value);
    }

    /// `to = value`.
    pub fn set_wide(&mut self, to: Register, value: u64) {
        self.add_wide(to, R0, value);
    }

    /// `to =` the map with this descriptor.
    pub fn set_map(&mut self, to: Register, descriptor: i32) {
        self.add_wide(to, MAP, u64::from(descriptor.cast_unsigned()));
    }

    fn add_wide(&mut self, to: Register, kind: Register, value: u64) {
        let low = (value & 0xffff_ffff) as u32;
        let high = (value >> 32) as u32;
        self.add(0x18, to, kind, 0, low.cast_signed());
        self.add(0, R0, R0, 0, high.cast_signed());
    }

    /// `to += from`.
    pub fn plus(&mut self, to: Register, from: Register) {
        self.add(0x0f, to, from, 0, 0);
    }

    /// `to += value`.
    pub fn plus_value(&mut self, to: Register, value: i32) {
        self.add(0x07, to, R0, 0, value);
    }

    /// `to &= value`, whose sign goes on in the upper half.
    pub fn mask(&mut self, to: Register, value: i32) {
        self.add(0x57, to, R0, 0, value);
    }

    /// `to =` the 64 bits at `base + offset`.
    pub fn load(&mut self, to: Register, base: Register, offset: i16) {
        self.add(0x79, to, base, offset, 0);
    }

    /// The 64 bits at `base + offset` `= from`.
    pub fn store(&mut self, base: Register, offset: i16, from: Register) {
        self.add(0x7b, base, from, offset, 0);
    }

    /// The 64 bits at `base + offset` `= value`, whose sign goes on in the upper half.
    pub fn store_value(&mut self, base: Register, offset: i16, value: i32) {
        self.add(0x7a, base, R0, offset, value);
    }

    /// Calls the kernel. Only R6 to R9 keep what they hold.
    pub fn call(&mut self, helper: Helper) {
        self.add(0x85, R0, R0, 0, helper as i32);
    }

    /// Ends the program; it returns R0.
    pub fn exit(&mut self) {
        self.add(0x95, R0, R0, 0, 0);
    }

    /// A place that is not known yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The place is here.
    pub fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    /// Goes there.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.add(0x05, R0, R0, 0, 0);
    }

    /// Goes there if the register compares so with the value, whose sign goes on in the upper half.
    pub fn jump_when(&mut self, register: Register, when: When, value: i32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.add(0x05 | when as u8, register, R0, 0, value);
    }

    /// Goes there if the register compares so with another.
    pub fn jump_when_both(&mut self, register: Register, when: When, with: Register, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.add(0x0d | when as u8, register, with, 0, 0);
    }

    /// The whole program; `None` if it jumps to nowhere, or too far.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let place = self.places[label.0]?;
            let distance = place.cast_signed() - at.cast_signed() - 1;
            self.instructions[at].offset = i16::try_from(distance).ok()?;
        }
        Some(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(instruction: Instruction) -> [u8; 8] {
        let [low, high] = instruction.offset.to_le_bytes();
        let [a, b, c, d] = instruction.immediate.to_le_bytes();
        [
            instruction.code,
            instruction.registers,
            low,
            high,
            a,
            b,
            c,
            d,
        ]
    }

    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let mut program = Assembler::default();
        program.copy(R6, R1);
        program.load(R2, R6, 0x10);
        program.store(STACK, -8, R2);
        program.set_wide(R3, 0x1122_3344_5566_7788);
        program.call(Helper::ProbeReadUser);
        let program = program.finish().unwrap();
        let expected = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x79, 0x62, 0x10, 0, 0, 0, 0, 0],
            [0x7b, 0x2a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x18, 0x03, 0, 0, 0x88, 0x77, 0x66, 0x55],
            [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
            [0x85, 0, 0, 0, 112, 0, 0, 0],
        ];
        assert_eq!(program.into_iter().map(bytes).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn jumps_go_to_their_labels() {
        let mut program = Assembler::default();
        let (begin, end) = (program.label(), program.label());
        program.place(begin);
        program.jump_when(R7, When::Is, 0, end);
        program.jump(begin);
        program.place(end);
        program.exit();
        let offsets: Vec<_> = program
            .finish()
            .unwrap()
            .iter()
            .map(|one| one.offset)
            .collect();
        assert_eq!(offsets, [1, -2, 0]);

        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        assert_eq!(program.finish(), None);
    }
}
