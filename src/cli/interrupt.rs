//! Ctrl-C and its relatives, as something to look at between two steps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::{Error, Exit};

/// Whether SIGINT, SIGTERM or SIGHUP has come since [`Interrupt::listen`]. A second one ends the
/// program at once.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to listen; these signals no longer end the program by themselves.
    ///
    /// # Errors
    /// What the operating system says to it.
    pub fn listen() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let code = i32::from(Exit::Interrupted.code());
            // Before the other, so that the first signal does not find the flag raised by itself.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&raised))?;
            flag::register(signal, Arc::clone(&raised))?;
        }
        Ok(Self(raised))
    }

    /// True if one has come.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits for so long, or until one comes.
    pub fn sleep(&self, duration: Duration) {
        let timeout = PollTimeout::try_from(duration).unwrap_or(PollTimeout::MAX);
        if !self.is_raised() {
            // A signal ends the call: as a rule it reaches the first thread, which waits here.
            let _ = poll(&mut [], timeout);
        }
    }

    /// For between two steps of a command that has gathered nothing yet.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if one has come.
    pub fn check(&self) -> Result<(), Error> {
        match self.is_raised() {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }
}
