//! Copies of programs, made to be run.

use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// Copies a program. Another process does: a file that this one writes is open in whatever another
/// of its threads starts meanwhile, for a moment, and cannot be run as long (`ETXTBSY`).
///
/// # Errors
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) -> Outcome {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("cp {} {}: {status}", from.display(), to.display()).into()),
    }
}
