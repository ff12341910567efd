//! The sets in which CPython keeps tasks: WeakSets of all or of scheduled tasks, and plain sets
//! of eager ones.

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashSet;

use crate::layout::Layout;
use crate::python::object::{Objects, SetHead, set_slot};
use crate::python::types::{TypeCache, TypeKind};
use crate::target::image::PageImage;
use crate::target::memory::{MemoryError, ProcessMemory, piece};

/// How often a table that is replaced while it is read is tried again.
const ATTEMPTS: usize = 8;

/// `smalltable` of `PySetObject`, where a set of few items has its slots
/// (Include/cpython/setobject.h).
const SMALL_TABLE: u64 = 64;

/// Number of its slots less one.
const SMALL_MASK: u64 = 7;

/// Where it ends.
const SMALL_END: usize = SMALL_TABLE as usize + 16 * (SMALL_MASK as usize + 1);

/// The members of a set.
#[derive(Debug, Default)]
pub struct ReadSet {
    /// What the slots hold.
    pub members: Vec<RemoteAddr>,
    /// True if every member that was in the set throughout the read is among them.
    pub proven: bool,
}

/// Reads the slots of the `set` at `addr` while it may change.
///
/// A member keeps its slot until the table is replaced. So if the table is the same before and
/// after its slots were read, and its number of ever-used slots has not shrunk, no member that
/// stayed was missed.
///
/// # Errors
/// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
pub fn read_set(
    memory: &dyn ProcessMemory,
    layout: &Layout,
    addr: RemoteAddr,
) -> Result<ReadSet, MemoryError> {
    let objects = Objects {
        view: memory.as_view(),
        layout,
    };
    let mut best = ReadSet::default();
    for _ in 0..ATTEMPTS {
        match read_once(memory, objects, addr) {
            Ok(set) if set.proven => return Ok(set),
            Ok(set) => best = set,
            Err(error) if error.is_final() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(best)
}

fn read_once(
    memory: &dyn ProcessMemory,
    objects: Objects<'_>,
    addr: RemoteAddr,
) -> Result<ReadSet, MemoryError> {
    let mut bytes = [0; SMALL_END + SetHead::SIZE];
    let pieces = [SMALL_END, SetHead::SIZE].map(|len| piece(addr, len));
    let got = memory.gather(&pieces, &mut bytes)?;
    let (whole, head_after) = bytes.split_at(SMALL_END);
    let implausible = MemoryError::implausible(addr, "a set");
    let before = SetHead::decode(whole).ok_or(implausible)?;
    if got == bytes.len() && before.table == addr.offset(SMALL_TABLE) && before.mask == SMALL_MASK {
        let after = SetHead::decode(head_after).ok_or(implausible)?;
        let slots = whole.get(SMALL_TABLE as usize..).unwrap_or_default();
        return Ok(ReadSet::new(slots, before, after));
    }
    let mut slots = vec![0; 16 * (before.mask as usize + 1)];
    objects.view.read(before.table, &mut slots)?;
    Ok(ReadSet::new(&slots, before, objects.set_head(addr)?))
}

impl ReadSet {
    /// What the slots hold that were read after the one head and before the other.
    fn new(slots: &[u8], before: SetHead, after: SetHead) -> Self {
        Self {
            members: slots.chunks_exact(16).filter_map(set_slot).collect(),
            proven: same_table(before, after),
        }
    }
}

fn same_table(before: SetHead, after: SetHead) -> bool {
    before.table == after.table && before.mask == after.mask && before.fill <= after.fill
}

/// The members of the WeakSet at `addr`: its `data` is a set of weak references. Where one is
/// dead, Python's `None` is among them: it takes no read more to tell when the members are read.
///
/// # Errors
/// As [`read_set`]; and when the WeakSet itself makes no sense.
pub fn read_weak_set(
    image: &PageImage<'_>,
    layout: &Layout,
    types: &mut TypeCache,
    addr: RemoteAddr,
) -> Result<ReadSet, MemoryError> {
    let objects = Objects {
        view: image,
        layout,
    };
    let data = objects
        .attribute(addr, "data")?
        .ok_or(MemoryError::implausible(addr, "a WeakSet"))?;
    let set = read_set(image.memory(), layout, data)?;
    // What was fetched before the set was read may hold what lay there before its members.
    let image = PageImage::new(image.memory());
    let objects = Objects {
        view: &image,
        layout,
    };
    image.prefetch(set.members.iter().map(|weakref| (*weakref, 24)))?;
    let mut members = Vec::new();
    let mut doubtful = Vec::new();
    for weakref in set.members {
        match referent(objects, types, weakref) {
            Ok(target) => members.extend(target),
            Err(error) if error.is_final() => return Err(error),
            Err(_) => doubtful.push(weakref),
        }
    }
    let mut proven = set.proven;
    if !doubtful.is_empty() {
        // Of what has left the set meanwhile nothing is lacking.
        let now: FxHashSet<RemoteAddr> = read_set(image.memory(), layout, data)?
            .members
            .into_iter()
            .collect();
        proven &= !doubtful.iter().any(|weakref| now.contains(weakref));
    }
    Ok(ReadSet { members, proven })
}

/// What a weak reference refers to: Python's `None`, when it is dead; `None`, when it is no weak
/// reference any more: it died with its task.
fn referent(
    objects: Objects<'_>,
    types: &mut TypeCache,
    weakref: RemoteAddr,
) -> Result<Option<RemoteAddr>, MemoryError> {
    if types.kind_of(objects, weakref)? != TypeKind::WeakRef {
        return Ok(None);
    }
    let target = objects.weakref_target(weakref)?;
    Ok((!target.is_null()).then_some(target))
}
