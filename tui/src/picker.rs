//! The picker: the Python processes that this user may look into.

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};

use crate::ascii;
use crate::backend::{Error, Exit, Options, Picked, ProcessSource};
use crate::dispatch::{Effect, edit_filter};
use crate::events::{Stage, drive};
use crate::keys::{Action, action};
use crate::layout::LEAST;
use crate::list::ListState;
use crate::pieces::{Piece, draw_pieces};
use crate::table::put;
use crate::text::clean;
use crate::theme::{Theme, Tone};
use crate::views::processes::Processes;

/// Lets the user choose a process from a list that stays up to date.
///
/// # Errors
/// Standard input or output is not a terminal, it cannot be used, or another thread panicked.
pub fn pick(source: &mut dyn ProcessSource, options: &Options) -> Result<Picked, Error> {
    let mut picker = Picker::new(source, options);
    let exit = drive(&mut picker)?;
    Ok(match picker.picked() {
        Some(pid) if exit == Exit::Quit => Picked::Process(pid),
        _ => Picked::Exit(exit),
    })
}

/// The state of the picker.
pub(crate) struct Picker<'a> {
    source: &'a mut dyn ProcessSource,
    theme: Theme,
    ascii: bool,
    rows: Processes,
    list: ListState,
    /// The filter before typing began; `None` while nobody types.
    typing: Option<String>,
    size: Size,
    picked: Option<i32>,
}

impl<'a> Picker<'a> {
    /// With an empty list.
    pub(crate) fn new(source: &'a mut dyn ProcessSource, options: &Options) -> Self {
        Self {
            source,
            theme: Theme::new(options.color.resolve(|name| std::env::var(name).ok())),
            ascii: options.ascii,
            rows: Processes::default(),
            list: ListState::default(),
            typing: None,
            size: Size::default(),
            picked: None,
        }
    }

    /// The process that was chosen.
    pub(crate) const fn picked(&self) -> Option<i32> {
        self.picked
    }

    fn act(&mut self, action: Action) -> Effect {
        let page = isize::try_from(self.size.height.saturating_sub(4))
            .unwrap_or(1)
            .max(1);
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::Redraw => return Effect::Redraw,
            Action::Open => return self.choose(),
            Action::Up => self.list.move_by(-1, &self.rows),
            Action::Down => self.list.move_by(1, &self.rows),
            Action::PageUp => self.list.move_by(-page, &self.rows),
            Action::PageDown => self.list.move_by(page, &self.rows),
            Action::First | Action::Last => {
                self.list.move_to_end(action == Action::Last, &self.rows);
            }
            Action::SortNext => self.list.sort_by_neighbour(true, &self.rows),
            Action::SortPrevious => self.list.sort_by_neighbour(false, &self.rows),
            Action::SortColumn(number) => {
                self.list
                    .sort_by(usize::from(number.saturating_sub(1)), &self.rows);
            }
            Action::Invert => self.list.invert(),
            Action::Filter => self.typing = Some(self.list.filter.clone()),
            Action::Clear | Action::Back => self.list.filter.clear(),
            _ => return Effect::Ignore,
        }
        self.list.update(&self.rows);
        self.follow();
        Effect::Draw
    }

    fn choose(&mut self) -> Effect {
        self.picked = self.list.selected().map(|row| self.rows.rows[row].pid);
        if self.picked.is_some() {
            Effect::Quit
        } else {
            Effect::Ignore
        }
    }

    fn type_filter(&mut self, key: KeyEvent, before: &str) -> Effect {
        match edit_filter(&mut self.list.filter, key.code, before) {
            None => return Effect::Ignore,
            Some(true) => {}
            Some(false) => self.typing = None,
        }
        self.list.update(&self.rows);
        self.follow();
        if key.code == KeyCode::Enter && self.list.shown() == 1 {
            return self.choose();
        }
        Effect::Draw
    }

    fn follow(&mut self) {
        self.list
            .scroll_into(usize::from(self.size.height.saturating_sub(4)));
    }

    fn draw_footer(&self, buffer: &mut Buffer, area: Rect) {
        let pieces = if self.typing.is_some() {
            vec![
                Piece::new(0, format!("/{}█", clean(&self.list.filter)), Tone::Strong),
                Piece::new(1, "Enter keep  Esc drop", Tone::Dim),
            ]
        } else {
            let filter = match self.list.filter.as_str() {
                "" => String::new(),
                filter => format!("filter: {}", clean(filter)),
            };
            vec![
                Piece::new(0, filter, Tone::Found),
                Piece::new(0, "Enter look into it", Tone::Dim),
                Piece::new(1, "/ filter", Tone::Dim),
                Piece::new(2, "< > sort", Tone::Dim),
                Piece::new(0, "q quit", Tone::Dim),
            ]
        };
        draw_pieces(buffer, area, &pieces, 2, self.theme);
    }
}

impl Stage for Picker<'_> {
    fn poll(&mut self, _now: Instant) -> bool {
        let Some(rows) = self.source.latest() else {
            return false;
        };
        self.rows = Processes { rows, known: true };
        self.list.update(&self.rows);
        self.follow();
        true
    }

    fn press(&mut self, key: KeyEvent) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::Ignore;
        }
        if let Some(before) = self.typing.clone()
            && !key.modifiers.contains(KeyModifiers::CONTROL)
        {
            return self.type_filter(key, &before);
        }
        action(key).map_or(Effect::Ignore, |action| self.act(action))
    }

    fn resize(&mut self, size: Size) {
        self.size = size;
        self.follow();
    }

    fn draw(&self, frame: &mut Frame) {
        let buffer = frame.buffer_mut();
        let area = buffer.area;
        if area.width < LEAST.width || area.height < LEAST.height {
            let note = format!(
                "terminal too small: {}x{} needed",
                LEAST.width, LEAST.height
            );
            put(
                buffer,
                area,
                (area.x, area.y),
                &note,
                self.theme.style(Tone::Strong),
            );
        } else {
            let title = "Python processes that you may read: which one does not answer?";
            put(
                buffer,
                area,
                (area.x + 1, area.y),
                title,
                self.theme.style(Tone::Strong),
            );
            let body = Rect {
                y: area.y + 2,
                height: area.height - 3,
                ..area
            };
            self.list.draw(buffer, body, &self.rows, self.theme);
            let footer = Rect {
                x: 1,
                y: area.bottom() - 1,
                width: area.width - 1,
                height: 1,
            };
            self.draw_footer(buffer, footer);
        }
        if self.ascii {
            ascii::degrade(buffer);
        }
    }

    fn ascii(&self) -> bool {
        self.ascii
    }
}
