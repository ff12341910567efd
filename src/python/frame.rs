//! One frame, as it lies in memory, and its local variables.

use asyncspy_model::RemoteAddr;

use super::code::CodeInfo;
use super::object::Objects;
use crate::layout::{FrameOwner, GeneratorFrame, Instruction, Layout, Outermost};
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// Deepest stack that is followed. Python's own limit is 1000 by default.
pub const MAX_FRAMES: usize = 20_000;

/// [`RawFrame::instruction`] of a frame whose `f_lasti` is -1 (3.8 to 3.10).
const NOT_STARTED: u64 = u64::MAX;

/// One frame, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Where it is.
    pub addr: RemoteAddr,
    /// Its code object.
    pub code: RemoteAddr,
    /// Its position: see [`offset_in`](Self::offset_in).
    pub instruction: u64,
    /// The calling frame.
    pub previous: RemoteAddr,
    /// Who owns it.
    pub owner: Owner,
    /// True if it can be a thread's outermost frame. One that is being entered has no caller
    /// either, but cannot be.
    pub may_be_outermost: bool,
}

/// Who owns a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A thread, or a frame object.
    Thread,
    /// The coroutine, generator or async generator at this address.
    Generator(RemoteAddr),
    /// Nobody: it marks where C code called into Python, and is no Python frame.
    Shim,
}

impl RawFrame {
    /// True for a frame of a generator that executes: one that is suspended has no caller
    /// (`_PyInterpreterFrame.previous`; `f_back` before 3.11).
    #[must_use]
    pub const fn is_executing_generator(&self) -> bool {
        matches!(self.owner, Owner::Generator(_)) && !self.previous.is_null()
    }

    /// Understands the first [`FrameLayout::size`](crate::layout::FrameLayout) bytes of a frame.
    #[must_use]
    #[inline]
    pub fn decode(layout: &Layout, addr: RemoteAddr, bytes: &[u8]) -> Self {
        let (fields, frame) = (Fields(bytes), &layout.frame);
        let owner = Self::owner_in(layout, addr, fields);
        let may_be_outermost = match frame.outermost {
            Outermost::Unmarked => !matches!(owner, Owner::Generator(_)),
            Outermost::Entry(offset) => fields.u8(offset) == 1,
            Outermost::Shim => owner == Owner::Shim,
        };
        Self {
            addr,
            code: Self::code_in(layout, fields),
            instruction: Self::instruction_in(layout, fields),
            previous: fields.ptr(frame.previous),
            owner,
            may_be_outermost,
        }
    }

    /// True if these bytes are of the same frame in the same call. The innermost frame's position
    /// moves with each instruction, the others' only when what they call returns.
    #[must_use]
    #[inline]
    pub fn is_still(&self, layout: &Layout, bytes: &[u8], innermost: bool) -> bool {
        let (fields, frame) = (Fields(bytes), &layout.frame);
        fields.ptr(frame.previous) == self.previous
            && Self::code_in(layout, fields) == self.code
            && (innermost || Self::instruction_in(layout, fields) == self.instruction)
            && Self::owner_in(layout, self.addr, fields) == self.owner
    }

    #[inline]
    fn code_in(layout: &Layout, fields: Fields<'_>) -> RemoteAddr {
        let code = fields.ptr(layout.frame.code);
        if layout.frame.tagged {
            untag(code)
        } else {
            code
        }
    }

    #[inline]
    fn instruction_in(layout: &Layout, fields: Fields<'_>) -> u64 {
        let at = layout.frame.instruction;
        match layout.frame.instruction_is {
            Instruction::Index(unit) => match u64::try_from(fields.i32(at)) {
                Ok(index) => index * unit,
                Err(_) => NOT_STARTED,
            },
            Instruction::Pointer => fields.u64(at),
        }
    }

    #[inline]
    fn owner_in(layout: &Layout, addr: RemoteAddr, fields: Fields<'_>) -> Owner {
        match layout.frame.owner {
            FrameOwner::Generator(offset) => match fields.ptr(offset) {
                RemoteAddr::NULL => Owner::Thread,
                generator => Owner::Generator(generator),
            },
            FrameOwner::Byte(offset) => match fields.u8(offset) {
                1 => Owner::Generator(generator_of(layout, addr)),
                0 | 2 => Owner::Thread,
                _ => Owner::Shim,
            },
        }
    }

    /// The line that it stands at, 0 when unknown: that of the definition before it has started.
    #[must_use]
    pub fn line(&self, layout: &Layout, code: &CodeInfo) -> u32 {
        if self.instruction == NOT_STARTED {
            return code.first_line();
        }
        code.line(self.offset_in(layout))
    }

    /// The position as an offset into the byte code, in bytes; 0 when it makes no sense.
    #[must_use]
    pub fn offset_in(&self, layout: &Layout) -> u32 {
        let offset = match layout.frame.instruction_is {
            Instruction::Index(_) => self.instruction,
            Instruction::Pointer => self
                .instruction
                .wrapping_sub(self.code.offset(layout.code.bytecode).0),
        };
        // Before its first instruction a frame may point just before the byte code.
        u32::try_from(offset).unwrap_or(0)
    }
}

/// The low two bits of a `_PyStackRef` are a tag (Include/internal/pycore_stackref.h, 3.14).
#[must_use]
pub const fn untag(addr: RemoteAddr) -> RemoteAddr {
    RemoteAddr(addr.0 & !3)
}

/// The generator in which a frame is embedded.
fn generator_of(layout: &Layout, frame: RemoteAddr) -> RemoteAddr {
    match layout.generator.frame {
        GeneratorFrame::Embedded(offset) => frame.before(offset),
        GeneratorFrame::Pointer { .. } => RemoteAddr::NULL,
    }
}

/// A chain of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameChain {
    /// Innermost first, shims included.
    pub frames: Vec<RawFrame>,
    /// True if the chain is proven: it ends where a thread's first frame is, and what it is made
    /// of was the same when it was read again.
    pub proven: bool,
}

/// The value of a local variable's slot; null when the variable is unset.
///
/// # Errors
/// As [`MemoryView::read`](crate::target::memory::MemoryView::read).
pub fn read_local(
    objects: Objects<'_>,
    frame: RemoteAddr,
    slot: u64,
) -> Result<RemoteAddr, MemoryError> {
    let (addr, _) = local_range(objects.layout, frame, slot);
    let value = objects.view.read_ptr(addr)?;
    Ok(if objects.layout.frame.tagged {
        untag_local(value)
    } else {
        value
    })
}

/// Where a local variable's slot is: address, length.
#[must_use]
pub const fn local_range(layout: &Layout, frame: RemoteAddr, slot: u64) -> (RemoteAddr, u64) {
    (frame.offset(layout.frame.localsplus + 8 * slot), 8)
}

/// A tagged slot is null when nothing but the tag is left; a tagged small int is no pointer and
/// counts as unset here.
fn untag_local(value: RemoteAddr) -> RemoteAddr {
    if value.0 & 3 == 3 {
        return RemoteAddr::NULL;
    }
    untag(value)
}
