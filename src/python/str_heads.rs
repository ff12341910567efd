//! Looking for a name among many strings.
//!
//! They lie all over the heap. Their first bytes alone are read, all in one call: a page for each
//! would be most of what a first look at a process reads.

use asyncspy_model::RemoteAddr;

use super::object::{ASCII, COMPACT, OB_SIZE, Objects, STR_STATE};
use crate::target::memory::{Fields, MemoryError, Piece, piece};

/// The first bytes of some objects, enough to compare them with a name.
pub(super) struct StrHeads<'a> {
    objects: Objects<'a>,
    /// Bytes of each.
    len: usize,
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    arrived: Vec<bool>,
}

impl<'a> StrHeads<'a> {
    /// To be compared with names of up to so many bytes.
    pub fn new(objects: Objects<'a>, longest: usize) -> Self {
        Self {
            objects,
            len: objects.layout.str_.ascii_data as usize + longest,
            pieces: Vec::new(),
            bytes: Vec::new(),
            arrived: Vec::new(),
        }
    }

    /// Reads those of these objects.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] and [`MemoryError::Denied`] only.
    pub fn read(&mut self, strings: impl Iterator<Item = RemoteAddr>) -> Result<(), MemoryError> {
        self.pieces.clear();
        self.pieces.extend(strings.map(|at| piece(at, self.len)));
        self.bytes.resize(self.len * self.pieces.len(), 0);
        self.arrived = self.objects.view.read_each(&self.pieces, &mut self.bytes)?;
        Ok(())
    }

    /// As [`Objects::str_equals`], of the object that was the `nth` and lies at `addr`.
    ///
    /// # Errors
    /// As there.
    pub fn equals(&self, nth: usize, addr: RemoteAddr, name: &str) -> Result<bool, MemoryError> {
        let head = self.bytes.get(nth * self.len..(nth + 1) * self.len);
        let arrived = self.arrived.get(nth).copied().unwrap_or(false);
        let Some(head) = head.filter(|_| arrived) else {
            return self.objects.str_equals(addr, name);
        };
        let fields = Fields(head);
        if fields.u64(OB_SIZE) != name.len() as u64 {
            return Ok(false);
        }
        let state = fields.u8(STR_STATE);
        if state & COMPACT == 0 {
            return self.objects.str_equals(addr, name);
        }
        let text = head.get(self.objects.layout.str_.ascii_data as usize..);
        let text = text.and_then(|text| text.get(..name.len()));
        Ok(state & ASCII != 0 && text == Some(name.as_bytes()))
    }
}
