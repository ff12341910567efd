//! Sections and symbols of a mapped ELF file, read piecemeal: a libpython is 30 MB with its
//! debug information, and attaching needs a few kilobytes of it.

use std::fs::File;

use object::elf::{FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader as _};
use object::{Endianness, ReadCache};

use super::maps::Mapping;
use super::memory::Fields;

type Header = FileHeader64<Endianness>;
type SectionHeader = SectionHeader64<Endianness>;

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
    /// Reads the headers of `file`, which is mapped by `first`, its executable mapping of the
    /// lowest address.
    ///
    /// Returns `None` for a file that is no 64-bit ELF or has no segment with code.
    #[must_use]
    pub fn new(file: File, first: &Mapping) -> Option<Self> {
        let cache = ReadCache::new(file);
        let load_bias = load_bias(&cache, first)?;
        Some(Self { cache, load_bias })
    }

    /// The section of that name, if it is loaded.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Placed> {
        let (endian, [section]) = self.sections([name])?;
        let section = section?;
        let (address, size) = (section.sh_addr(endian), section.sh_size(endian));
        (address != 0).then(|| self.place(address, size))
    }

    /// The dynamic symbols of these names, in their order. The two tables are read whole: asking
    /// for each name by itself takes thousands of reads.
    #[must_use]
    pub fn dynamic_symbols<const N: usize>(&self, names: [&str; N]) -> [Option<Placed>; N] {
        /// `sizeof(Elf64_Sym)` (elf(5)).
        const SYMBOL: usize = 24;
        let mut found = [None; N];
        let Some((symbols, texts)) = self.dynamic_tables() else {
            return found;
        };
        for symbol in symbols.chunks_exact(SYMBOL) {
            let symbol = Fields(symbol);
            let is = |name: &&str| is_at(texts, symbol.i32(0).cast_unsigned(), name);
            let (address, size) = (symbol.u64(8), symbol.u64(16));
            if let Some(index) = names.iter().position(is)
                && address != 0
            {
                found[index] = Some(self.place(address, size));
            }
        }
        found
    }

    /// The dynamic symbols and their names.
    fn dynamic_tables(&self) -> Option<(&[u8], &[u8])> {
        let (endian, sections) = self.sections([".dynsym", ".dynstr"])?;
        let data = |section: Option<&SectionHeader>| section?.data(endian, &self.cache).ok();
        let [symbols, texts] = sections.map(data);
        Some((symbols?, texts?))
    }

    /// The headers of the sections of these names. Their names are read whole.
    fn sections<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Option<(Endianness, [Option<&SectionHeader>; N])> {
        let header = Header::parse(&self.cache).ok()?;
        let endian = header.endian().ok()?;
        let headers = header.section_headers(endian, &self.cache).ok()?;
        let texts = header.section_strings_index(endian, &self.cache).ok()?;
        let texts = headers.get(texts.0)?.data(endian, &self.cache).ok()?;
        let find = |name| {
            let is = |section: &&SectionHeader| is_at(texts, section.sh_name(endian), name);
            headers.iter().find(is)
        };
        Some((endian, names.map(find)))
    }

    fn place(&self, address: u64, size: u64) -> Placed {
        Placed {
            addr: self.load_bias.wrapping_add(address),
            size,
        }
    }
}

/// True if this text, and no longer one, begins at this offset.
fn is_at(texts: &[u8], start: u32, text: &str) -> bool {
    let found = texts.get(start as usize..);
    let rest = found.and_then(|found| found.strip_prefix(text.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&0))
}

/// What to add to an address in the file to get the one in the target.
fn load_bias(cache: &ReadCache<File>, first: &Mapping) -> Option<u64> {
    let header = Header::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let lowest = header
        .program_headers(endian, cache)
        .ok()?
        .iter()
        .filter(|header| header.p_type(endian) == object::elf::PT_LOAD)
        .filter(|header| header.p_flags(endian).contains(object::elf::PF_X))
        .min_by_key(|header| header.p_vaddr(endian))?;
    let base = first.start.wrapping_sub(first.file_offset);
    let page_offset = lowest.p_offset(endian);
    Some(
        base.wrapping_sub(lowest.p_vaddr(endian))
            .wrapping_add(page_offset),
    )
}
