//! asyncspy
fn main() {}
