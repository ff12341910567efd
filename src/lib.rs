//! asyncspy
