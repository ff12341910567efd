//! asyncspy
pub mod analysis;
