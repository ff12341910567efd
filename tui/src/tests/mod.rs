//! Tests of the whole view: the screen at several sizes, and the state after keys.

use std::sync::Arc;

use asyncspy_model::Location;
use asyncspy_model::report::{Report, Totals, TurnTimes};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

use crate::app::App;
use crate::backend::{Backend, Options, Save};
use crate::dispatch::Effect;
use crate::theme::ColorMode;

mod keys;
mod screens;

#[path = "../../tests/support/mod.rs"]
mod support;

/// What the view asked of its backend.
#[derive(Debug, Default)]
pub(super) struct FakeBackend {
    pub(super) resets: u32,
    pub(super) saved: Vec<Save>,
    pub(super) refusing: bool,
    pub(super) refresh_ms: Vec<u128>,
    pub(super) lines_asked: usize,
}

impl Backend for FakeBackend {
    fn latest(&mut self) -> Option<Arc<Report>> {
        None
    }

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn save(&mut self, what: Save) -> Result<String, String> {
        self.saved.push(what);
        if self.refusing {
            Err("disk full\x1b[2J".into())
        } else {
            Ok("/tmp/saved".into())
        }
    }

    fn source_line(&mut self, location: &Location) -> Option<String> {
        self.lines_asked += 1;
        support::source_line(location)
    }

    fn set_refresh(&mut self, every: std::time::Duration) {
        self.refresh_ms.push(every.as_millis());
    }
}

/// A view with its backend and a screen of some size.
pub(super) struct Desk {
    pub(super) app: App,
    pub(super) backend: FakeBackend,
    pub(super) size: Size,
}

impl Desk {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let options = Options {
            color: ColorMode::None,
            ..Options::default()
        };
        Self::with(width, height, &options)
    }

    pub(super) fn with(width: u16, height: u16, options: &Options) -> Self {
        let mut desk = Self {
            app: App::new(options),
            backend: FakeBackend::default(),
            size: Size { width, height },
        };
        desk.app.resize(desk.size, &mut desk.backend);
        desk
    }

    /// With the sick service on the screen.
    pub(super) fn sick(width: u16, height: u16) -> Self {
        let mut desk = Self::new(width, height);
        desk.show(sample_report());
        desk
    }

    pub(super) fn show(&mut self, report: Report) {
        self.app.accept(Arc::new(report), &mut self.backend);
    }

    pub(super) fn press(&mut self, code: KeyCode) -> Effect {
        self.app
            .press(KeyEvent::new(code, KeyModifiers::NONE), &mut self.backend)
    }

    pub(super) fn control(&mut self, character: char) -> Effect {
        let event = KeyEvent::new(KeyCode::Char(character), KeyModifiers::CONTROL);
        self.app.press(event, &mut self.backend)
    }

    /// Types characters; `\n` is Enter, `\x1b` Esc, `\t` Tab.
    pub(super) fn type_keys(&mut self, keys: &str) {
        for character in keys.chars() {
            self.press(match character {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                other => KeyCode::Char(other),
            });
        }
    }

    /// The screen as text.
    pub(super) fn screen(&mut self) -> String {
        let terminal = self.draw();
        let buffer = terminal.backend().buffer();
        let line = |row: &[ratatui::buffer::Cell]| {
            let mut text = String::new();
            let mut cells = row.iter();
            while let Some(cell) = cells.next() {
                text += cell.symbol();
                // A wide character hides the cell after it.
                if crate::text::width(cell.symbol()) > 1 {
                    cells.next();
                }
            }
            text.trim_end().to_owned() + "\n"
        };
        buffer
            .content
            .chunks(usize::from(self.size.width))
            .map(line)
            .collect()
    }

    pub(super) fn draw(&mut self) -> Terminal<TestBackend> {
        self.app.resize(self.size, &mut self.backend);
        let mut terminal =
            Terminal::new(TestBackend::new(self.size.width, self.size.height)).expect("no I/O");
        terminal.draw(|frame| self.app.draw(frame)).expect("no I/O");
        terminal
    }
}

/// The moment that the snapshots show: the loop has been blocked for 1.24 s.
pub(super) fn sample_report() -> Report {
    support::report_at(126_240)
}

/// The same service in good health, but for two tasks that wait for each other.
pub(super) fn deadlocked_report() -> Report {
    let mut report = healthy_report();
    report.snapshot = sample_report().snapshot;
    report
}

/// The same service in good health.
pub(super) fn healthy_report() -> Report {
    const MS: u64 = 1_000_000;
    let mut report = support::report_at(123_000);
    report.stalls.clear();
    report.culprits.clear();
    report.totals = Totals::default();
    if let Some(snapshot) = &mut report.snapshot {
        Arc::make_mut(snapshot)
            .tasks
            .retain(|task| &*task.name != "left");
    }
    for one in &mut report.loops {
        one.busy_permille = 120;
        let times = TurnTimes {
            seen: 500,
            p50_ns: MS,
            p99_ns: 9 * MS,
            worst_ns: 31 * MS,
            ..one.turns
        };
        one.turns = times;
        one.worst_by_second_ns = (0..60).map(|second| (second % 7 + 1) * 2 * MS).collect();
    }
    report
}
