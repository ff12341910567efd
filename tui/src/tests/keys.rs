//! The state after sequences of keys.
