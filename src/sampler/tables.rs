//! Stacks and tasks by number, defined in the stream before their first use.

use std::sync::Arc;

use asyncspy_model::stack::StackFrame;
use asyncspy_model::{Event, FrameKind, Location, RemoteAddr, StackId};
use rustc_hash::FxHashMap;

use crate::aio::Caches;
use crate::aio::chain::read_place;
use crate::aio::generator_names;
use crate::python::Python;
use crate::python::code::CodeInfo;
use crate::python::frame::{Owner, RawFrame};
use crate::python::object::Objects;
use crate::target::gather::{Gather, Gathered};

/// Most distinct stacks that are remembered; beyond, all are defined anew. The analysis keeps at
/// least as many.
const MAX_STACKS: usize = 1 << 10;

/// What names a frame without its texts: addresses of its code and name, line, kind.
type FrameKey = (usize, usize, u32, FrameKind);

/// What tells a frame without looking at its code: address of the code, position in it or of the
/// innermost frame its line, whether a generator has it.
type RawKey = (RemoteAddr, u64, bool);

/// Distinct stacks.
#[derive(Debug, Default)]
pub struct StackTable {
    ids: FxHashMap<Box<[FrameKey]>, StackId>,
    /// Stacks of this epoch of the code cache.
    raw_ids: FxHashMap<Box<[RawKey]>, StackId>,
    raw_key: Vec<RawKey>,
    key: Vec<FrameKey>,
    frames: Vec<StackFrame>,
    /// What the keys' addresses belong to, so that they are not used again.
    kept: Vec<Arc<[StackFrame]>>,
    codes: Vec<Arc<CodeInfo>>,
    gather: Gather,
    next_id: u32,
}

impl StackTable {
    /// Begins an epoch: code may be at the addresses of other code by now.
    pub fn begin_epoch(&mut self) {
        self.raw_ids.clear();
    }

    /// The number of a stack, and whether all of its frames could be read; `None` when none could.
    /// `events` receives its definition at the first time.
    pub fn intern(
        &mut self,
        python: &Python,
        caches: &mut Caches,
        frames: &[RawFrame],
        events: &mut Vec<Event>,
    ) -> Option<(StackId, bool)> {
        let is_told = self.take_raw_key(python, caches, frames);
        if is_told && let Some(id) = self.raw_ids.get(self.raw_key.as_slice()) {
            return Some((*id, true));
        }
        let id = self.intern_places(python, caches, frames, events)?;
        let has_place = |frame: &&RawFrame| frame.owner != Owner::Shim;
        // What could not be read this time may be read the next.
        let is_whole = self.key.len() == frames.iter().filter(has_place).count();
        if is_told && is_whole {
            if self.raw_ids.len() >= MAX_STACKS {
                self.raw_ids.clear();
            }
            self.raw_ids.insert(self.raw_key.as_slice().into(), id);
        }
        Some((id, is_whole))
    }

    /// False where code does not tell what its frames are called.
    fn take_raw_key(&mut self, python: &Python, caches: &mut Caches, frames: &[RawFrame]) -> bool {
        let objects = Objects {
            view: &python.memory,
            layout: &python.layout,
        };
        let raw = |frame: &RawFrame| match frame.owner {
            Owner::Shim => (RemoteAddr::NULL, 0, false),
            Owner::Thread => (frame.code, frame.instruction, false),
            Owner::Generator(_) => (frame.code, frame.instruction, true),
        };
        self.raw_key.clear();
        self.raw_key.extend(frames.iter().map(raw));
        let code = frames
            .first()
            .map(|frame| caches.codes.get(objects, frame.code));
        if let (Some(Ok(code)), Some(key), Some(frame)) =
            (code, self.raw_key.first_mut(), frames.first())
        {
            key.1 = u64::from(frame.line(&python.layout, &code));
        }
        python.layout.code.qualname.is_some()
    }

    fn intern_places(
        &mut self,
        python: &Python,
        caches: &mut Caches,
        frames: &[RawFrame],
        events: &mut Vec<Event>,
    ) -> Option<StackId> {
        self.key.clear();
        self.frames.clear();
        self.gather.clear();
        generator_names::plan(&python.layout, frames, &mut self.gather);
        self.gather.run(&python.memory).ok()?;
        let first_code = self.codes.len();
        let gather = std::mem::take(&mut self.gather);
        let objects = Objects {
            view: &Gathered::new(&gather, &python.memory),
            layout: &python.layout,
        };
        for frame in frames {
            self.add_frame(objects, caches, frame);
        }
        self.gather = gather;
        if self.key.is_empty() {
            return None;
        }
        if let Some(id) = self.ids.get(self.key.as_slice()) {
            self.codes.truncate(first_code);
            return Some(*id);
        }
        if self.ids.len() >= MAX_STACKS {
            self.ids.clear();
            self.raw_ids.clear();
            self.kept.clear();
            self.codes.drain(..first_code);
        }
        let id = StackId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let shared: Arc<[StackFrame]> = self.frames.as_slice().into();
        self.kept.push(shared.clone());
        self.ids.insert(self.key.as_slice().into(), id);
        events.push(Event::Stack { id, frames: shared });
        Some(id)
    }

    fn add_frame(&mut self, objects: Objects<'_>, caches: &mut Caches, frame: &RawFrame) {
        let kind = match frame.owner {
            Owner::Shim => return,
            Owner::Thread => FrameKind::Sync,
            Owner::Generator(_) => FrameKind::Coroutine,
        };
        let name = generator_names::qualname(objects, frame);
        let name = name.unwrap_or(RemoteAddr::NULL);
        let Ok(mut place) = read_place(objects, caches, frame, name) else {
            return;
        };
        // Another generator of this code may be there by now, and have another name.
        if kind == FrameKind::Coroutine
            && let Some(only) = caches.names.only(&place.code)
        {
            place.function = only;
        }
        // A generator that is merely iterated is no part of an await chain.
        let kind = if place.code.is_awaitable {
            kind
        } else {
            FrameKind::Sync
        };
        let function = place.function.as_ptr().addr();
        let code = Arc::as_ptr(&place.code).addr();
        self.key.push((code, function, place.line, kind));
        self.frames.push(StackFrame {
            location: Location {
                function: place.function,
                file: place.code.file.clone(),
                line: place.line,
            },
            kind,
        });
        self.codes.push(place.code);
    }
}
