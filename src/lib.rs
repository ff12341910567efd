//! asyncspy tells, from outside, why a Python asyncio event loop does not answer.
//!
//! The flow goes one way: target memory → [`target`] (bytes of the other process) → [`layout`]
//! (what the bytes mean in this CPython) → [`python`] (objects, frames, threads) → [`aio`]
//! (loops, tasks, await chains) → [`sampler`] (ticks). What is read becomes the plain data of `asyncspy_model`, on
//! which alone [`sink`] and the terminal view stand. Only [`cli`] sees everything.
//!
//! Invariants:
//! - The target is only read: nothing here pauses it, writes to it or runs code in it.
//! - No length, pointer, count or string of the target is trusted; no walk is without a bound;
//!   nothing from the target reaches a terminal unescaped.
//! - A result that may lack something says so (`complete`, faults, torn).
//! - Only [`layout`] knows versions.

pub mod aio;
pub mod analysis;
pub mod cli;
pub mod layout;
pub mod python;
pub mod sampler;
pub mod sink;
pub mod target;
