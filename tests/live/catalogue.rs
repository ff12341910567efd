//! Which tests there are, and which of them cannot run here.

use std::sync::{PoisonError, RwLock};

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy_model::Snapshot;
use asyncspy_test_support::{Interpreter, Outcome, interpreters};
use libtest_mimic::{Failed, Trial};

use crate::{busy, edges, kinds, lifecycle, locals, namespaces, programs, record};

/// Held for reading by each test, and for writing by one that needs the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

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
    trials.extend(record::trials(&supported));
    Ok(trials)
}

/// The first interpreter of each minor version, as the manifest names it by the minor alone.
pub fn one_per_minor(interpreters: &[Interpreter]) -> impl Iterator<Item = &Interpreter> {
    interpreters.iter().filter(|each| {
        let (major, minor) = each.minor();
        each.name == format!("{major}.{minor}")
    })
}

/// A test of this name.
pub fn trial(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        run().map_err(|error| Failed::from(error.to_string()))
    })
}

/// A test that no other runs beside, because it measures.
pub fn trial_alone(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        run().map_err(|error| Failed::from(error.to_string()))
    })
}

/// A test that cannot run here: ignored, with the reason in its name.
pub fn missing(name: &str, reason: &str) -> Trial {
    Trial::test(format!("{name} (cannot run: {reason})"), || Ok(())).with_ignored_flag(true)
}

/// A test, or an ignored one when there is a reason against it.
pub fn trial_unless(
    reason: Option<&str>,
    name: String,
    run: impl FnOnce() -> Outcome + Send + 'static,
) -> Trial {
    match reason {
        Some(reason) => missing(&name, reason),
        None => trial(name, run),
    }
}

/// One snapshot of a process that was never looked at before.
///
/// # Errors
/// When it cannot be attached to or read.
pub fn look_at(pid: i32) -> Outcome<Snapshot> {
    let python = Python::attach(pid)?;
    Ok(Snapshooter::default().take(&python, SnapshotOptions::default())?)
}
