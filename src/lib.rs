//! asyncspy

/// One file an output; stands on the model alone.
pub mod sink;
