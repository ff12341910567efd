//! A recorded profile, the input of the flame graph and its siblings.

use std::sync::Arc;

use asyncspy_model::SamplingQuality;
pub use asyncspy_model::profile::{FrameLabel, Run, Timeline};
use asyncspy_model::sample::Session;

use super::escape::escape;
use super::quality_text;
use super::units::duration;

/// Where the time of a recording went.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What a person reads first; unescaped.
    pub title: String,
    /// The session that was recorded.
    pub session: Session,
    /// How well it was sampled.
    pub quality: SamplingQuality,
    /// How long it was recorded.
    pub duration_ns: u64,
    /// Which time was counted: `busy`, `stalls`, `waits`, `wall`.
    pub mode: Arc<str>,
    /// Distinct stacks, root first, each with its time in nanoseconds.
    pub stacks: Vec<(Vec<FrameLabel>, u64)>,
    /// What each loop ran when; empty where the mode has no order in time.
    pub timelines: Vec<Timeline>,
}

/// How frames are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelOptions {
    /// True to merge the lines of a function.
    pub by_function: bool,
    /// True for the whole path of a file, else what tells it apart.
    pub full_filenames: bool,
}

/// A frame as it is shown: escaped, and the same for all that are merged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FrameName {
    pub(super) name: Arc<str>,
    /// `None` for what is not code.
    pub(super) file: Option<Arc<str>>,
    /// 0 when unknown or merged.
    pub(super) line: u32,
}

impl FrameName {
    /// `function (file:line)`, `function (file)`, or the name alone.
    pub(super) fn text(&self) -> String {
        match (&self.file, self.line) {
            (None, _) => self.name.to_string(),
            (Some(file), 0) => format!("{} ({file})", self.name),
            (Some(file), line) => format!("{} ({file}:{line})", self.name),
        }
    }
}

impl LabelOptions {
    /// The name of a frame. An empty one is `?`, because formats take it for no frame at all.
    pub(super) fn frame_name(self, label: &FrameLabel) -> FrameName {
        let shown = |text: &str| match text.trim() {
            "" => Arc::from("?"),
            text => Arc::from(&*escape(text)),
        };
        match label {
            FrameLabel::Plain(text) => FrameName {
                name: shown(text),
                file: None,
                line: 0,
            },
            FrameLabel::Code(location) => FrameName {
                name: shown(&location.function),
                file: Some(shown(self.file(&location.file))),
                line: if self.by_function { 0 } else { location.line },
            },
        }
    }

    fn file(self, file: &str) -> &str {
        if self.full_filenames {
            file
        } else {
            short_file(file)
        }
    }
}

/// The part of a path that tells a file apart: below `site-packages` or the standard library's
/// folder, else its last two components.
fn short_file(file: &str) -> &str {
    if file.starts_with('<') {
        return file;
    }
    for folder in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, inside)) = file.rsplit_once(folder) {
            return inside;
        }
    }
    if let Some(inside) = inside_library(file) {
        return inside;
    }
    match file.rmatch_indices('/').nth(1) {
        Some((at, _)) => &file[at + 1..],
        None => file,
    }
}

/// What follows `/lib/python3.X/`.
fn inside_library(file: &str) -> Option<&str> {
    let (_, below) = file.rsplit_once("/python3.")?;
    let (version, inside) = below.split_once('/')?;
    let is_version = |byte: u8| byte.is_ascii_digit() || byte == b't';
    version.bytes().all(is_version).then_some(inside)
}

impl Profile {
    /// One line with what was recorded and how well; escaped.
    pub(super) fn subtitle(&self) -> String {
        let session = &self.session;
        let rate = match session.interval_ns {
            0 => String::new(),
            interval => format!(" {} Hz for", 1_000_000_000 / interval),
        };
        let text = format!(
            "pid {}, Python {}, mode {},{rate} {}: {}, {}",
            session.pid,
            escape(&session.python),
            escape(&self.mode),
            duration(self.duration_ns),
            quality_text::sampling(&self.quality),
            escape(&session.command),
        );
        escape(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{HOSTILE, at};
    use super::*;

    #[test]
    fn files_are_shortened_to_what_tells_them_apart() {
        let cases = [
            (
                "/venv/lib/python3.12/site-packages/aiohttp/web.py",
                "aiohttp/web.py",
            ),
            (
                "/usr/lib/python3/dist-packages/yaml/loader.py",
                "yaml/loader.py",
            ),
            (
                "/usr/lib/python3.13t/asyncio/events.py",
                "asyncio/events.py",
            ),
            ("/srv/app/shop/views.py", "shop/views.py"),
            ("/srv/python3.x/views.py", "python3.x/views.py"),
            ("views.py", "views.py"),
            ("/views.py", "/views.py"),
            (
                "<frozen importlib._bootstrap>",
                "<frozen importlib._bootstrap>",
            ),
            ("", ""),
        ];
        for (file, short) in cases {
            assert_eq!(short_file(file), short, "{file}");
        }
    }

    #[test]
    fn names_follow_the_options() {
        let label = FrameLabel::Code(at("f", "/srv/app/shop/views.py", 7));
        let text = |by_function, full_filenames| {
            let options = LabelOptions {
                by_function,
                full_filenames,
            };
            options.frame_name(&label).text()
        };
        assert_eq!(text(false, false), "f (shop/views.py:7)");
        assert_eq!(text(true, false), "f (shop/views.py)");
        assert_eq!(text(false, true), "f (/srv/app/shop/views.py:7)");
        let plain = |text: &str| {
            LabelOptions::default()
                .frame_name(&FrameLabel::Plain(text.into()))
                .text()
        };
        assert_eq!(plain(" "), "?");
        assert!(plain(HOSTILE).starts_with("evil\\x1b[2J"));
    }
}
