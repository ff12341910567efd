//! Every task of an interpreter, read in bulk and proven by a second read.

use std::ops::Range;
use std::sync::Arc;

use asyncspy_model::{FaultKind, Faults, RemoteAddr};
use rustc_hash::FxHashMap;

use super::Caches;
use super::chain::OBJECT_SIZE;
use super::task::{TaskRecord, agree};
use crate::layout::Layout;
use crate::python::object::Objects;
use crate::target::image::{PageImage, Pages};
use crate::target::memory::{MemoryError, ProcessMemory};

/// Bytes before an object that belong to it: the collector's head and the managed dict.
const BEFORE: u64 = 32;

/// The tasks that have not ended, in the order of their addresses as given.
#[derive(Debug, Default)]
pub struct Census {
    /// The tasks.
    pub records: Vec<Arc<TaskRecord>>,
    /// Tasks that could not be read; they may have ended.
    pub unreadable: Vec<RemoteAddr>,
}

/// What the last census of an interpreter has read. A task whose deciding ranges hold the same
/// bytes now is the same as it was, and has been so at every moment at which it was looked at.
#[derive(Debug, Default)]
pub struct CensusMemo {
    known: FxHashMap<RemoteAddr, Known>,
    pieces: Vec<(RemoteAddr, u64)>,
    /// Holds the bytes of `pieces`.
    pages: Pages,
    /// Space to read into.
    spare: [Pages; 2],
}

#[derive(Debug)]
struct Known {
    record: Arc<TaskRecord>,
    pieces: Range<usize>,
}

/// Reads all these tasks.
///
/// # Errors
/// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
pub fn read_tasks(
    memory: &dyn ProcessMemory,
    layout: &Layout,
    caches: &mut Caches,
    memo: &mut CensusMemo,
    addrs: &[RemoteAddr],
) -> Result<Census, MemoryError> {
    let [spare, other] = std::mem::take(&mut memo.spare);
    let before = PageImage::holding(memory, std::mem::take(&mut memo.pages));
    let now = PageImage::reusing(memory, spare);
    let fetched = fetch(&now, memo, addrs);
    let mut next = CensusMemo::default();
    let mut slots: Vec<Option<Arc<TaskRecord>>> = Vec::with_capacity(addrs.len());
    for addr in addrs {
        let kept = memo.known.remove(addr).filter(|known| {
            fetched.is_ok() && agree(&before, &now, &memo.pieces[known.pieces.clone()])
        });
        slots.push(kept.map(|known| {
            let pieces = &memo.pieces[known.pieces.clone()];
            next.keep(known.record, pieces)
        }));
    }
    fetched?;
    let again = PageImage::reusing(memory, other);
    let mut reader = Reader {
        layout,
        caches,
        now: &now,
        again: &again,
    };
    let mut census = Census::default();
    reader.read_changed(addrs, &mut slots, &mut next, &mut census)?;
    census.records = slots.into_iter().flatten().collect();
    next.pages = now.into_pages();
    next.spare = [before.into_pages(), again.into_pages()];
    *memo = next;
    Ok(census)
}

/// Fetches what decided the tasks that are known, and the objects of those that are not.
fn fetch(now: &PageImage<'_>, memo: &CensusMemo, addrs: &[RemoteAddr]) -> Result<(), MemoryError> {
    let known = addrs.iter().filter_map(|addr| memo.known.get(addr));
    let of_known = known.flat_map(|known| memo.pieces[known.pieces.clone()].iter().copied());
    let unknown = addrs.iter().filter(|addr| !memo.known.contains_key(addr));
    let of_unknown = unknown.map(|addr| (addr.before(BEFORE), BEFORE + OBJECT_SIZE));
    now.prefetch(of_known.chain(of_unknown))
}

impl CensusMemo {
    fn keep(&mut self, record: Arc<TaskRecord>, pieces: &[(RemoteAddr, u64)]) -> Arc<TaskRecord> {
        let first = self.pieces.len();
        self.pieces.extend_from_slice(pieces);
        let known = Known {
            record: record.clone(),
            pieces: first..self.pieces.len(),
        };
        self.known.insert(record.fields.addr, known);
        record
    }
}

/// Reads the tasks that have changed.
struct Reader<'a, 'm> {
    layout: &'a Layout,
    caches: &'a mut Caches,
    now: &'a PageImage<'m>,
    /// A second look at what decided them.
    again: &'a PageImage<'m>,
}

impl Reader<'_, '_> {
    fn read_changed(
        &mut self,
        addrs: &[RemoteAddr],
        slots: &mut [Option<Arc<TaskRecord>>],
        memo: &mut CensusMemo,
        census: &mut Census,
    ) -> Result<(), MemoryError> {
        let objects = Objects {
            view: self.now,
            layout: self.layout,
        };
        let mut pieces = Vec::new();
        let mut drafts = Vec::new();
        for (at, addr) in addrs.iter().enumerate() {
            if slots[at].is_some() {
                continue;
            }
            let first = pieces.len();
            let draft = TaskRecord::read(objects, self.caches, *addr, &mut pieces);
            if let Err(error) = draft
                && error.is_final()
            {
                return Err(error);
            }
            drafts.push((at, draft, first..pieces.len()));
        }
        self.again.prefetch(pieces.iter().copied())?;
        for (at, draft, range) in drafts {
            match draft {
                Ok(Some(record)) if agree(self.now, self.again, &pieces[range.clone()]) => {
                    slots[at] = Some(memo.keep(Arc::new(record), &pieces[range]));
                }
                Ok(None) => {}
                _ => {
                    let memory = self.now.memory();
                    slots[at] = census.read_proven(memory, self.layout, self.caches, addrs[at])?;
                }
            }
        }
        Ok(())
    }
}

impl Census {
    /// Reads one task by itself; `None` if it has ended or could not be read.
    fn read_proven(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        caches: &mut Caches,
        addr: RemoteAddr,
    ) -> Result<Option<Arc<TaskRecord>>, MemoryError> {
        match TaskRecord::read_proven(memory, layout, caches, addr) {
            Ok(record) => Ok(record.map(Arc::new)),
            Err(error) if error.is_final() => Err(error),
            Err(_) => {
                self.unreadable.push(addr);
                Ok(None)
            }
        }
    }

    /// Reads one task by itself and adds it, unless it has ended.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn add_proven(
        &mut self,
        memory: &dyn ProcessMemory,
        layout: &Layout,
        caches: &mut Caches,
        addr: RemoteAddr,
    ) -> Result<(), MemoryError> {
        let record = self.read_proven(memory, layout, caches, addr)?;
        self.records.extend(record);
        Ok(())
    }

    /// Counts what is torn or cut.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        let count = |of: fn(&TaskRecord) -> bool| {
            self.records.iter().filter(|record| of(record)).count() as u64
        };
        faults.add_many(FaultKind::TaskTorn, count(|record| record.torn));
        faults.add_many(FaultKind::TextCut, count(|record| record.name_cut));
        faults
    }
}
