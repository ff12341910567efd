//! Python semantics: how objects, frames, code and threads of a CPython lie in its memory.
//!
//! - [`attach`]: finding the interpreter in a process, and choosing its layout.
//! - [`object`]: strings, numbers, containers, instance attributes.
//! - [`types`]: telling what kind of object lies at an address.
//! - [`code`]: code objects and their line tables.
//! - [`frame`]: frames; [`stack`]: the stack of a running thread, proven.
//! - [`thread`]: interpreters, threads, the GIL, the garbage collector.
//! - [`thread_names`]: what `threading` calls them.
//! - [`recording`]: an interpreter whose memory was recorded.
//! - [`locals`]: local variables as short texts.

mod alongside;
pub mod attach;
mod attributes;
pub mod code;
pub mod frame;
mod haunts;
pub mod locals;
pub mod object;
pub mod recording;
pub mod stack;
mod stack_passes;
mod stack_reads;
mod str_heads;
pub mod thread;
pub mod thread_names;
pub mod types;

pub use attach::{Anchors, AttachError, Python};
pub use object::Objects;
