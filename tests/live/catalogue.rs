//! Which tests there are, and which of them cannot run here.


use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy_model::Snapshot;
pub use asyncspy_test_support::trials::{trial, trial_alone, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, interpreters};
use libtest_mimic::Trial;

use crate::{busy, edges, kinds, lifecycle, locals, namespaces, programs};

/// All tests.
///
/// # Errors
/// When there are no interpreters at all.
pub fn all() -> Outcome<Vec<Trial>> {
    let mut supported = interpreters::load()?;
    supported.retain(Interpreter::is_supported);
    let mut trials = Vec::new();
    trials.extend(kinds::trials(&supported));
    trials.extend(edges::trials(&supported));
    trials.extend(programs::trials(&supported));
    trials.extend(locals::trials(&supported));
    trials.extend(lifecycle::trials(&supported));
    trials.extend(namespaces::trials(&supported));
    trials.extend(busy::trials(&supported));
    Ok(trials)
}

/// The first interpreter of each minor version, as the manifest names it by the minor alone.
pub fn one_per_minor(interpreters: &[Interpreter]) -> impl Iterator<Item = &Interpreter> {
    interpreters.iter().filter(|each| {
        let (major, minor) = each.minor();
        each.name == format!("{major}.{minor}")
    })
}

/// One snapshot of a process that was never looked at before.
///
/// # Errors
/// When it cannot be attached to or read.
pub fn look_at(pid: i32) -> Outcome<Snapshot> {
    let python = Python::attach(pid)?;
    Ok(Snapshooter::default().take(&python, SnapshotOptions::default())?)
}
