//! One step down a chain of coroutines, and chains as shared lists of locations.

use std::sync::Arc;

use asyncspy_model::stack::Chain;
use asyncspy_model::{Location, RemoteAddr};
use rustc_hash::FxHashMap;

use super::Caches;
use crate::layout::{AwaitRule, GeneratorFrame, GeneratorStates, StackTop, StatePlace};
use crate::python::code::CodeInfo;
use crate::python::frame::{RawFrame, untag};
use crate::python::object::{OB_TYPE, Objects};
use crate::python::types::TypeKind;
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// Longest chain of coroutines that is followed.
pub const MAX_CHAIN: usize = 10_000;

/// The state of a coroutine, generator or async generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorState {
    /// Not started.
    Created,
    /// Suspended in a `yield`.
    Suspended,
    /// Suspended in an `await` or `yield from`.
    Awaiting,
    /// On some thread's stack.
    Executing,
    /// Ended.
    Finished,
}

/// What lies at one address of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its state; `None` for an object that only passes the `await` on.
    pub state: Option<GeneratorState>,
    /// Its frame; `None` for an object without one or when it has finished.
    pub frame: Option<RawFrame>,
    /// `gi_qualname`; null for an object without a frame.
    pub qualname: RemoteAddr,
    /// The awaited object; null when there is none.
    pub next: RemoteAddr,
    /// Ranges of memory (address, length) that decided all this.
    pub pieces: [(RemoteAddr, u64); 3],
}

const NO_PIECE: (RemoteAddr, u64) = (RemoteAddr::NULL, 0);

/// How much of a coroutine or task to fetch ahead when it is first met: its object with the
/// embedded frame and a few locals.
pub const OBJECT_SIZE: u64 = 256;

/// How much of a frame object to fetch ahead: its head, locals and value stack as a rule.
const FRAME_SIZE: u64 = 512;

/// Where the frame of a coroutine is, if it is apart from it: what to fetch ahead of
/// [`read_link`].
#[must_use]
pub fn frame_range(objects: Objects<'_>, coro: RemoteAddr) -> Option<(RemoteAddr, u64)> {
    let GeneratorFrame::Pointer { frame: offset, .. } = objects.layout.generator.frame else {
        return None;
    };
    let frame = objects.view.read_ptr(coro.offset(offset)).ok()?;
    (!frame.is_null()).then_some((frame, FRAME_SIZE))
}

/// Looks at one object of a chain; `None` when it is the chain's end: a future, or an object of
/// which nothing is known.
///
/// # Errors
/// When it cannot be read.
pub fn read_link(
    objects: Objects<'_>,
    caches: &mut Caches,
    addr: RemoteAddr,
) -> Result<Option<Link>, MemoryError> {
    match caches.types.of_object(objects, addr)?.kind {
        TypeKind::Coroutine | TypeKind::Generator | TypeKind::AsyncGenerator => {
            read_generator(objects, addr).map(Some)
        }
        TypeKind::Delegate => Ok(Some(Link {
            state: None,
            frame: None,
            qualname: RemoteAddr::NULL,
            next: objects.view.read_ptr(addr.offset(16))?,
            pieces: [(addr.offset(OB_TYPE), 16), NO_PIECE, NO_PIECE],
        })),
        _ => Ok(None),
    }
}

fn read_generator(objects: Objects<'_>, addr: RemoteAddr) -> Result<Link, MemoryError> {
    let layout = objects.layout;
    let mut bytes = [0; OBJECT_SIZE as usize];
    let (frame_addr, size) = match layout.generator.frame {
        GeneratorFrame::Embedded(offset) => {
            let size = offset + layout.frame.size;
            let place = bytes
                .get_mut(..size as usize)
                .ok_or(MemoryError::implausible(addr, "a generator's layout"))?;
            objects.view.read(addr, place)?;
            (addr.offset(offset), size)
        }
        GeneratorFrame::Pointer { frame: offset, .. } => {
            let size = layout.generator.qualname + 8;
            objects.view.read(addr, &mut bytes[..size as usize])?;
            (Fields(&bytes).ptr(offset), size)
        }
    };
    let mut link = Link {
        state: Some(GeneratorState::Finished),
        frame: None,
        qualname: Fields(&bytes).ptr(layout.generator.qualname),
        next: RemoteAddr::NULL,
        pieces: [(addr.offset(OB_TYPE), size - OB_TYPE), NO_PIECE, NO_PIECE],
    };
    if frame_addr.is_null() {
        return Ok(link);
    }
    let mut frame_bytes = [0; 128];
    let frame_bytes = &mut frame_bytes[..layout.frame.size as usize];
    if let GeneratorFrame::Embedded(offset) = layout.generator.frame {
        let start = offset as usize;
        frame_bytes.copy_from_slice(&bytes[start..start + frame_bytes.len()]);
    } else {
        objects.view.read(frame_addr, frame_bytes)?;
        link.pieces[1] = (frame_addr.offset(24), layout.frame.size - 24);
    }
    let frame = RawFrame::decode(layout, frame_addr, frame_bytes);
    let parts = Parts {
        generator: Fields(&bytes),
        frame: Fields(frame_bytes),
        raw: frame,
    };
    let state = parts.state(objects)?;
    link.state = Some(state);
    if state != GeneratorState::Finished {
        link.frame = Some(frame);
    }
    if state == GeneratorState::Awaiting {
        let slot = parts.awaited_slot(objects);
        link.pieces[2] = (slot, 8);
        let awaited = objects.view.read_ptr(slot)?;
        link.next = if layout.frame.tagged {
            untag(awaited)
        } else {
            awaited
        };
    }
    Ok(link)
}

/// A generator and its frame, as read.
struct Parts<'a> {
    generator: Fields<'a>,
    frame: Fields<'a>,
    raw: RawFrame,
}

impl Parts<'_> {
    fn state(&self, objects: Objects<'_>) -> Result<GeneratorState, MemoryError> {
        let (place, created, suspended, awaiting, executing) = match objects.layout.generator.state
        {
            GeneratorStates::Frame => return self.state_by_frame(objects),
            GeneratorStates::Number {
                place,
                created,
                suspended,
                awaiting,
                executing,
            } => (place, created, suspended, awaiting, executing),
        };
        let number = match place {
            StatePlace::FrameObject(offset) => self.frame.u8(offset).cast_signed(),
            StatePlace::Generator(offset) => self.generator.u8(offset).cast_signed(),
        };
        Ok(if number == created {
            GeneratorState::Created
        } else if number == executing {
            GeneratorState::Executing
        } else if awaiting.contains(&number) && self.awaits(objects)? {
            GeneratorState::Awaiting
        } else if number == suspended {
            GeneratorState::Suspended
        } else {
            GeneratorState::Finished
        })
    }

    /// 3.8 and 3.9: `f_stacktop` is null while the frame executes, `f_lasti` is -1 before it has
    /// started.
    fn state_by_frame(&self, objects: Objects<'_>) -> Result<GeneratorState, MemoryError> {
        let StackTop::Pointer(stack_top) = objects.layout.frame.stack_top else {
            return Ok(GeneratorState::Finished);
        };
        if self.frame.u64(stack_top) == 0 {
            return Ok(GeneratorState::Executing);
        }
        if self.frame.i32(objects.layout.frame.instruction) < 0 {
            return Ok(GeneratorState::Created);
        }
        Ok(if self.awaits(objects)? {
            GeneratorState::Awaiting
        } else {
            GeneratorState::Suspended
        })
    }

    /// Tells an `await` from a `yield`, for a frame that is suspended in one of them.
    fn awaits(&self, objects: Objects<'_>) -> Result<bool, MemoryError> {
        /// `YIELD_FROM` in 3.8 to 3.10 (Include/opcode.h).
        const YIELD_FROM: u8 = 72;
        /// `ob_sval` of `PyBytesObject`.
        const BYTES_DATA: u64 = 32;
        match objects.layout.generator.awaiting {
            AwaitRule::State => Ok(true),
            // The argument of RESUME is 2 after `yield from`, 3 after `await`
            // (Doc/library/dis.rst, 3.11).
            AwaitRule::ResumeArgument => {
                let argument = RemoteAddr(self.raw.instruction).offset(3);
                Ok(objects.view.read_u8(argument)? >= 2)
            }
            AwaitRule::YieldFrom => {
                if self.frame.i32(objects.layout.frame.instruction) < 0 {
                    return Ok(false);
                }
                let bytecode = self.raw.code.offset(objects.layout.code.bytecode);
                let bytecode = objects.view.read_ptr(bytecode)?;
                // One instruction is two bytes; `raw.instruction` is in bytes.
                let opcode = bytecode.offset(BYTES_DATA + self.raw.instruction + 2);
                Ok(objects.view.read_u8(opcode)? == YIELD_FROM)
            }
        }
    }

    /// Where the awaited object is on the value stack.
    fn awaited_slot(&self, objects: Objects<'_>) -> RemoteAddr {
        let end = match objects.layout.frame.stack_top {
            StackTop::Pointer(offset) => self.frame.ptr(offset),
            StackTop::Depth { depth, base } => {
                let entries = u64::from(self.frame.i32(depth).cast_unsigned());
                self.frame.ptr(base).offset(8 * entries)
            }
            StackTop::Index(offset) => {
                let entries = u64::from(self.frame.i32(offset).cast_unsigned());
                let first = objects.layout.frame.localsplus;
                self.raw.addr.offset(first + 8 * entries)
            }
        };
        end.before(objects.layout.generator.await_slot)
    }
}

/// One frame of a chain: its code and line, and the generator's own name where the code has no
/// qualified one.
#[derive(Clone, Debug)]
pub struct Place {
    /// The code that runs.
    pub code: Arc<CodeInfo>,
    /// The line, 0 when unknown.
    pub line: u32,
    /// What to call the function.
    pub function: Arc<str>,
}

/// The place of a frame. For a generator, `qualname` is its name, which code objects before 3.11
/// do not have; null for another frame.
///
/// # Errors
/// When its code cannot be read.
pub fn read_place(
    objects: Objects<'_>,
    caches: &mut Caches,
    frame: &RawFrame,
    qualname: RemoteAddr,
) -> Result<Place, MemoryError> {
    let code = caches.codes.get(objects, frame.code)?;
    let line = frame.line(objects.layout, &code);
    let function = if qualname.is_null() || objects.layout.code.qualname.is_some() {
        code.function.clone()
    } else {
        let (names, texts) = (&mut caches.names, &mut caches.chains);
        names.get(objects, texts, &code, qualname)?
    };
    Ok(Place {
        code,
        line,
        function,
    })
}

/// What names a location without its texts: addresses of code and name, and the line.
type PlaceKey = (usize, usize, u32);

/// Lists of locations, so that equal ones share an allocation.
#[derive(Debug, Default)]
pub struct ChainInterner {
    chains: FxHashMap<Box<[PlaceKey]>, (Chain, Vec<Place>)>,
    texts: FxHashMap<Box<str>, Arc<str>>,
    key: Vec<PlaceKey>,
}

/// Most distinct chains kept; beyond, the interner begins anew.
const MAX_CHAINS: usize = 1 << 16;

impl ChainInterner {
    /// The shared list of these places' locations, in their order.
    pub fn intern(&mut self, places: &[Place]) -> Chain {
        self.key.clear();
        self.key.extend(places.iter().map(|place| {
            let function = place.function.as_ptr().addr();
            (Arc::as_ptr(&place.code).addr(), function, place.line)
        }));
        if let Some((chain, _)) = self.chains.get(self.key.as_slice()) {
            return chain.clone();
        }
        let chain: Chain = places.iter().map(location).collect();
        if self.chains.len() >= MAX_CHAINS {
            self.chains.clear();
        }
        // The places are kept so that the addresses in the key stay theirs.
        let kept = (chain.clone(), places.to_vec());
        self.chains.insert(self.key.as_slice().into(), kept);
        chain
    }

    /// A shared copy of a text.
    pub fn share(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.texts.get(text.as_str()) {
            return known.clone();
        }
        if self.texts.len() >= MAX_CHAINS {
            self.texts.clear();
        }
        let shared: Arc<str> = Arc::from(text.as_str());
        self.texts.insert(text.into(), shared.clone());
        shared
    }
}

fn location(place: &Place) -> Location {
    Location {
        function: place.function.clone(),
        file: place.code.file.clone(),
        line: place.line,
    }
}
