//! What the keys do to the state.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::app::{App, Input};
use crate::backend::{Backend, Save};
use crate::keys::{Action, action};
use crate::views::ViewKind;
use crate::views::flame::Step;

/// The refresh intervals that `+` and `-` step through.
const REFRESH_MS: [u64; 7] = [100, 250, 500, 1_000, 2_000, 5_000, 10_000];

/// No filter is longer than this many characters.
const FILTER_CHARS: usize = 200;

/// What a key asks of the loop around the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Draw the new state.
    Draw,
    /// The key has no meaning here.
    Ignore,
    Quit,
    Suspend,
    /// Draw every cell anew.
    Redraw,
    /// Show this on the ordinary screen, for copying.
    Plain(String),
}

impl App {
    /// Does what the key asks for.
    pub(crate) fn press(&mut self, event: KeyEvent, backend: &mut dyn Backend) -> Effect {
        if event.kind == KeyEventKind::Release {
            return Effect::Ignore;
        }
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        if !control {
            match self.input.clone() {
                Input::Keys => {}
                Input::Filter { before } => return self.type_filter(event, &before, backend),
                Input::Save => return self.choose_save(event, backend),
            }
        }
        let Some(action) = action(event) else {
            return Effect::Ignore;
        };
        self.message = None;
        self.act(action, backend)
    }

    fn act(&mut self, action: Action, backend: &mut dyn Backend) -> Effect {
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::Redraw => return Effect::Redraw,
            Action::Plain => return self.plain(backend),
            Action::View(view) => self.open_view(view, backend),
            Action::NextView => self.open_view(self.view.neighbour(true), backend),
            Action::PreviousView => self.open_view(self.view.neighbour(false), backend),
            Action::Freeze => self.freeze(backend),
            Action::Reset => {
                backend.reset();
                self.message = Some(("forgotten; gathering anew".into(), false));
            }
            Action::Faster => self.change_refresh(false, backend),
            Action::Slower => self.change_refresh(true, backend),
            Action::Dump => self.save(Save::Dump, backend),
            Action::Save => self.input = Input::Save,
            Action::Back => self.back(backend),
            other if self.story.is_some() => self.scroll_story(other),
            other if self.view == ViewKind::Flame => self.act_on_flame(other, backend),
            other => self.act_on_list(other, backend),
        }
        Effect::Draw
    }

    fn act_on_list(&mut self, action: Action, backend: &mut dyn Backend) {
        let page = isize::try_from(self.page()).unwrap_or(1);
        match action {
            Action::Up => self.move_by(-1, backend),
            Action::Down => self.move_by(1, backend),
            Action::PageUp => self.move_by(-page, backend),
            Action::PageDown => self.move_by(page, backend),
            Action::First | Action::Last => {
                if let Some(rows) = &self.rows {
                    let last = action == Action::Last;
                    self.lists[self.view as usize].move_to_end(last, &**rows);
                }
                self.follow_selection(backend);
            }
            Action::Open => self.open_story(backend),
            Action::Filter => {
                self.input = Input::Filter {
                    before: self.list().filter.clone(),
                };
            }
            Action::Clear => {
                self.lists[self.view as usize].filter.clear();
                self.reorder(backend);
            }
            other => self.change_order(other, backend),
        }
    }

    fn act_on_flame(&mut self, action: Action, backend: &mut dyn Backend) {
        match action {
            Action::Up | Action::PageUp => self.flame.go(self.vertical(true)),
            Action::Down | Action::PageDown => self.flame.go(self.vertical(false)),
            Action::SortPrevious => self.flame.go(Step::Left),
            Action::SortNext => self.flame.go(Step::Right),
            Action::First => self.flame.go(Step::First),
            Action::Last => self.flame.go(Step::Last),
            Action::Open => self.flame.zoom_in(),
            Action::Invert => self.flame.inverted = !self.flame.inverted,
            Action::Clear => {
                self.flame.reset();
                self.act_on_list(action, backend);
            }
            Action::Filter => self.act_on_list(action, backend),
            _ => {}
        }
        self.follow_selection(backend);
    }

    /// Where a step up or down leads: to the caller on the side where the root stands.
    const fn vertical(&self, up: bool) -> Step {
        if up == self.flame.inverted {
            Step::In
        } else {
            Step::Out
        }
    }

    fn move_by(&mut self, steps: isize, backend: &mut dyn Backend) {
        if let Some(rows) = &self.rows {
            self.lists[self.view as usize].move_by(steps, &**rows);
        }
        self.follow_selection(backend);
    }

    /// Sorts or groups the list another way.
    fn change_order(&mut self, action: Action, backend: &mut dyn Backend) {
        let Some(rows) = &self.rows else { return };
        let list = &mut self.lists[self.view as usize];
        match action {
            Action::SortNext => list.sort_by_neighbour(true, &**rows),
            Action::SortPrevious => list.sort_by_neighbour(false, &**rows),
            Action::SortColumn(number) => {
                list.sort_by(usize::from(number.saturating_sub(1)), &**rows);
            }
            Action::Invert => list.invert(),
            Action::Group => {
                self.change_grouping(backend);
                return;
            }
            _ => return,
        }
        self.reorder(backend);
    }

    fn change_grouping(&mut self, backend: &mut dyn Backend) {
        let groupings = self.view.groupings();
        if groupings.is_empty() {
            return;
        }
        let list = &mut self.lists[self.view as usize];
        list.grouping = (list.grouping + 1) % groupings.len();
        self.message = Some((format!("now {}", groupings[list.grouping]), false));
        self.rebuild(backend);
    }

    fn scroll_story(&mut self, action: Action) {
        let page = self.page();
        let most = self.story_height().saturating_sub(page);
        let Some(story) = &mut self.story else { return };
        let skip = match action {
            Action::Up => story.skip.saturating_sub(1),
            Action::Down => story.skip + 1,
            Action::PageUp => story.skip.saturating_sub(page),
            Action::PageDown => story.skip + page,
            Action::First => 0,
            Action::Last => most,
            _ => story.skip,
        };
        story.skip = skip.min(most);
    }

    /// One step back: out of the story, then of the zoom, then of the filter.
    fn back(&mut self, backend: &mut dyn Backend) {
        if self.view == ViewKind::Help {
            self.open_view(ViewKind::Stalls, backend);
        } else if self.story.take().is_some()
            || (self.view == ViewKind::Flame && self.flame.zoom_out())
        {
            self.follow_selection(backend);
        } else {
            self.lists[self.view as usize].filter.clear();
            self.reorder(backend);
        }
    }

    fn freeze(&mut self, backend: &mut dyn Backend) {
        self.flags.frozen = !self.flags.frozen;
        if !self.flags.frozen {
            self.show_live(backend);
        }
    }

    fn change_refresh(&mut self, slower: bool, backend: &mut dyn Backend) {
        let now = self.options.refresh;
        let mut steps = REFRESH_MS.map(Duration::from_millis).into_iter();
        let next = if slower {
            steps.find(|step| *step > now)
        } else {
            steps.rev().find(|step| *step < now)
        };
        self.options.refresh = next.unwrap_or(now);
        backend.set_refresh(self.options.refresh);
        let text = format!("refresh every {} ms", self.options.refresh.as_millis());
        self.message = Some((text, false));
    }

    fn save(&mut self, what: Save, backend: &mut dyn Backend) {
        self.message = Some(match backend.save(what) {
            Ok(saved) => (format!("wrote {saved}"), false),
            Err(why) => (format!("not written: {why}"), true),
        });
    }

    fn choose_save(&mut self, event: KeyEvent, backend: &mut dyn Backend) -> Effect {
        self.input = Input::Keys;
        self.message = None;
        match event.code {
            KeyCode::Char('f' | 'F') => self.save(Save::FlameGraph, backend),
            KeyCode::Char('j' | 'J') => self.save(Save::Json, backend),
            _ => {}
        }
        Effect::Draw
    }

    fn type_filter(&mut self, event: KeyEvent, before: &str, backend: &mut dyn Backend) -> Effect {
        match edit_filter(
            &mut self.lists[self.view as usize].filter,
            event.code,
            before,
        ) {
            None => return Effect::Ignore,
            Some(true) => {}
            Some(false) => self.input = Input::Keys,
        }
        self.reorder(backend);
        Effect::Draw
    }

    /// The story that is open, or that of what is selected, as plain text.
    fn plain(&mut self, backend: &mut dyn Backend) -> Effect {
        let document = match &self.story {
            Some(story) => Some(story.document.clone()),
            None => self.selected_document(backend),
        };
        match document {
            Some(document) => Effect::Plain(document.plain_text()),
            None => {
                self.message = Some(("nothing is selected".into(), true));
                Effect::Draw
            }
        }
    }
}

/// Edits a filter by a key: true while typing goes on, false when the filter was kept or dropped,
/// `None` for a key without a meaning.
pub(crate) fn edit_filter(filter: &mut String, key: KeyCode, before: &str) -> Option<bool> {
    match key {
        KeyCode::Enter => return Some(false),
        KeyCode::Esc => {
            before.clone_into(filter);
            return Some(false);
        }
        KeyCode::Backspace => {
            filter.pop();
        }
        KeyCode::Char(character) if filter.chars().count() < FILTER_CHARS => filter.push(character),
        _ => return None,
    }
    Some(true)
}
