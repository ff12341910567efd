//! What the bytes mean in this CPython: byte offsets and named capabilities, as data.
//!
//! This is the only place that knows versions. Offsets come from [`tables`] by minor version,
//! are overridden by what the target publishes ([`published`], 3.13 and later), and are checked
//! once at attach ([`check`](Layout::check)). What an offset cannot say is an enum that the
//! readers match on.

pub mod published;
pub mod tables;
mod types;
pub mod uvloop;
pub mod version;

pub use types::*;
pub use version::PythonVersion;

use published::{AsyncioTable, PublishedTable};

/// Why there is no layout for a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A version that is too old, or too new and publishes no table.
    #[error("Python {0} is not supported")]
    UnsupportedVersion(PythonVersion),
    /// A build without the GIL.
    #[error("Python {0} is a free-threaded build, which is not supported yet")]
    FreeThreaded(PythonVersion),
    /// The table that the target publishes contradicts itself.
    #[error("the table of offsets in the target is damaged: {0} is {1}")]
    Damaged(&'static str, u64),
}

impl Layout {
    /// True if the frames of plain calls lie one behind the other on a stack of the thread's own
    /// (`_PyInterpreterFrame`, 3.11 and later); before, each is an object on the heap.
    #[must_use]
    pub const fn has_data_stack(&self) -> bool {
        matches!(self.generator.frame, GeneratorFrame::Embedded(_))
    }

    /// The layout of `version` without any table of the target: 3.8 to 3.12.
    ///
    /// # Errors
    /// [`LayoutError::UnsupportedVersion`].
    pub fn from_version(version: PythonVersion) -> Result<Self, LayoutError> {
        let minor = (version.major == 3).then_some(version.minor);
        let layout = match minor {
            Some(8) => tables::V3_8,
            Some(9) => tables::V3_9,
            Some(10) => tables::V3_10,
            Some(11) => tables::V3_11,
            Some(12) => tables::V3_12,
            _ => return Err(LayoutError::UnsupportedVersion(version)),
        };
        layout.check()?;
        Ok(Self { version, ..layout })
    }

    /// The layout of a target that publishes its offsets: 3.13 and later. A minor version that
    /// is newer than what this program was tested with is read through the newest known table
    /// and marked as untested.
    ///
    /// # Errors
    /// [`LayoutError::UnsupportedVersion`] below 3.13, [`LayoutError::FreeThreaded`],
    /// [`LayoutError::Damaged`].
    pub fn from_published(table: &PublishedTable) -> Result<Self, LayoutError> {
        let version = table.version();
        if version.major != 3 || version.minor < 13 {
            return Err(LayoutError::UnsupportedVersion(version));
        }
        if table.free_threaded() {
            return Err(LayoutError::FreeThreaded(version));
        }
        let base = match version.minor {
            13 => tables::V3_13,
            14 => tables::V3_14,
            _ => tables::V3_15,
        };
        let mut layout = Self {
            version,
            tested: version.minor <= tables::NEWEST_TESTED_MINOR,
            ..base
        };
        table.override_offsets(&mut layout);
        layout.check()?;
        Ok(layout)
    }

    /// Takes over the offsets that `_asyncio` publishes (3.14 and later).
    ///
    /// # Errors
    /// [`LayoutError::Damaged`].
    pub fn with_asyncio_table(self, table: &AsyncioTable) -> Result<Self, LayoutError> {
        let mut layout = self;
        table.override_offsets(&mut layout);
        layout.check()?;
        Ok(layout)
    }

    /// True if this version publishes its task offsets in `_asyncio`, which must then be found
    /// before tasks can be read.
    #[must_use]
    pub fn wants_asyncio_table(&self) -> bool {
        matches!(
            self.tasks,
            TaskRegistry::Lists | TaskRegistry::UnpublishedLists
        )
    }

    /// Checks that offsets are aligned and within the objects' plausible sizes, so that readers
    /// need not.
    ///
    /// # Errors
    /// [`LayoutError::Damaged`] names the first that is not.
    pub fn check(&self) -> Result<(), LayoutError> {
        const OBJECT: u64 = 4096;
        const INTERPRETER: u64 = 1 << 21;
        let bounded = [
            (
                "interpreters.head",
                self.runtime.interpreters_head,
                INTERPRETER,
            ),
            ("interpreter.next", self.interpreter.next, INTERPRETER),
            (
                "interpreter.threads",
                self.interpreter.threads_head,
                INTERPRETER,
            ),
            ("interpreter.modules", self.interpreter.modules, INTERPRETER),
            ("interpreter.sysdict", self.interpreter.sysdict, INTERPRETER),
            ("thread.next", self.thread.next, OBJECT),
            ("thread.thread_id", self.thread.thread_id, OBJECT),
            ("thread.dict", self.thread.dict, OBJECT),
            ("frame.previous", self.frame.previous, OBJECT),
            ("frame.code", self.frame.code, OBJECT),
            ("frame.instruction", self.frame.instruction, OBJECT),
            ("frame.localsplus", self.frame.localsplus, OBJECT),
            ("code.filename", self.code.filename, OBJECT),
            ("code.name", self.code.name, OBJECT),
            ("code.linetable", self.code.linetable, OBJECT),
            ("code.bytecode", self.code.bytecode, OBJECT),
            ("task.coro", self.task.coro, OBJECT),
            ("task.fut_waiter", self.task.fut_waiter, OBJECT),
            ("task.name", self.task.name, OBJECT),
            ("task.node", self.task.node, OBJECT),
            ("str.ascii_data", self.str_.ascii_data, OBJECT),
            ("tuple.items", self.tuple_items, OBJECT),
            ("type.name", self.type_.name, OBJECT),
        ];
        for (what, offset, bound) in bounded {
            if offset >= bound || offset % 8 != 0 {
                return Err(LayoutError::Damaged(what, offset));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_passes_its_own_check() {
        for layout in [
            tables::V3_8,
            tables::V3_9,
            tables::V3_10,
            tables::V3_11,
            tables::V3_12,
            tables::V3_13,
            tables::V3_14,
            tables::V3_15,
        ] {
            assert_eq!(layout.check(), Ok(()), "{}", layout.version);
        }
    }

    #[test]
    fn an_offset_beyond_reason_is_refused() {
        let mut layout = tables::V3_12;
        layout.frame.previous = 1 << 40;
        assert_eq!(
            layout.check(),
            Err(LayoutError::Damaged("frame.previous", 1 << 40))
        );
    }

    #[test]
    fn old_versions_are_refused_by_name() {
        let version = PythonVersion::new(3, 7, 16);
        let error = Layout::from_version(version).unwrap_err();
        assert_eq!(error.to_string(), "Python 3.7.16 is not supported");
    }
}
