//! Sections and symbols of a mapped ELF file, read piecemeal: a libpython is 30 MB with its
//! debug information, and attaching needs a few kilobytes of it.

use std::fs::File;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ReadCache};

use super::maps::Mapping;
use super::memory::Fields;

/// A range in the target, from a section or symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Address in the target.
    pub addr: u64,
    /// Size in bytes, as the file gives it.
    pub size: u64,
}

/// One ELF file of the target with the difference between its addresses and the target's.
pub struct ElfImage {
    cache: ReadCache<File>,
    load_bias: u64,
}

impl ElfImage {
    /// Reads the headers of `file`, which is mapped by `first`, its mapping of the lowest address.
    ///
    /// Returns `None` for a file that is no 64-bit ELF or has no loadable segment.
    #[must_use]
    pub fn new(file: File, first: &Mapping) -> Option<Self> {
        let cache = ReadCache::new(file);
        let load_bias = {
            let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
            load_bias(&elf, first)?
        };
        Some(Self { cache, load_bias })
    }

    /// The section of that name, if it is loaded.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Placed> {
        let elf = ElfFile64::<Endianness, _>::parse(&self.cache).ok()?;
        let section = elf.section_by_name(name)?;
        (section.address() != 0).then(|| self.place(section.address(), section.size()))
    }

    /// The dynamic symbols of these names, in their order. The two tables are read whole: asking
    /// for each name by itself takes thousands of reads.
    #[must_use]
    pub fn dynamic_symbols<const N: usize>(&self, names: [&str; N]) -> [Option<Placed>; N] {
        /// `sizeof(Elf64_Sym)` (elf(5)).
        const SYMBOL: usize = 24;
        let mut found = [None; N];
        let Ok(elf) = ElfFile64::<Endianness, _>::parse(&self.cache) else {
            return found;
        };
        let table = |name| elf.section_by_name(name)?.data().ok();
        let (Some(symbols), Some(texts)) = (table(".dynsym"), table(".dynstr")) else {
            return found;
        };
        for symbol in symbols.chunks_exact(SYMBOL) {
            let symbol = Fields(symbol);
            let start = symbol.i32(0).cast_unsigned() as usize;
            let Some(text) = texts.get(start..) else {
                continue;
            };
            let is = |name: &str| {
                text.strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.first() == Some(&0))
            };
            let (address, size) = (symbol.u64(8), symbol.u64(16));
            if let Some(index) = names.iter().position(|name| is(name))
                && address != 0
            {
                found[index] = Some(self.place(address, size));
            }
        }
        found
    }

    fn place(&self, address: u64, size: u64) -> Placed {
        Placed {
            addr: self.load_bias.wrapping_add(address),
            size,
        }
    }
}

/// What to add to an address in the file to get the one in the target.
fn load_bias<'d>(
    elf: &ElfFile64<'d, Endianness, &'d ReadCache<File>>,
    first: &Mapping,
) -> Option<u64> {
    let endian = elf.endian();
    let lowest = elf
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(endian) == object::elf::PT_LOAD)
        .min_by_key(|header| header.p_vaddr(endian))?;
    let base = first.start.wrapping_sub(first.file_offset);
    let page_offset = lowest.p_offset(endian);
    Some(
        base.wrapping_sub(lowest.p_vaddr(endian))
            .wrapping_add(page_offset),
    )
}
