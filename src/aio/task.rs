//! One task with its chain of coroutines.
//!
//! A record names the ranges of memory that decided it. If they are the same when they are read
//! again, all of it was true at one moment in between.

use std::sync::Arc;

use asyncspy_model::stack::Chain;
use asyncspy_model::{LoopId, RemoteAddr, TaskId, WaitsOn};
use rustc_hash::FxHashSet;

use super::Caches;
use super::chain::{GeneratorState, MAX_CHAIN, Place, read_link, read_place};
use super::edges::{TaskEdges, edges_of};
use super::wait_kind::waits_on;
use crate::layout::Layout;
use crate::python::frame::RawFrame;
use crate::python::object::{OB_TYPE, Objects};
use crate::python::types::TypeKind;
use crate::target::image::PageImage;
use crate::target::memory::{Fields, MemoryError, MemoryViewExt, ProcessMemory};

/// Bytes that tell names apart: an int in full, a str's length, hash and beginning.
const NAME_HEAD: u64 = 48;

/// How often a task that changes is tried again.
const ATTEMPTS: usize = 64;

/// `PENDING` of `fut_state` (Modules/_asynciomodule.c).
const PENDING: i32 = 0;

/// The fields of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFields {
    /// The task.
    pub addr: RemoteAddr,
    /// Its class.
    pub class: Arc<str>,
    /// Its loop.
    pub loop_addr: RemoteAddr,
    /// True while it has not ended.
    pub pending: bool,
    /// True if its cancellation was requested.
    pub cancelling: bool,
    /// Its coroutine.
    pub coro: RemoteAddr,
    /// What it waits for; null when it runs or is ready to run.
    pub fut_waiter: RemoteAddr,
    /// Its name: a str or an int.
    pub name: RemoteAddr,
    /// Who awaits it, where the version records that: null, a future, or a set of them.
    pub awaited_by: (RemoteAddr, bool),
    /// The range of memory that holds all this.
    pub piece: (RemoteAddr, u64),
}

/// A task that has not ended.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    /// Its fields.
    pub fields: TaskFields,
    /// [`TypeKind::Task`], or [`TypeKind::Other`] for a task of a Python class.
    pub kind: TypeKind,
    /// Its name, unescaped.
    pub name: Arc<str>,
    /// True if the name was cut.
    pub name_cut: bool,
    /// Its coroutine and what that awaits, innermost first.
    pub chain: Chain,
    /// State of its outermost coroutine.
    pub state: Option<GeneratorState>,
    /// The kind and class of what it waits for.
    pub leaf: Option<Leaf>,
    /// What it waits in, but for the tasks; `None` unless it waits.
    pub waits_on: Option<WaitsOn>,
    /// Who awaits it and whom it awaits.
    pub edges: TaskEdges,
    /// True if it could not be read as of one moment.
    pub torn: bool,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its class.
    pub class: Arc<str>,
    /// Its kind.
    pub kind: TypeKind,
    /// True if it is done, so that the task is about to run.
    pub done: bool,
}

impl TaskFields {
    /// Reads the fields of the task at `addr`: a C task or one of a Python class.
    ///
    /// # Errors
    /// When it cannot be read or is no task.
    pub fn read(
        objects: Objects<'_>,
        caches: &mut Caches,
        addr: RemoteAddr,
    ) -> Result<Self, MemoryError> {
        let info = caches.types.of_object(objects, addr)?;
        let (kind, class) = (info.kind, info.name.clone());
        match kind {
            TypeKind::Task => Self::read_c_task(objects, addr, class),
            TypeKind::Other => Self::read_python_task(objects, addr, class),
            _ => Err(MemoryError::implausible(addr, "a task")),
        }
    }

    fn read_c_task(
        objects: Objects<'_>,
        addr: RemoteAddr,
        class: Arc<str>,
    ) -> Result<Self, MemoryError> {
        let layout = &objects.layout.task;
        let mut bytes = [0; 256];
        let bytes = bytes
            .get_mut(..layout.size as usize)
            .ok_or(MemoryError::implausible(addr, "a task's size"))?;
        objects.view.read(addr, bytes)?;
        let fields = Fields(bytes);
        let must_cancel = fields.u8(layout.must_cancel.0) & layout.must_cancel.1 != 0;
        let requested = layout
            .cancels_requested
            .is_some_and(|offset| fields.i32(offset) > 0);
        // The node at the end changes whenever a neighbour in the list does.
        let end = if layout.node == 0 {
            layout.size
        } else {
            layout.node
        };
        Ok(Self {
            addr,
            class,
            loop_addr: fields.ptr(layout.loop_),
            pending: fields.i32(layout.state) == PENDING,
            cancelling: must_cancel || requested,
            coro: fields.ptr(layout.coro),
            fut_waiter: fields.ptr(layout.fut_waiter),
            name: fields.ptr(layout.name),
            awaited_by: layout.awaited_by.map_or((RemoteAddr::NULL, false), |by| {
                (fields.ptr(by.awaited_by), fields.u8(by.is_set) != 0)
            }),
            piece: (addr.offset(OB_TYPE), end - OB_TYPE),
        })
    }

    fn read_python_task(
        objects: Objects<'_>,
        addr: RemoteAddr,
        class: Arc<str>,
    ) -> Result<Self, MemoryError> {
        let mut task = Self {
            addr,
            class,
            loop_addr: RemoteAddr::NULL,
            pending: true,
            cancelling: false,
            coro: RemoteAddr::NULL,
            fut_waiter: RemoteAddr::NULL,
            name: RemoteAddr::NULL,
            awaited_by: (RemoteAddr::NULL, false),
            piece: objects
                .attribute_range(addr)?
                .ok_or(MemoryError::implausible(addr, "a task"))?,
        };
        for (key, value) in objects.attributes(addr)? {
            // Which of its attributes a class of Python gives a value is known by name alone.
            let name = objects.read_str_up_to(key, 64)?.text;
            match name.as_str() {
                "_loop" => task.loop_addr = value,
                "_coro" => task.coro = value,
                "_name" => task.name = value,
                "_fut_waiter" => task.fut_waiter = objects.not_none(value)?,
                "_state" => task.pending = objects.str_equals(value, "PENDING")?,
                "_must_cancel" => task.cancelling |= objects.read_int(value)? == Some(1),
                "_num_cancels_requested" => {
                    task.cancelling |= objects.read_int(value)? != Some(0);
                }
                "_Future__asyncio_awaited_by" => {
                    let value = objects.not_none(value)?;
                    task.awaited_by = (value, !value.is_null());
                }
                _ => {}
            }
        }
        if task.coro.is_null() {
            return Err(MemoryError::implausible(addr, "a task"));
        }
        Ok(task)
    }
}

impl TaskRecord {
    /// Reads a task through a view; `None` if it has ended or is none yet. `pieces` receives the
    /// ranges that decided the record.
    ///
    /// # Errors
    /// When the task itself cannot be read; a chain that cannot be followed ends early.
    pub fn read(
        objects: Objects<'_>,
        caches: &mut Caches,
        addr: RemoteAddr,
        pieces: &mut Vec<(RemoteAddr, u64)>,
    ) -> Result<Option<Self>, MemoryError> {
        let kind = caches.types.kind_of(objects, addr)?;
        // What dead weak references refer to: nothing else has this type.
        if kind == TypeKind::None {
            return Ok(None);
        }
        let fields = TaskFields::read(objects, caches, addr)?;
        // Without a coroutine it is being made or taken apart; the collector may run meanwhile, so
        // that it takes long. As long as it is registered it has one.
        if !fields.pending || fields.coro.is_null() {
            return Ok(None);
        }
        pieces.push(fields.piece);
        // An ended task's memory may hold a new one, alike in all but its name.
        pieces.push((fields.name, NAME_HEAD));
        let (name, name_cut) = read_name(objects, caches, &fields)?;
        let leaf = read_leaf(objects, caches, fields.fut_waiter, pieces)?;
        let chain = ChainWalk::follow(objects, caches, fields.coro, pieces)?;
        let ChainWalk {
            mut places,
            mut frames,
            state,
        } = chain;
        places.reverse();
        frames.reverse();
        let mut record = Self {
            kind,
            fields,
            name,
            name_cut,
            chain: caches.chains.intern(&places),
            state,
            leaf,
            waits_on: None,
            edges: TaskEdges::default(),
            torn: false,
        };
        if record.is_ending() {
            return Ok(Some(record));
        }
        record.waits_on = waits_on(objects, caches, &record, &frames)?;
        record.edges = edges_of(objects, caches, (&record, &frames), pieces)?;
        Ok(Some(record))
    }

    /// Reads a task that may change meanwhile, by itself, until two reads agree; `None` if it
    /// has ended. After the last attempt the record is marked as torn.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_proven(
        memory: &dyn ProcessMemory,
        layout: &Layout,
        caches: &mut Caches,
        addr: RemoteAddr,
    ) -> Result<Option<Self>, MemoryError> {
        let mut pieces = Vec::new();
        let mut last = Ok(None);
        for _ in 0..ATTEMPTS {
            pieces.clear();
            let image = PageImage::new(memory);
            let objects = Objects {
                view: &image,
                layout,
            };
            last = Self::read(objects, caches, addr, &mut pieces);
            match &last {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => {
                    let again = image.look_again(pieces.iter().copied())?;
                    if again.agrees(&image, &pieces) {
                        return last.map(|record| record.filter(|record| !record.is_ending()));
                    }
                }
                Err(error) if error.is_final() => return last,
                Err(_) => {}
            }
        }
        if let Ok(Some(record)) = &mut last {
            record.torn = true;
        }
        last
    }

    /// True if its coroutine has ended, so that it does at this moment. Only a proven record can
    /// tell.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.state == Some(GeneratorState::Finished)
    }

    /// True if its coroutine was on a thread's stack when it was read.
    #[must_use]
    pub fn is_executing(&self) -> bool {
        self.state == Some(GeneratorState::Executing)
    }

    /// The loop it belongs to.
    #[must_use]
    pub fn loop_id(&self) -> LoopId {
        LoopId(self.fields.loop_addr)
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId(self.fields.addr)
    }
}

/// The name of a task, and whether it was cut.
///
/// # Errors
/// When it cannot be read.
pub fn read_name(
    objects: Objects<'_>,
    caches: &mut Caches,
    fields: &TaskFields,
) -> Result<(Arc<str>, bool), MemoryError> {
    if fields.name.is_null() {
        return Ok((Arc::from(""), false));
    }
    match caches.types.of_object(objects, fields.name)?.kind {
        // From 3.12 on a task without a name has a number until someone asks for its name.
        TypeKind::Int => {
            let number = objects.read_int(fields.name)?.unwrap_or(0);
            Ok((format!("Task-{number}").into(), false))
        }
        TypeKind::Str => {
            let text = objects.read_str(fields.name)?;
            Ok((text.text.into(), text.cut))
        }
        _ => Err(MemoryError::implausible(fields.name, "a task's name")),
    }
}

fn read_leaf(
    objects: Objects<'_>,
    caches: &mut Caches,
    future: RemoteAddr,
    pieces: &mut Vec<(RemoteAddr, u64)>,
) -> Result<Option<Leaf>, MemoryError> {
    if future.is_null() {
        return Ok(None);
    }
    let info = caches.types.of_object(objects, future)?;
    let (kind, class) = (info.kind, info.name.clone());
    pieces.push(type_piece(future));
    let done = match kind {
        TypeKind::Task | TypeKind::Future => {
            let layout = &objects.layout.task;
            pieces.push((future.offset(layout.state), 4));
            objects.view.read_u32(future.offset(layout.state))? != PENDING.cast_unsigned()
        }
        _ => {
            pieces.extend(objects.attribute_pieces(future).into_iter().flatten());
            match objects.attribute(future, "_state") {
                Ok(Some(state)) => !objects.str_equals(state, "PENDING")?,
                _ => false,
            }
        }
    };
    Ok(Some(Leaf { class, kind, done }))
}

/// The range of memory (address, length in bytes) that tells what kind of object lies here.
#[must_use]
pub const fn type_piece(addr: RemoteAddr) -> (RemoteAddr, u64) {
    (addr.offset(OB_TYPE), 8)
}

/// A chain as it is followed, outermost first.
struct ChainWalk {
    places: Vec<Place>,
    frames: Vec<RawFrame>,
    state: Option<GeneratorState>,
}

impl ChainWalk {
    fn follow(
        objects: Objects<'_>,
        caches: &mut Caches,
        coro: RemoteAddr,
        pieces: &mut Vec<(RemoteAddr, u64)>,
    ) -> Result<Self, MemoryError> {
        let mut walk = Self {
            places: Vec::new(),
            frames: Vec::new(),
            state: None,
        };
        let mut visited = FxHashSet::default();
        let mut at = coro;
        while !at.is_null() && walk.frames.len() < MAX_CHAIN && visited.insert(at) {
            let Some(link) = read_link(objects, caches, at)? else {
                pieces.push(type_piece(at));
                break;
            };
            pieces.extend(link.pieces.iter().filter(|(_, len)| *len > 0));
            if walk.state.is_none() {
                walk.state = link.state;
            }
            if let Some(frame) = link.frame {
                walk.places
                    .push(read_place(objects, caches, &frame, link.qualname)?);
                walk.frames.push(frame);
            }
            at = link.next;
        }
        Ok(walk)
    }
}
