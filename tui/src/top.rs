//! The live view as a stage: new reports in, state kept, frames out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::KeyEvent;
use ratatui::Frame;
use ratatui::layout::Size;

use crate::app::App;
use crate::backend::{Backend, Error, Exit, Options};
use crate::dispatch::Effect;
use crate::events::{Stage, drive};

/// Without a new report for this long the header says so.
const SILENCE: Duration = Duration::from_secs(3);

/// Shows the live view until the user quits or a signal asks to end.
///
/// The terminal is given back before it returns, and on a panic.
///
/// # Errors
/// Standard input or output is not a terminal, it cannot be used, or another thread panicked.
pub fn run(backend: &mut dyn Backend, options: &Options) -> Result<Exit, Error> {
    let mut stage = Top::new(backend, options);
    drive(&mut stage)
}

/// The live view with its source of data.
struct Top<'a> {
    app: App,
    backend: &'a mut dyn Backend,
    /// When the last report was taken.
    taken: Option<Instant>,
    started: Instant,
}

impl<'a> Top<'a> {
    fn new(backend: &'a mut dyn Backend, options: &Options) -> Self {
        Self {
            app: App::new(options),
            backend,
            taken: None,
            started: Instant::now(),
        }
    }

    /// Notes how long there was no report; true if what the header says about it changes.
    fn note_silence(&mut self, now: Instant) -> bool {
        let over = self
            .app
            .live
            .as_ref()
            .is_some_and(|report| report.ended.is_some());
        let silent = now.saturating_duration_since(self.taken.unwrap_or(self.started));
        let said = silent >= SILENCE.max(self.app.options.refresh * 3) && !over;
        let silent_s = if said { silent.as_secs() } else { 0 };
        let changed = self.app.flags.silent_s != silent_s;
        self.app.flags.silent_s = silent_s;
        changed
    }
}

impl Stage for Top<'_> {
    fn poll(&mut self, now: Instant) -> bool {
        let waited = |taken| now.saturating_duration_since(taken) >= self.app.options.refresh;
        let mut changed = false;
        if self.taken.is_none_or(waited)
            && let Some(report) = self.backend.latest()
        {
            self.taken = Some(now);
            changed = !self.app.flags.frozen;
            self.app.accept(Arc::clone(&report), self.backend);
        }
        self.note_silence(now) || changed
    }

    fn press(&mut self, key: KeyEvent) -> Effect {
        self.app.press(key, self.backend)
    }

    fn resize(&mut self, size: Size) {
        self.app.resize(size, self.backend);
    }

    fn draw(&self, frame: &mut Frame) {
        self.app.draw(frame);
    }

    fn ascii(&self) -> bool {
        self.app.options.ascii
    }
}
