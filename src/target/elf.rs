//! Sections and symbols of a mapped ELF file, read piecemeal: a libpython is 30 MB with its
//! debug information, and attaching needs a few kilobytes of it.

use std::fs::File;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, ReadCache};

use super::maps::Mapping;

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

    /// The dynamic symbols of these names, in their order.
    #[must_use]
    pub fn dynamic_symbols<const N: usize>(&self, names: [&str; N]) -> [Option<Placed>; N] {
        let mut found = [None; N];
        let Ok(elf) = ElfFile64::<Endianness, _>::parse(&self.cache) else {
            return found;
        };
        for symbol in elf.dynamic_symbols() {
            if symbol.address() == 0 {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if let Some(index) = names.iter().position(|wanted| *wanted == name) {
                found[index] = Some(self.place(symbol.address(), symbol.size()));
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
