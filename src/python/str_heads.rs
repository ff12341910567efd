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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tables;
    use crate::target::memory::MemoryView;

    /// Bytes that lie at this address, and nothing behind them.
    struct Island(u64, Vec<u8>);

    impl MemoryView for Island {
        fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
            let start = addr.0.wrapping_sub(self.0) as usize;
            let len = buf.len();
            let end = start.saturating_add(len);
            let bytes = self.1.get(start..end);
            buf.copy_from_slice(bytes.ok_or(MemoryError::Unmapped { addr, len })?);
            Ok(())
        }
    }

    fn str_object(text: &str) -> Vec<u8> {
        let mut bytes = vec![0; tables::V3_12.str_.ascii_data as usize];
        bytes[OB_SIZE as usize] = text.len() as u8;
        bytes[STR_STATE as usize] = COMPACT | ASCII | 1 << 2;
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn a_name_is_told_from_others_also_where_memory_ends() {
        let (first, last) = (str_object("threading"), str_object("asyncio"));
        let at = [0x1000, 0x1000 + first.len() as u64].map(RemoteAddr);
        let view = &Island(0x1000, [first, last].concat());
        let layout = &tables::V3_12;
        let mut heads = StrHeads::new(Objects { view, layout }, "asyncio.tasks".len());
        heads.read(at.into_iter()).unwrap();
        assert_eq!(heads.arrived, [true, false]);
        let equals = |nth, name| heads.equals(nth, at[nth], name);
        assert_eq!(equals(0, "threading"), Ok(true));
        assert_eq!(equals(0, "threadint"), Ok(false));
        assert_eq!(equals(0, "asyncio"), Ok(false));
        assert_eq!(equals(1, "asyncio"), Ok(true));
        assert_eq!(equals(1, "asyncio.tasks"), Ok(false));
        let nowhere = RemoteAddr(0);
        heads.read(std::iter::once(nowhere)).unwrap();
        assert!(heads.equals(0, nowhere, "asyncio").is_err());
    }
}
