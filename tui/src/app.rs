//! The state of the view: what is shown, and what a person has set up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use asyncspy_model::report::Report;
use asyncspy_model::{AwaitGraph, Location, Snapshot};
use ratatui::layout::Size;

use crate::backend::{Backend, Options};
use crate::document::Document;
use crate::header::Flags;
use crate::help;
use crate::layout::Areas;
use crate::list::ListState;
use crate::pieces::Piece;
use crate::text::Needle;
use crate::theme::Theme;
use crate::verdict::verdict;
use crate::views::flame::Flame;
use crate::views::{Material, Rows, Thresholds, ViewKind, rows_of};

/// At most this many source lines are kept.
const SOURCES: usize = 4_096;

/// A document that fills the body and can be scrolled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) document: Document,
    /// Screen lines above the first visible one.
    pub(crate) skip: usize,
    /// The row it tells of.
    pub(crate) identity: u64,
    /// True once the row is no longer among the rows: the story is its last one.
    pub(crate) gone: bool,
}

/// What the keyboard is for at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Input {
    /// The keys of the table.
    #[default]
    Keys,
    /// Typing a filter; `before` comes back when it is dropped.
    Filter { before: String },
    /// Choosing what to save.
    Save,
}

/// Source lines that were asked for, and the answers.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: HashMap<Location, Option<Arc<str>>>,
}

impl Sources {
    /// The source line of a place, asked for once.
    pub(crate) fn line(
        &mut self,
        backend: &mut dyn Backend,
        location: &Location,
    ) -> Option<Arc<str>> {
        if let Some(known) = self.known.get(location) {
            return known.clone();
        }
        if self.known.len() >= SOURCES {
            self.known.clear();
        }
        let line = backend.source_line(location).map(Arc::from);
        self.known.insert(location.clone(), line.clone());
        line
    }
}

/// The state.
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) theme: Theme,
    pub(crate) thresholds: Thresholds,
    /// The newest report.
    pub(crate) live: Option<Arc<Report>>,
    /// The report on the screen; an older one while frozen.
    pub(crate) shown: Option<Arc<Report>>,
    /// Who awaits whom in the census of the report on the screen.
    pub(crate) graph: Arc<AwaitGraph>,
    pub(crate) flags: Flags,
    pub(crate) view: ViewKind,
    pub(crate) lists: [ListState; ViewKind::ALL.len()],
    /// The rows of the present view, if it is a list.
    pub(crate) rows: Option<Box<dyn Rows>>,
    pub(crate) flame: Flame,
    /// The story that was opened, or the help.
    pub(crate) story: Option<Story>,
    /// The story of the selected row, where there is room for it.
    pub(crate) preview: Document,
    pub(crate) verdict: Vec<Piece>,
    pub(crate) input: Input,
    /// One line to tell the outcome of a key, until the next key; true if it went wrong.
    pub(crate) message: Option<(String, bool)>,
    pub(crate) sources: Sources,
    pub(crate) size: Size,
    /// `None` if the screen is too small.
    pub(crate) areas: Option<Areas>,
}

impl App {
    /// Nothing to show yet.
    pub(crate) fn new(options: &Options) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            options: options.clone(),
            theme: Theme::new(options.color.resolve(|name| std::env::var(name).ok())),
            thresholds: Thresholds {
                stall_ns: nanoseconds(options.stall_threshold),
                error_ns: nanoseconds(options.error_threshold),
            },
            live: None,
            shown: None,
            graph: Arc::default(),
            flags: Flags::default(),
            view: ViewKind::Stalls,
            lists: Default::default(),
            rows: None,
            flame: Flame::default(),
            story: None,
            preview: Document::default(),
            verdict: Vec::new(),
            input: Input::default(),
            message: None,
            sources: Sources::default(),
            size: Size::default(),
            areas: None,
        }
    }

    /// Takes a new report. While frozen it is kept for later.
    pub(crate) fn accept(&mut self, report: Arc<Report>, backend: &mut dyn Backend) {
        self.live = Some(report);
        if !self.flags.frozen {
            self.show_live(backend);
        }
    }

    /// Puts the newest report on the screen.
    pub(crate) fn show_live(&mut self, backend: &mut dyn Backend) {
        let before = self.shown.take().and_then(|report| report.snapshot.clone());
        self.shown.clone_from(&self.live);
        let Some(report) = self.shown.clone() else {
            return;
        };
        let same = |census: &Arc<Snapshot>| before.as_ref().is_some_and(|b| Arc::ptr_eq(b, census));
        if !report.snapshot.as_ref().is_some_and(same) {
            let census = report.snapshot.as_deref();
            let graph = census.map(|census| AwaitGraph::build(&census.tasks));
            self.graph = Arc::new(graph.unwrap_or_default());
        }
        self.rebuild(backend);
        let sources = &mut self.sources;
        let deadlocked = self.graph.in_cycles();
        self.verdict = verdict(&report, deadlocked, &mut |place| {
            sources.line(backend, place)
        });
    }

    /// Makes the rows of the present view anew, and all that hangs on them.
    pub(crate) fn rebuild(&mut self, backend: &mut dyn Backend) {
        let grouping = self.list().grouping;
        let (graph, thresholds) = (&self.graph, self.thresholds);
        self.rows = self.shown.as_ref().and_then(|report| {
            rows_of(
                self.view,
                Material {
                    report,
                    graph,
                    thresholds,
                    grouping,
                },
            )
        });
        self.reorder(backend);
    }

    /// Sorts and filters the rows anew.
    pub(crate) fn reorder(&mut self, backend: &mut dyn Backend) {
        if let Some(rows) = &self.rows {
            self.lists[self.view as usize].update(&**rows);
        }
        if let (ViewKind::Flame, Some(report)) = (self.view, &self.shown) {
            self.flame
                .update(&report.call_tree, &Needle::new(&self.list().filter));
        }
        self.lay_out(self.size);
        self.refresh_story(backend);
        self.follow_selection(backend);
    }

    /// Brings an opened story up to date, if its row still exists.
    fn refresh_story(&mut self, backend: &mut dyn Backend) {
        let (Some(rows), Some(story)) = (&self.rows, &mut self.story) else {
            return;
        };
        let found = (0..rows.len()).find(|row| rows.identity(*row) == story.identity);
        story.gone = found.is_none();
        if let Some(row) = found {
            let sources = &mut self.sources;
            story.document = rows.document(row, &mut |place| sources.line(backend, place));
        }
    }

    /// Scrolls to the selected row and tells its story, where there is room for it.
    pub(crate) fn follow_selection(&mut self, backend: &mut dyn Backend) {
        let Some(areas) = self.areas else { return };
        let body = areas.whole_body();
        self.flame
            .fit(body.width, usize::from(body.height.saturating_sub(1)));
        let list = &mut self.lists[self.view as usize];
        list.scroll_into(usize::from(areas.body.height.saturating_sub(1)));
        self.preview = Document::default();
        if self.rows.is_some() && areas.preview.is_some() {
            self.preview = self.selected_document(backend).unwrap_or_default();
        }
    }

    /// Adapts to the size of the screen.
    pub(crate) fn resize(&mut self, size: Size, backend: &mut dyn Backend) {
        if self.size != size {
            self.lay_out(size);
            self.follow_selection(backend);
        }
    }

    fn lay_out(&mut self, size: Size) {
        let loops = self.shown.as_ref().map_or(0, |report| report.loops.len());
        self.size = size;
        self.areas = Areas::new(size, loops, self.list().shown());
    }

    /// Opens another view.
    pub(crate) fn open_view(&mut self, view: ViewKind, backend: &mut dyn Backend) {
        self.view = view;
        self.story = None;
        if view == ViewKind::Help {
            self.story = Some(Story {
                document: help::document(),
                ..Story::default()
            });
        }
        self.rebuild(backend);
    }

    /// Opens the story of the selected row.
    pub(crate) fn open_story(&mut self, backend: &mut dyn Backend) {
        let (Some(rows), Some(row)) = (&self.rows, self.list().selected()) else {
            return;
        };
        let identity = rows.identity(row);
        if let Some(document) = self.selected_document(backend) {
            self.story = Some(Story {
                document,
                identity,
                ..Story::default()
            });
        }
    }

    /// The story of what is selected; `None` if nothing is.
    pub(crate) fn selected_document(&mut self, backend: &mut dyn Backend) -> Option<Document> {
        let row = self.list().selected();
        let sources = &mut self.sources;
        let mut lookup = |place: &Location| sources.line(backend, place);
        match &self.rows {
            Some(rows) => row.map(|row| rows.document(row, &mut lookup)),
            None if self.view == ViewKind::Flame => Some(self.flame.document(&mut lookup)),
            None => None,
        }
    }

    /// The list of the present view.
    pub(crate) fn list(&self) -> &ListState {
        &self.lists[self.view as usize]
    }

    /// How many screen lines the open story has.
    pub(crate) fn story_height(&self) -> usize {
        let (Some(story), Some(areas)) = (&self.story, &self.areas) else {
            return 0;
        };
        // One column is kept free at its left.
        let columns = usize::from(areas.whole_body().width.saturating_sub(1));
        story.document.lay_out(columns).len()
    }

    /// How many lines a page has.
    pub(crate) fn page(&self) -> usize {
        self.areas.map_or(1, |areas| {
            let lines = if self.story.is_some() {
                areas.whole_body().height
            } else {
                areas.body.height.saturating_sub(1)
            };
            usize::from(lines).max(1)
        })
    }
}
