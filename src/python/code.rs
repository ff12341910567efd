//! Code objects and their line tables.

use std::sync::{Arc, OnceLock};

use asyncspy_model::RemoteAddr;
use rustc_hash::FxHashMap;

use super::object::{OB_SIZE, Objects};
use crate::layout::LineFormat;
use crate::target::memory::{Fields, MemoryError, MemoryViewExt};

/// Longest line table and byte code that is read.
const MAX_TABLE: u64 = 1 << 20;

/// Longest function or file name that is read, in characters.
const MAX_NAME: u64 = 4096;

/// Most local variables of one function.
const MAX_LOCALS: u64 = 1 << 16;

/// How much of a name, a tuple or a table is fetched ahead: all of most.
const PART_SIZE: u64 = 96;

/// What identifies a code object at an address: if all of this is as it was, so is the rest.
type Fingerprint = [u64; 4];

/// A code object.
#[derive(Debug)]
pub struct CodeInfo {
    fingerprint: Fingerprint,
    /// Qualified name where the version records one, else the name.
    pub function: Arc<str>,
    /// Plain name.
    pub name: Arc<str>,
    /// File name.
    pub file: Arc<str>,
    /// True for code whose frames stand in await chains: of coroutines, async generators,
    /// generators that `types.coroutine` made awaitable, and `__await__` methods.
    pub is_awaitable: bool,
    lines: Vec<(u32, u32)>,
    /// The tuples of names of local variables, cells and free variables; null where the version
    /// has one for all.
    name_tuples: [RemoteAddr; 3],
    local_names: OnceLock<LocalNames>,
}

/// Names of local variables in the order of their slots, cells and free variables included.
#[derive(Debug, Default)]
pub struct LocalNames(pub Vec<Arc<str>>);

impl LocalNames {
    /// The slot of a local variable; `None` when there is none of that name.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<u64> {
        let index = self.0.iter().position(|local| &**local == name)?;
        Some(index as u64)
    }
}

/// `CO_COROUTINE`, `CO_ITERABLE_COROUTINE` and `CO_ASYNC_GENERATOR` (Include/cpython/code.h).
const AWAITABLE: i32 = 0x80 | 0x100 | 0x200;

impl CodeInfo {
    /// The line of the instruction at a byte offset; 0 when unknown.
    #[must_use]
    pub fn line(&self, offset: u32) -> u32 {
        let behind = self.lines.partition_point(|(start, _)| *start <= offset);
        behind.checked_sub(1).map_or(0, |index| self.lines[index].1)
    }

    /// The line of the definition: `co_firstlineno`.
    #[must_use]
    pub fn first_line(&self) -> u32 {
        u32::try_from(self.fingerprint[3]).unwrap_or(0)
    }

    /// The names of its local variables, which few ask for: read when they are asked for first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn local_names(&self, objects: Objects<'_>) -> Result<&LocalNames, MemoryError> {
        if let Some(known) = self.local_names.get() {
            return Ok(known);
        }
        let mut names = LocalNames::default();
        for tuple in self.name_tuples {
            if !tuple.is_null() {
                names.0.extend(read_names(objects, tuple)?);
            }
        }
        Ok(self.local_names.get_or_init(|| names))
    }
}

/// Code objects by address. Once an epoch an entry is used again only if the object's head still
/// shows the same file, names and line table, since addresses are reused.
#[derive(Debug, Default)]
pub struct CodeCache {
    codes: FxHashMap<RemoteAddr, (u64, Arc<CodeInfo>)>,
    epoch: u64,
    texts: FxHashMap<RemoteAddr, Arc<str>>,
}

/// Most code objects kept; a program that makes more of them at run time is read anew.
const MAX_KEPT: usize = 1 << 17;

impl CodeCache {
    /// Begins an epoch: each entry is checked again at its next use.
    pub fn begin_epoch(&mut self) {
        self.epoch += 1;
    }

    /// Says that these code objects are needed, as few calls as possible for all that are new or
    /// to be checked.
    ///
    /// # Errors
    /// As [`expect`](crate::target::MemoryView::expect).
    pub fn expect(
        &self,
        objects: Objects<'_>,
        addrs: impl Iterator<Item = RemoteAddr>,
    ) -> Result<(), MemoryError> {
        let epoch_of = |addr: &RemoteAddr| self.codes.get(addr).map(|(epoch, _)| *epoch);
        let is_due = |addr: &RemoteAddr| epoch_of(addr) != Some(self.epoch);
        let mut due: Vec<_> = addrs.filter(is_due).collect();
        due.sort_unstable();
        due.dedup();
        let layout = &objects.layout.code;
        let mut heads = due.iter().map(|addr| (*addr, layout.size));
        objects.view.expect(&mut heads)?;
        let part = |addr: RemoteAddr| Some((objects.view.read_ptr(addr).ok()?, PART_SIZE));
        let new = due.iter().filter(|addr| epoch_of(addr).is_none());
        let parts = new.flat_map(|addr| {
            let parts = layout.parts().map(|offset| addr.offset(offset));
            parts.filter_map(part)
        });
        objects
            .view
            .expect(&mut parts.collect::<Vec<_>>().into_iter())
    }

    /// The code object at `addr`.
    ///
    /// # Errors
    /// When it cannot be read or is no code object.
    pub fn get(
        &mut self,
        objects: Objects<'_>,
        addr: RemoteAddr,
    ) -> Result<Arc<CodeInfo>, MemoryError> {
        if let Some((epoch, known)) = self.codes.get(&addr)
            && *epoch == self.epoch
        {
            return Ok(known.clone());
        }
        let layout = &objects.layout.code;
        let mut head = [0; 256];
        let head_bytes = head
            .get_mut(..layout.size as usize)
            .ok_or(MemoryError::implausible(addr, "a code object's head"))?;
        objects.view.read(addr, head_bytes)?;
        let head = Fields(head_bytes);
        let fingerprint = [
            head.u64(layout.filename),
            head.u64(layout.qualname.unwrap_or(layout.name)),
            head.u64(layout.linetable),
            u64::from(head.i32(layout.firstlineno).cast_unsigned()),
        ];
        if let Some((epoch, known)) = self.codes.get_mut(&addr)
            && known.fingerprint == fingerprint
        {
            *epoch = self.epoch;
            return Ok(known.clone());
        }
        // Those of a read that failed may have gone.
        self.texts.clear();
        let info = Arc::new(self.read(objects, head, fingerprint)?);
        if self.codes.len() >= MAX_KEPT {
            self.codes.clear();
        }
        self.codes.insert(addr, (self.epoch, info.clone()));
        Ok(info)
    }

    fn read(
        &mut self,
        objects: Objects<'_>,
        head: Fields<'_>,
        fingerprint: Fingerprint,
    ) -> Result<CodeInfo, MemoryError> {
        let layout = &objects.layout.code;
        let mut parts = layout.parts().map(|at| (head.ptr(at), PART_SIZE));
        objects.view.expect(&mut parts)?;
        let name = self.text(objects, head.ptr(layout.name))?;
        let function = match layout.qualname {
            Some(offset) => self.text(objects, head.ptr(offset))?,
            None => name.clone(),
        };
        let table = read_bytes(objects, head.ptr(layout.linetable))?;
        let first_line = head.i32(layout.firstlineno).max(0).cast_unsigned();
        let (cells, free) = layout.cell_names.unzip();
        let tuple = |offset: Option<u64>| offset.map_or(RemoteAddr::NULL, |at| head.ptr(at));
        Ok(CodeInfo {
            fingerprint,
            function,
            file: self.text(objects, head.ptr(layout.filename))?,
            is_awaitable: head.i32(layout.flags) & AWAITABLE != 0 || &*name == "__await__",
            lines: decode_lines(layout.line_format, &table, first_line),
            name,
            name_tuples: [Some(layout.local_names), cells, free].map(tuple),
            local_names: OnceLock::new(),
        })
    }

    /// Texts are shared among the code objects that are read in one go.
    fn text(&mut self, objects: Objects<'_>, addr: RemoteAddr) -> Result<Arc<str>, MemoryError> {
        if let Some(text) = self.texts.get(&addr) {
            return Ok(text.clone());
        }
        let text: Arc<str> = objects.read_str_up_to(addr, MAX_NAME)?.text.into();
        self.texts.insert(addr, text.clone());
        Ok(text)
    }
}

fn read_names(objects: Objects<'_>, tuple: RemoteAddr) -> Result<Vec<Arc<str>>, MemoryError> {
    if objects.view.read_u64(tuple.offset(OB_SIZE))? > MAX_LOCALS {
        return Err(MemoryError::implausible(
            tuple,
            "the number of local variables",
        ));
    }
    let items = objects.tuple_items(tuple)?;
    let mut parts = items.iter().map(|item| (*item, PART_SIZE));
    objects.view.expect(&mut parts)?;
    items
        .iter()
        .map(|item| Ok(objects.read_str_up_to(*item, MAX_NAME)?.text.into()))
        .collect()
}

/// The contents of a `bytes` object.
fn read_bytes(objects: Objects<'_>, addr: RemoteAddr) -> Result<Vec<u8>, MemoryError> {
    let length = objects.view.read_u64(addr.offset(16))?;
    if length > MAX_TABLE {
        return Err(MemoryError::implausible(addr, "a line table's length"));
    }
    objects.view.read_vec(addr.offset(32), length as usize)
}

/// (first byte offset, line) of each run of instructions, ascending.
fn decode_lines(format: LineFormat, table: &[u8], first_line: u32) -> Vec<(u32, u32)> {
    match format {
        LineFormat::Lnotab => decode_lnotab(table, first_line),
        LineFormat::Ranges => decode_ranges(table, first_line),
        LineFormat::Locations => decode_locations(table, first_line),
    }
}

fn step(line: u32, delta: i32) -> u32 {
    line.saturating_add_signed(delta)
}

/// Pairs (address increment u8, line increment i8) (Objects/lnotab_notes.txt, 3.8).
fn decode_lnotab(table: &[u8], first_line: u32) -> Vec<(u32, u32)> {
    let (mut address, mut line) = (0_u32, first_line);
    let mut lines = vec![(0, line)];
    for pair in table.chunks_exact(2) {
        address = address.saturating_add(u32::from(pair[0]));
        line = step(line, i32::from(pair[1].cast_signed()));
        lines.push((address, line));
    }
    lines
}

/// Pairs (length u8, line increment i8, -128 for none) (Objects/lnotab_notes.txt, 3.10).
fn decode_ranges(table: &[u8], first_line: u32) -> Vec<(u32, u32)> {
    let (mut address, mut line) = (0_u32, first_line);
    let mut lines = Vec::new();
    for pair in table.chunks_exact(2) {
        let delta = pair[1].cast_signed();
        if delta == -128 {
            lines.push((address, 0));
        } else {
            line = step(line, i32::from(delta));
            lines.push((address, line));
        }
        address = address.saturating_add(u32::from(pair[0]));
    }
    lines
}

/// Entries of Objects/locations.md (3.11): a first byte 1cccclll, then by code.
fn decode_locations(table: &[u8], first_line: u32) -> Vec<(u32, u32)> {
    let (mut address, mut line) = (0_u32, first_line);
    let mut lines = Vec::new();
    let mut rest = table.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let code = (first >> 3) & 0xf;
        let units = u32::from(first & 7) + 1;
        let shown = match code {
            10..=12 => {
                line = step(line, i32::from(code) - 10);
                line
            }
            13 | 14 => {
                line = step(line, signed_varint(&mut rest));
                line
            }
            15 => 0,
            _ => line,
        };
        lines.push((address, shown));
        address = address.saturating_add(2 * units);
        // Every byte up to the next first byte, which alone has the top bit, is columns.
        while rest.next_if(|byte| byte & 0x80 == 0).is_some() {}
    }
    lines
}

/// Six bits a byte, the lowest first; bit 6 continues. The value's bit 0 is its sign.
fn signed_varint(bytes: &mut impl Iterator<Item = u8>) -> i32 {
    let (mut value, mut shift) = (0_u32, 0);
    for byte in bytes {
        value |= u32::from(byte & 63).checked_shl(shift).unwrap_or(0);
        shift += 6;
        if byte & 64 == 0 || shift > 30 {
            break;
        }
    }
    let magnitude = (value >> 1).cast_signed();
    if value & 1 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line_at(lines: Vec<(u32, u32)>, offset: u32) -> u32 {
        let empty: Arc<str> = Arc::from("");
        let info = CodeInfo {
            fingerprint: [0; 4],
            function: empty.clone(),
            name: empty.clone(),
            file: empty,
            is_awaitable: false,
            lines,
            name_tuples: [RemoteAddr::NULL; 3],
            local_names: OnceLock::new(),
        };
        info.line(offset)
    }

    #[test]
    fn lnotab_steps_back_and_forth() {
        let lines = decode_lnotab(&[0, 1, 4, 2, 6, 0xff], 10);
        assert_eq!(line_at(lines.clone(), 0), 11);
        assert_eq!(line_at(lines.clone(), 4), 13);
        assert_eq!(line_at(lines, 11), 12);
    }

    #[test]
    fn ranges_without_a_line_have_none() {
        let lines = decode_ranges(&[4, 1, 2, 0x80, 2, 1], 10);
        assert_eq!(line_at(lines.clone(), 2), 11);
        assert_eq!(line_at(lines.clone(), 4), 0);
        assert_eq!(line_at(lines, 6), 12);
    }

    #[test]
    fn locations_of_each_form_are_understood() {
        // Short form, one-line form +1, no-columns form +5, long form -2, none.
        let table = [0x80, 0x12, 0xd8, 1, 2, 0xe8, 10, 0xf0, 5, 1, 1, 1, 0xf8];
        let lines = decode_locations(&table, 100);
        assert_eq!(lines, [(0, 100), (2, 101), (4, 106), (6, 104), (8, 0)]);
    }

    proptest! {
        #[test]
        fn any_table_is_decoded_without_a_panic(
            table in proptest::collection::vec(any::<u8>(), 0..512),
            first in any::<u32>(),
        ) {
            for format in [LineFormat::Lnotab, LineFormat::Ranges, LineFormat::Locations] {
                let lines = decode_lines(format, &table, first);
                prop_assert!(lines.len() <= table.len() + 1);
            }
        }
    }
}
