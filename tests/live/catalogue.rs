//! Which tests there are, and which of them cannot run here.

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy_model::Snapshot;
pub use asyncspy_test_support::trials::{one_per_minor, trial, trial_alone, trial_unless};
use asyncspy_test_support::{Interpreter, Outcome, interpreters};
use libtest_mimic::Trial;

use crate::{
    busy, edges, in_kernel, kinds, lifecycle, locals, namespaces, oracle, programs, record, rest,
    samples,
};

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
    trials.extend(oracle::trials(&supported));
    trials.extend(record::trials(&supported));
    trials.extend(samples::trials(&supported));
    trials.extend(rest::trials(&supported));
    trials.extend(in_kernel::trials(&supported));
    Ok(trials)
}

/// One snapshot of a process that was never looked at before.
///
/// # Errors
/// When it cannot be attached to or read.
pub fn look_at(pid: i32) -> Outcome<Snapshot> {
    let python = Python::attach(pid)?;
    Ok(Snapshooter::default().take(&python, SnapshotOptions::default())?)
}
