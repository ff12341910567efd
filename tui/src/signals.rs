//! Signals that end the program or tell that it goes on after a stop.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

/// Signals that end the view.
const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];

/// Registered once a process: a handler cannot be taken out again without losing the signal's
/// default action.
static REGISTERED: OnceLock<Registered> = OnceLock::new();

struct Registered {
    /// The signal that asked to end; 0 for none.
    ending: Arc<AtomicUsize>,
    /// True once the program was continued after a stop.
    continued: Arc<AtomicBool>,
    /// True while no view is open: then the signals act as if there were no handler.
    idle: Arc<AtomicBool>,
}

/// The signals while a view is open.
pub(crate) struct Signals {
    registered: &'static Registered,
}

impl Signals {
    /// Begins to catch them.
    pub(crate) fn catch() -> io::Result<Self> {
        let registered = match REGISTERED.get() {
            Some(registered) => registered,
            None => {
                let new = register()?;
                REGISTERED.get_or_init(|| new)
            }
        };
        registered.ending.store(0, Ordering::SeqCst);
        registered.continued.store(false, Ordering::SeqCst);
        registered.idle.store(false, Ordering::SeqCst);
        Ok(Self { registered })
    }

    /// The signal that asked to end, if one did.
    pub(crate) fn ending(&self) -> Option<i32> {
        match self.registered.ending.load(Ordering::SeqCst) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// True once after each time the program was continued.
    pub(crate) fn was_continued(&self) -> bool {
        self.registered.continued.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.registered.idle.store(true, Ordering::SeqCst);
    }
}

fn register() -> io::Result<Registered> {
    let registered = Registered {
        ending: Arc::new(AtomicUsize::new(0)),
        continued: Arc::new(AtomicBool::new(false)),
        idle: Arc::new(AtomicBool::new(false)),
    };
    for signal in ENDING {
        flag::register_conditional_default(signal, Arc::clone(&registered.idle))?;
        let value = usize::try_from(signal).unwrap_or(0);
        flag::register_usize(signal, Arc::clone(&registered.ending), value)?;
    }
    flag::register(SIGCONT, Arc::clone(&registered.continued))?;
    Ok(registered)
}
