//! Every task of an interpreter, read in bulk and proven by a second read.

use asyncspy_model::{FaultKind, Faults, RemoteAddr};

use super::Caches;
use super::chain::OBJECT_SIZE;
use super::task::{TaskRecord, agree};
use crate::layout::Layout;
use crate::python::object::Objects;
use crate::target::image::PageImage;
use crate::target::memory::{MemoryError, ProcessMemory};

/// Bytes before an object that belong to it: the collector's head and the managed dict.
const BEFORE: u64 = 32;

/// The tasks that have not ended, in the order of their addresses as given.
#[derive(Debug, Default)]
pub struct Census {
    /// The tasks.
    pub records: Vec<TaskRecord>,
    /// Tasks that could not be read; they may have ended.
    pub unreadable: Vec<RemoteAddr>,
}

/// Reads all these tasks.
///
/// # Errors
/// [`MemoryError::Gone`], [`MemoryError::Denied`], [`MemoryError::Budget`].
pub fn read_tasks(
    image: &PageImage<'_>,
    layout: &Layout,
    caches: &mut Caches,
    addrs: &[RemoteAddr],
) -> Result<Census, MemoryError> {
    image.prefetch(
        addrs
            .iter()
            .map(|addr| (addr.before(BEFORE), BEFORE + OBJECT_SIZE)),
    )?;
    let objects = Objects {
        view: image,
        layout,
    };
    let mut pieces = Vec::new();
    let mut drafts = Vec::with_capacity(addrs.len());
    for addr in addrs {
        let first = pieces.len();
        let draft = TaskRecord::read(objects, caches, *addr, &mut pieces);
        if let Err(error) = draft
            && error.is_final()
        {
            return Err(error);
        }
        drafts.push((*addr, draft, first..pieces.len()));
    }
    let again = PageImage::new(image.memory());
    again.prefetch(pieces.iter().copied())?;
    let mut census = Census::default();
    for (addr, draft, range) in drafts {
        match draft {
            Ok(Some(record)) if agree(image, &again, &pieces[range]) => census.records.push(record),
            Ok(None) => {}
            _ => census.add_proven(image.memory(), layout, caches, addr)?,
        }
    }
    Ok(census)
}

impl Census {
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
        match TaskRecord::read_proven(memory, layout, caches, addr) {
            Ok(Some(record)) => self.records.push(record),
            Ok(None) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(_) => self.unreadable.push(addr),
        }
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
