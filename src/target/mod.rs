//! The other process, no Python in it.
//!
//! - [`memory`]: reading its memory. [`recorded`]: memory that was read before.
//! - [`gather`]: many small reads in one call.
//! - [`image`]: its memory page by page, fetched in bulk. `held_pages`, [`page_reads`],
//!   [`page_arena`], [`page_pool`]: how. [`proc_file`]: files below `/proc`.
//! - [`maps`], [`elf`]: what is mapped where, sections and symbols of the mapped files.
//!   `map_queries`: how newer kernels tell.
//! - [`process`]: identity, command line, namespaces, clocks. [`program`]: whether it has exec'd.
//! - [`threads`]: its threads as the kernel sees them. [`switches`]: when one of them runs.
//! - [`bpf`]: programs that the kernel runs in one of them. [`thread_events`]: when.

pub mod bpf;
pub mod elf;
pub mod gather;
mod held_pages;
pub mod image;
mod map_queries;
pub mod maps;
pub mod memory;
pub mod page_arena;
pub mod page_pool;
pub mod page_reads;
pub mod proc_file;
pub mod process;
pub mod program;
pub mod recorded;
pub mod switches;
pub mod thread_events;
pub mod threads;

pub use image::PageImage;
pub use memory::{LiveMemory, MemoryError, MemoryView, Piece, ProcessMemory};
