//! Every task of an interpreter, read in bulk and proven by a second read.

use std::sync::Arc;

use asyncspy_model::{FaultKind, Faults, RemoteAddr};

use super::Caches;
use super::census_memo::CensusMemo;
use super::chain::{OBJECT_SIZE, frame_range, read_link};
use super::task::{TaskFields, TaskRecord};
use crate::layout::Layout;
use crate::python::object::Objects;
use crate::target::image::PageImage;
use crate::target::memory::{MemoryError, ProcessMemory};

/// Bytes before an object that belong to it: the collector's head and the managed dict.
const BEFORE: u64 = 32;

/// How many tasks are fetched together: as many as stay in the processor's cache until they have
/// been read.
const BATCH: usize = 256;

/// How deep chains are followed to fetch them ahead; what lies deeper is fetched as it is met.
const SCOUTED: usize = 32;

/// The tasks that have not ended, in the order of their addresses as given.
#[derive(Debug, Default)]
pub struct Census {
    /// The tasks.
    pub records: Vec<Arc<TaskRecord>>,
    /// Tasks that could not be read; they may have ended.
    pub unreadable: Vec<RemoteAddr>,
}

/// Reads all these tasks, once: what was read of them is not kept.
///
/// # Errors
/// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
pub fn read_tasks_once(
    memory: &dyn ProcessMemory,
    layout: &Layout,
    caches: &mut Caches,
    addrs: &[RemoteAddr],
) -> Result<Census, MemoryError> {
    let mut reader = Reader {
        layout,
        caches,
        now: &PageImage::new(memory),
    };
    let mut slots = vec![None; addrs.len()];
    let mut census = Census::default();
    reader.read_changed(addrs, &mut slots, None, &mut census)?;
    census.records = slots.into_iter().flatten().collect();
    Ok(census)
}

/// Reads all these tasks, and keeps what was read for the next time.
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
    // One that is left in the middle of a round is none.
    let mut last = std::mem::take(memo);
    let now = last.begin_round(memory)?;
    let known = addrs.iter().map(|addr| last.recall(&now, *addr));
    let mut slots: Vec<Option<Arc<TaskRecord>>> = known.collect();
    let mut reader = Reader {
        layout,
        caches,
        now: &now,
    };
    let mut census = Census::default();
    reader.read_changed(addrs, &mut slots, Some(&mut last), &mut census)?;
    census.records = slots.into_iter().flatten().collect();
    last.end_round(now);
    *memo = last;
    Ok(census)
}

/// Reads the tasks that have changed.
struct Reader<'a, 'm> {
    layout: &'a Layout,
    caches: &'a mut Caches,
    now: &'a PageImage<'m>,
}

impl Reader<'_, '_> {
    /// Reads those that have no record yet, neighbours together. Without a memo, the pages of one
    /// batch make room for those of the next, which then stay in the processor's cache.
    fn read_changed(
        &mut self,
        addrs: &[RemoteAddr],
        slots: &mut [Option<Arc<TaskRecord>>],
        mut memo: Option<&mut CensusMemo>,
        census: &mut Census,
    ) -> Result<(), MemoryError> {
        let changed = (0..addrs.len()).filter(|at| slots[*at].is_none());
        let mut changed: Vec<usize> = changed.collect();
        changed.sort_unstable_by_key(|at| addrs[*at]);
        for batch in changed.chunks(BATCH) {
            self.read_batch(batch, addrs, slots, memo.as_deref_mut(), census)?;
            if memo.is_none() {
                self.now.clear();
            }
        }
        Ok(())
    }

    fn read_batch(
        &mut self,
        batch: &[usize],
        addrs: &[RemoteAddr],
        slots: &mut [Option<Arc<TaskRecord>>],
        mut memo: Option<&mut CensusMemo>,
        census: &mut Census,
    ) -> Result<(), MemoryError> {
        let objects = Objects {
            view: self.now,
            layout: self.layout,
        };
        let mut pieces = Vec::new();
        let mut drafts = Vec::with_capacity(batch.len());
        self.fetch_ahead(objects, batch.iter().map(|at| addrs[*at]))?;
        for at in batch {
            let first = pieces.len();
            let draft = TaskRecord::read(objects, self.caches, addrs[*at], &mut pieces);
            if let Err(error) = draft
                && error.is_final()
            {
                return Err(error);
            }
            let draft = draft.map(|record| record.map(Arc::new));
            drafts.push((*at, draft, first..pieces.len()));
        }
        let again = self.now.look_again(pieces.iter().copied())?;
        for (at, draft, range) in drafts {
            match draft {
                Ok(Some(record)) if again.agrees(self.now, &pieces[range.clone()]) => {
                    if record.is_ending() {
                        continue;
                    }
                    slots[at] = Some(match &mut memo {
                        Some(memo) => memo.keep(&pieces[range], record),
                        None => record,
                    });
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

    /// Fetches tasks and their chains, one link of all chains after the other.
    fn fetch_ahead(
        &mut self,
        objects: Objects<'_>,
        addrs: impl Iterator<Item = RemoteAddr> + Clone,
    ) -> Result<(), MemoryError> {
        let head = |addr: RemoteAddr| (addr.before(BEFORE), BEFORE + OBJECT_SIZE);
        self.now.prefetch(addrs.clone().map(head))?;
        self.caches.types.expect(objects, addrs.clone())?;
        let (mut coros, mut others, mut codes) = (Vec::new(), Vec::new(), Vec::new());
        for addr in addrs {
            if let Ok(fields) = TaskFields::read(objects, self.caches, addr) {
                coros.push(fields.coro);
                others.extend([fields.fut_waiter, fields.name]);
            }
        }
        for _ in 0..SCOUTED {
            let links = coros.iter().chain(&others).filter(|addr| !addr.is_null());
            self.now.prefetch(links.copied().map(head))?;
            let frames = coros.iter().filter_map(|coro| frame_range(objects, *coro));
            self.now.prefetch(frames.collect::<Vec<_>>())?;
            let met = coros.iter().chain(&others).filter(|addr| !addr.is_null());
            self.caches.types.expect(objects, met.copied())?;
            others.clear();
            coros.retain_mut(|addr| match read_link(objects, self.caches, *addr) {
                Ok(Some(link)) => {
                    codes.extend(link.frame.map(|frame| frame.code));
                    *addr = link.next;
                    !addr.is_null()
                }
                _ => false,
            });
            if coros.is_empty() {
                break;
            }
        }
        self.caches.codes.expect(objects, codes.into_iter())
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
