//! What the samplers of a session have in common.

use asyncspy_model::Event;

use super::tables::StackTable;
use super::task_names::TaskTable;
use crate::aio::Caches;
use crate::python::Python;
use crate::python::object::Objects;

/// What a loop sampler shares with the others of its session.
pub struct Shared<'a> {
    /// The target.
    pub python: &'a Python,
    /// Types and code.
    pub caches: &'a mut Caches,
    /// Stacks by number.
    pub stacks: &'a mut StackTable,
    /// Tasks by number.
    pub tasks: &'a mut TaskTable,
    /// Receives definitions.
    pub events: &'a mut Vec<Event>,
    /// When the tick happens, on our CLOCK_MONOTONIC.
    pub now_ns: u64,
    /// Time between two ticks.
    pub interval_ns: u64,
}

/// The live memory of the target, as it is now.
pub(super) fn objects(python: &Python) -> Objects<'_> {
    Objects {
        view: &python.memory,
        layout: &python.layout,
    }
}
