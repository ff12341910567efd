//! asyncspy tells, from outside, why a Python asyncio event loop does not answer.
pub mod target;
pub mod layout;
pub mod python;
pub mod aio;
