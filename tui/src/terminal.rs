//! The terminal's own state: taken over on entry, given back on every way out.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::ThreadId;

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::style::{Attribute, ResetColor, SetAttribute};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Rect, Size};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::raise;

use crate::ascii;
use crate::backend::Error;

/// True while the terminal is ours, so that it is given back exactly once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// True while the alternate screen is on. Leaving it twice would move the cursor to where it was
/// on entry, over what has been written since.
static ALTERNATE: AtomicBool = AtomicBool::new(false);

/// The thread that draws; the panic hook gives the terminal back for this one alone.
static DRAWER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// What another thread's panic said. Printed at once it would only litter the picture.
static FOREIGN_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Room for a whole frame, so that a frame is one write.
const FRAME_BYTES: usize = 64 * 1024;

/// The terminal while it is ours. Dropping it gives it back.
pub(crate) struct Screen {
    /// Never dropped: its own drop shows the cursor once more and panics where the terminal has
    /// gone. [`give_back`] has done it by then.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Standard input or output is not a terminal, or it cannot be set up.
    pub(crate) fn open() -> Result<Self, Error> {
        if !io::stdin().is_terminal() {
            return Err(Error::NotATerminal("input"));
        }
        if !io::stdout().is_terminal() {
            return Err(Error::NotATerminal("output"));
        }
        install_panic_hook();
        *lock(&DRAWER) = Some(std::thread::current().id());
        let writer = BufWriter::with_capacity(FRAME_BYTES, io::stdout());
        take()?;
        // From here on the drop guard undoes it.
        let terminal = Terminal::new(CrosstermBackend::new(writer)).inspect_err(|_| give_back())?;
        let terminal = ManuallyDrop::new(terminal);
        Ok(Self { terminal })
    }

    /// The size of the screen now.
    pub(crate) fn size(&self) -> io::Result<Size> {
        self.terminal.size()
    }

    /// Draws a frame; only cells that changed are written.
    pub(crate) fn draw(&mut self, render: impl FnOnce(&mut ratatui::Frame)) -> io::Result<()> {
        self.terminal.draw(render).map(|_| ())
    }

    /// Clears the screen and makes the next frame write every cell.
    pub(crate) fn redraw(&mut self) -> io::Result<()> {
        // Not Terminal::clear: it asks the terminal for its cursor, and the thread that reads the
        // keys would wait for the answer as well.
        let size = self.terminal.size()?;
        self.terminal
            .resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Gives the terminal back, stops the program as Ctrl-Z does, and takes the terminal again
    /// once the program goes on.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The signal's default action stops all threads here. It is not replaced by a handler of
        // ours: only so does the kernel drop it where no shell could ever continue us.
        raise(SIGTSTP)?;
        take()?;
        self.redraw()
    }

    /// Takes the terminal again after the program was stopped by someone else: whoever did may
    /// have changed its modes.
    pub(crate) fn retake(&mut self) -> io::Result<()> {
        give_back();
        take()?;
        self.redraw()
    }

    /// Shows text on the ordinary screen, where it can be selected and scrolled and where it
    /// stays after the program has ended.
    pub(crate) fn show_plain(&mut self, text: &str, ascii_only: bool) -> io::Result<()> {
        let text = if ascii_only {
            ascii::degrade_text(text)
        } else {
            text.to_owned()
        };
        ALTERNATE.store(false, Ordering::SeqCst);
        let mut out = io::stdout().lock();
        execute!(out, LeaveAlternateScreen, Show)?;
        for line in text.lines() {
            write!(out, "{line}\r\n")?;
        }
        write!(out, "\r\n-- any key goes back to the view --\r\n")?;
        out.flush()
    }

    /// Comes back from [`Screen::show_plain`].
    pub(crate) fn hide_plain(&mut self) -> io::Result<()> {
        enter()?;
        self.redraw()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The panic message of another thread, if one panicked since the terminal was taken.
pub(crate) fn foreign_panic() -> Option<String> {
    lock(&FOREIGN_PANIC).take()
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    enter().inspect_err(|_| give_back())
}

fn enter() -> io::Result<()> {
    ALTERNATE.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

/// Gives the terminal back if it is ours. Nobody could be told of an error here, and a terminal
/// that is gone needs nothing.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, SetAttribute(Attribute::Reset), ResetColor);
        if ALTERNATE.swap(false, Ordering::SeqCst) {
            let _ = execute!(out, LeaveAlternateScreen);
        }
        let _ = execute!(out, Show);
        let _ = disable_raw_mode();
    }
}

/// Makes a panic of the drawing thread give the terminal back before it is reported, and keeps
/// the report of another thread's panic until then. Without a terminal of ours it changes nothing.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if TAKEN.load(Ordering::SeqCst) {
                if *lock(&DRAWER) == Some(std::thread::current().id()) {
                    give_back();
                } else {
                    *lock(&FOREIGN_PANIC) = Some(panic.to_string());
                    return;
                }
            }
            previous(panic);
        }));
    });
}

/// Locks even after a panic: what these locks guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
