//! asyncio semantics: loops, tasks, what they await and who awaits them.
//!
//! - [`registry`]: where an interpreter keeps its tasks; [`task_list`], [`task_set`] read them.
//! - [`task`]: one task with its chain of coroutines, read so that it can be proven.
//! - [`chain`]: one step down such a chain.
//! - [`generator_names`]: what generators are called, before 3.11.
//! - [`census`]: all tasks in bulk; [`census_memo`]: what the last one has read. [`running`]: what
//!   the threads execute.
//! - [`awaits`], [`edges`]: which tasks a task waits for; [`wait_kind`] names what it waits in.
//! - [`event_loop`], [`loops`]: what a loop does; [`loop_turn`] reads the turn of a stock one,
//!   [`timers`] which of its timers are late.
//! - [`snapshot`]: all of it at one moment.

pub mod awaits;
pub mod census;
pub mod census_memo;
pub mod chain;
pub mod edges;
pub mod event_loop;
pub mod generator_names;
pub mod loop_turn;
pub mod loops;
pub mod registry;
pub mod running;
pub mod snapshot;
pub mod task;
pub mod task_list;
pub mod task_set;
pub mod timers;
pub mod wait_kind;

use crate::python::code::CodeCache;
use crate::python::types::TypeCache;

/// What is kept between reads so that nothing immutable is read twice.
#[derive(Debug, Default)]
pub struct Caches {
    /// Types by address; forgotten at each snapshot.
    pub types: TypeCache,
    /// Code objects by address, validated at each use.
    pub codes: CodeCache,
    /// What generators are called, in versions whose code objects do not tell.
    pub names: generator_names::GeneratorNames,
    /// Chains of locations, so that equal ones share an allocation.
    pub chains: chain::ChainInterner,
}
