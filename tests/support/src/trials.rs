//! Tests that can say that they cannot run here, which libtest has no word for.

use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Failed, Trial};

use crate::Outcome;

/// Held for reading by each test, and for writing by one that needs the machine for itself.
static MACHINE: RwLock<()> = RwLock::new(());

/// A test that no other of its binary runs beside, because it measures.
pub fn trial_alone(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        run().map_err(|error| Failed::from(error.to_string()))
    })
}

/// A test of this name.
pub fn trial(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        run().map_err(|error| Failed::from(error.to_string()))
    })
}

/// A test that cannot run here: ignored, with the reason in its name. `scripts/check` closes with
/// all lines that say `(cannot run: …)`.
#[must_use]
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
