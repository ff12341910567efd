//! The loop around what is shown: keys and signals in, frames out.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyEvent, KeyEventKind, KeyModifiers, read};
use ratatui::Frame;
use ratatui::layout::Size;

use crate::backend::{Error, Exit};
use crate::dispatch::Effect;
use crate::keys::{Action, action};
use crate::signals::Signals;
use crate::terminal::{Screen, foreign_panic};

/// A frame costs this much time: at most ten a second.
const FRAME: Duration = Duration::from_millis(100);

/// This many frames can be saved up, so that a few keys in a row are all answered at once.
const SAVED_FRAMES: u32 = 5;

/// How long to wait for a key before signals and data are looked at again.
const WAIT: Duration = Duration::from_millis(50);

/// What is driven by the loop.
pub(crate) trait Stage {
    /// Looks for new data; true if there is something new to draw.
    fn poll(&mut self, now: Instant) -> bool;
    /// Takes a key.
    fn press(&mut self, key: KeyEvent) -> Effect;
    /// Adapts to the size of the screen.
    fn resize(&mut self, size: Size);
    /// Draws.
    fn draw(&self, frame: &mut Frame);
    /// True if only ASCII may be written.
    fn ascii(&self) -> bool;
}

/// Drives a stage until a key or a signal ends it.
pub(crate) fn drive(stage: &mut dyn Stage) -> Result<Exit, Error> {
    let mut screen = Screen::open()?;
    let signals = Signals::catch()?;
    let keys = keys();
    // Keys that were meant for an earlier view.
    while keys.try_recv().is_ok() {}
    let mut running = Loop {
        screen: &mut screen,
        signals: &signals,
        pace: Pace::new(Instant::now()),
        due: Due::Key,
        plain: false,
    };
    loop {
        match running.turn(stage, &keys) {
            Ok(None) => {}
            Ok(Some(exit)) => return Ok(exit),
            // A terminal that has gone fails and signals in either order.
            Err(error) => return signals.ending().map(Exit::Signal).ok_or(error),
        }
    }
}

/// What waits to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    /// New data: can wait for its turn.
    Data,
    /// The answer to a key: at once.
    Key,
}

struct Loop<'a> {
    screen: &'a mut Screen,
    signals: &'a Signals,
    pace: Pace,
    due: Due,
    /// True while plain text is shown instead of the view.
    plain: bool,
}

impl Loop<'_> {
    /// One round: signals, news, a frame, a key. An exit if one of them ends the view.
    fn turn(
        &mut self,
        stage: &mut dyn Stage,
        keys: &Receiver<io::Result<Event>>,
    ) -> Result<Option<Exit>, Error> {
        if let Some(signal) = self.signals.ending() {
            return Ok(Some(Exit::Signal(signal)));
        }
        if let Some(message) = foreign_panic() {
            return Err(Error::Panicked(message));
        }
        if self.signals.was_continued() {
            self.screen.retake()?;
            self.plain = false;
            self.due = Due::Key;
        }
        if stage.poll(Instant::now()) {
            self.due = self.due.max(Due::Data);
        }
        self.draw(stage)?;
        match keys.recv_timeout(self.wait()) {
            Ok(event) => Ok(self.take(event?, stage)?),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Terminal(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    /// Draws what is due, if a frame may be drawn now.
    fn draw(&mut self, stage: &mut dyn Stage) -> io::Result<()> {
        if self.plain || !self.pace.may_draw(self.due, Instant::now()) {
            return Ok(());
        }
        stage.resize(self.screen.size()?);
        self.screen.draw(|frame| stage.draw(frame))?;
        self.due = Due::Nothing;
        self.pace.spend();
        Ok(())
    }

    fn wait(&self) -> Duration {
        if self.due == Due::Nothing || self.plain {
            WAIT
        } else {
            WAIT / 5
        }
    }

    /// Takes an event of the terminal; an exit if it ends the view.
    fn take(&mut self, event: Event, stage: &mut dyn Stage) -> io::Result<Option<Exit>> {
        let Event::Key(key) = event else {
            self.due = Due::Key;
            return Ok(None);
        };
        if self.plain {
            if action(key) == Some(Action::Quit) && key.modifiers == KeyModifiers::CONTROL {
                return Ok(Some(Exit::Quit));
            }
            if key.kind != KeyEventKind::Release {
                self.plain = false;
                self.screen.hide_plain()?;
                self.due = Due::Key;
            }
            return Ok(None);
        }
        match stage.press(key) {
            Effect::Ignore => return Ok(None),
            Effect::Draw => {}
            Effect::Quit => return Ok(Some(Exit::Quit)),
            Effect::Suspend => {
                self.screen.suspend()?;
                // The continuation that ended the stop has been dealt with.
                self.signals.was_continued();
            }
            Effect::Redraw => self.screen.redraw()?,
            Effect::Plain(text) => {
                self.screen.show_plain(&text, stage.ascii())?;
                self.plain = true;
            }
        }
        self.due = Due::Key;
        Ok(None)
    }
}

/// Keeps the frames to ten a second on average.
struct Pace {
    credit: Duration,
    at: Instant,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self {
            credit: FRAME,
            at: now,
        }
    }

    /// True if a frame for what is due may be drawn now. Data leaves a frame for a key.
    fn may_draw(&mut self, due: Due, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.credit = (self.credit + passed).min(FRAME * SAVED_FRAMES);
        self.at = now;
        match due {
            Due::Nothing => false,
            Due::Data => self.credit >= FRAME * 2,
            Due::Key => self.credit >= FRAME,
        }
    }

    fn spend(&mut self) {
        self.credit = self.credit.saturating_sub(FRAME);
    }
}

/// Events of the terminal, read by a thread of their own: the reading never ends when the
/// terminal is gone, and blocks amid a key whose bytes come late. Neither must keep the view from
/// ending.
fn keys() -> MutexGuard<'static, Receiver<io::Result<Event>>> {
    static KEYS: OnceLock<Mutex<Receiver<io::Result<Event>>>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            loop {
                let event = read();
                let failed = event.is_err();
                if sender.send(event).is_err() || failed {
                    return;
                }
            }
        });
        Mutex::new(receiver)
    });
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_frames_a_second_at_most_and_keys_first() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut drawn = 0;
        for ms in 0..10_000 {
            if pace.may_draw(Due::Key, start + Duration::from_millis(ms)) {
                pace.spend();
                drawn += 1;
            }
        }
        assert_eq!(drawn, 100);
        let later = start + Duration::from_secs(20);
        let mut at_once = 0;
        while pace.may_draw(Due::Data, later) {
            pace.spend();
            at_once += 1;
        }
        assert_eq!(at_once, 4);
        assert!(pace.may_draw(Due::Key, later));
    }
}
