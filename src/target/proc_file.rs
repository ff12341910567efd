//! Files below `/proc`, which do not tell their size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What most of them fit, so that one read is enough.
const USUAL: usize = 16 << 10;

/// The contents of a file below `/proc`.
///
/// # Errors
/// When it cannot be opened or read; its process may have ended.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text; what is no UTF-8 is replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
