//! Where the parts of the screen stand.
//!
//! ```text
//! pid 4242  Python 3.12.1  up 3h12m  python app.py           TARGET EXITED
//! 100/s asked  got 100  late 0%  torn 0%  failed 0%  not pausing
//! loop  now  busy  p99  worst  last minute  tasks  ready  timers  late
//! …
//! loop blocked 1.24 s by task blocker in handler app.py:42 time.sleep(2)
//! [Stalls] o:Hot t:Tasks …
//! list or graph
//! story of the selected row, where there is room
//! hints, filter or message                                              3/12
//! ```

use ratatui::layout::{Rect, Size};

/// Below this size nothing is drawn but a note.
pub(crate) const LEAST: Size = Size {
    width: 60,
    height: 12,
};

/// From this width on the story stands beside the list.
const WIDE: u16 = 160;

/// From this height of list and story together on, the story gets at least half of it.
const TALL: u16 = 18;

/// A short list leaves the rest to the story, if that is at least so many lines.
const WORTHWHILE: u16 = 6;

/// Least height of a list with the story below it.
const SHORT: u16 = 5;

/// The parts of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    /// Two lines: identity and quality.
    pub(crate) identity: Rect,
    /// Headings and one line a loop.
    pub(crate) loops: Rect,
    pub(crate) verdict: Rect,
    pub(crate) tabs: Rect,
    /// The list, graph or story.
    pub(crate) body: Rect,
    /// The story of the selected row; `None` without room.
    pub(crate) preview: Option<Rect>,
    pub(crate) footer: Rect,
}

impl Areas {
    /// For a screen of this size, so many loops and so many rows of the list; `None` if it is
    /// too small.
    pub(crate) fn new(size: Size, loops: usize, rows: usize) -> Option<Self> {
        if size.width < LEAST.width || size.height < LEAST.height {
            return None;
        }
        let most_loops = match size.height {
            0..16 => 1,
            16..30 => 3,
            _ => 6,
        };
        let loop_lines = u16::try_from(loops.clamp(1, most_loops)).unwrap_or(1) + 1;
        let mut y = 0;
        let mut take = |height: u16| {
            let area = Rect::new(0, y, size.width, height);
            y += height;
            area
        };
        let identity = take(2);
        let loops = take(loop_lines);
        let verdict = take(1);
        // A free line sets the header apart where lines are plenty.
        take(u16::from(size.height >= 20));
        let tabs = take(1);
        let body = take(0);
        let rest = Rect {
            height: size.height - body.y - 1,
            ..body
        };
        let (body, preview) = split(rest, rows);
        let footer = Rect::new(0, size.height - 1, size.width, 1);
        Some(Self {
            identity,
            loops,
            verdict,
            tabs,
            body,
            preview,
            footer,
        })
    }

    /// List and story as one area.
    pub(crate) fn whole_body(&self) -> Rect {
        self.preview
            .map_or(self.body, |preview| self.body.union(preview))
    }
}

/// Shares the area out to list and story. A short list leaves room to the story.
fn split(area: Rect, rows: usize) -> (Rect, Option<Rect>) {
    let wanted = u16::try_from(rows)
        .unwrap_or(u16::MAX - WORTHWHILE - 1)
        .saturating_add(1);
    let wanted = wanted.min(u16::MAX - WORTHWHILE);
    let most = if area.height >= TALL {
        area.height / 2
    } else {
        area.height
    };
    if area.width >= WIDE {
        let list = area.width * 3 / 5;
        let story = Rect {
            x: area.x + list,
            width: area.width - list,
            ..area
        };
        (
            Rect {
                width: list,
                ..area
            },
            Some(story),
        )
    } else if area.height >= wanted + WORTHWHILE || area.height >= TALL {
        let list = wanted.max(SHORT).min(area.height - WORTHWHILE).min(most);
        let story = Rect {
            y: area.y + list,
            height: area.height - list,
            ..area
        };
        (
            Rect {
                height: list,
                ..area
            },
            Some(story),
        )
    } else {
        (area, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_used_once() {
        for (width, height) in [
            (60, 12),
            (80, 24),
            (120, 40),
            (200, 60),
            (160, 12),
            (60, 200),
        ] {
            for loops in [0, 1, 2, 50] {
                let areas = Areas::new(Size { width, height }, loops, loops).unwrap();
                let body = areas.whole_body();
                assert!(
                    areas.body.height >= 4,
                    "{width}x{height}, {loops} loops: {areas:?}"
                );
                assert!(areas.tabs.bottom() == body.y && areas.footer.y == body.bottom());
                assert!(areas.footer.bottom() == height && body.width == width);
            }
        }
    }

    #[test]
    fn too_small_is_said() {
        assert_eq!(
            Areas::new(
                Size {
                    width: 59,
                    height: 24
                },
                1,
                1
            ),
            None
        );
        assert_eq!(
            Areas::new(
                Size {
                    width: 80,
                    height: 11
                },
                1,
                1
            ),
            None
        );
    }
}
