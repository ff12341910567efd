//! `watch`: a line for each stall, fit to be left in a log for a week.
//!
//! Stalls of one culprit are written one by one three times, then folded into lines that come
//! ever more seldom. Lines are rationed as a whole, and no more culprits are remembered than a
//! fixed number, so neither the log nor memory grows with what the target does.

use std::collections::{BTreeSet, HashMap};
use std::io;

use asyncspy_model::Stall;
use asyncspy_model::sample::Session;

use super::escape::escape;
use super::stall_memory::{Culprit, Ration, SECOND};
use super::stall_text::{circumstances, culprit};
use super::style::{LineWriter, Role, Style};
use super::units::{Moment, duration};

/// Culprits that are remembered; the one not seen for longest makes room.
const MAX_CULPRITS: usize = 1000;

/// How the log is made.
#[derive(Clone, Copy, Debug)]
pub struct StallLogOptions {
    /// True to write every stall, without folding and rationing.
    pub all: bool,
    /// Stalls from this length on are errors.
    pub error_threshold_ns: u64,
    /// Seconds east of UTC of the times written.
    pub offset_s: i32,
    /// How it looks.
    pub style: Style,
}

/// Writes stalls as they come.
pub struct StallLog {
    options: StallLogOptions,
    culprits: HashMap<String, Culprit>,
    /// Numbers of stalls that were written while they went on.
    announced: BTreeSet<u64>,
    ration: Ration,
    /// The date of the last line.
    date: String,
    /// No fold is due before.
    next_fold_ns: u64,
}

impl StallLog {
    /// A log without lines.
    #[must_use]
    pub fn new(options: StallLogOptions) -> Self {
        Self {
            options,
            culprits: HashMap::new(),
            announced: BTreeSet::new(),
            ration: Ration::default(),
            date: String::new(),
            next_fold_ns: u64::MAX,
        }
    }

    /// Writes what is watched.
    ///
    /// # Errors
    /// What the writer returned, a closed pipe included.
    pub fn write_start(
        &self,
        out: &mut dyn io::Write,
        session: &Session,
        threshold_ns: u64,
    ) -> io::Result<()> {
        let mut lines = self.lines(out);
        let text = format!(
            "watching pid {}, Python {}, for stalls from {} (errors from {}); times are {}",
            session.pid,
            escape(&session.python),
            duration(threshold_ns),
            duration(self.options.error_threshold_ns),
            zone(self.options.offset_s),
        );
        lines.painted(Role::Heading, &text)?;
        lines.painted(Role::Faint, &session.command)
    }

    /// Takes a stall that is over or that goes on. One that goes on is written once, as soon as
    /// it is an error; the caller may pass it as often as it likes.
    ///
    /// # Errors
    /// What the writer returned, a closed pipe included.
    pub fn write_stall(&mut self, out: &mut dyn io::Write, stall: &Stall) -> io::Result<()> {
        let now_ns = stall.began_monotonic_ns.saturating_add(stall.duration_ns);
        self.ration.refill(now_ns);
        let key = culprit(&stall.label, stall.culprit());
        if stall.ongoing {
            return self.announce(out, stall, &key);
        }
        self.make_room(out, &key)?;
        let was_announced = self.announced.remove(&stall.number);
        let entry = self.culprits.entry(key.clone()).or_default();
        entry.see(now_ns);
        let is_free = self.options.all || was_announced;
        if is_free || (entry.is_news(stall.duration_ns) && self.ration.take()) {
            entry.shown += 1;
            entry.longest_shown_ns = entry.longest_shown_ns.max(stall.duration_ns);
            self.write_line(out, stall, &key)?;
        } else {
            entry.fold(stall, now_ns);
            self.next_fold_ns = self.next_fold_ns.min(entry.fold_due_ns);
        }
        self.write_due(out, now_ns)
    }

    /// Writes the folds that are due; to be called now and then even if nothing stalls.
    ///
    /// # Errors
    /// What the writer returned, a closed pipe included.
    pub fn write_due(&mut self, out: &mut dyn io::Write, now_monotonic_ns: u64) -> io::Result<()> {
        if now_monotonic_ns < self.next_fold_ns {
            return Ok(());
        }
        self.ration.refill(now_monotonic_ns);
        let mut due: Vec<(&String, &mut Culprit)> = self
            .culprits
            .iter_mut()
            .filter(|(_, entry)| entry.folded > 0 && entry.fold_due_ns <= now_monotonic_ns)
            .collect();
        due.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.folded_ns));
        let mut texts = Vec::new();
        for (key, entry) in due {
            if !self.ration.take() {
                break;
            }
            texts.push(entry.unfold(key, self.options.offset_s, now_monotonic_ns));
        }
        self.next_fold_ns = self.earliest_fold(now_monotonic_ns);
        let mut lines = self.lines(out);
        texts.iter().try_for_each(|text| lines.line(text))
    }

    /// When to look for folds again; a second from now if the ration was too short for all.
    fn earliest_fold(&self, now_ns: u64) -> u64 {
        let folded = self.culprits.values().filter(|entry| entry.folded > 0);
        let earliest = folded
            .map(|entry| entry.fold_due_ns)
            .min()
            .unwrap_or(u64::MAX);
        earliest.max(now_ns.saturating_add(SECOND))
    }

    fn announce(&mut self, out: &mut dyn io::Write, stall: &Stall, key: &str) -> io::Result<()> {
        let is_news = self
            .culprits
            .get(key)
            .is_none_or(|entry| entry.is_news(stall.duration_ns));
        if stall.duration_ns < self.options.error_threshold_ns
            || self.announced.contains(&stall.number)
            || !(self.options.all || (is_news && self.ration.take()))
        {
            return Ok(());
        }
        self.announced.insert(stall.number);
        // Stalls end in the order of their loops; more than a few never go on at once.
        if self.announced.len() > MAX_CULPRITS {
            self.announced.pop_first();
        }
        self.write_line(out, stall, key)
    }

    fn write_line(&mut self, out: &mut dyn io::Write, stall: &Stall, key: &str) -> io::Result<()> {
        let began = Moment::new(stall.began_unix_ns, self.options.offset_s);
        let (role, severity) = match stall.duration_ns >= self.options.error_threshold_ns {
            true => (Role::Alert, "ERROR"),
            false => (Role::Warning, "WARN "),
        };
        let lasted = match stall.ongoing {
            true => format!("{} so far", duration(stall.duration_ns)),
            false => format!(
                "{} ±{}",
                duration(stall.duration_ns),
                duration(stall.uncertainty_ns)
            ),
        };
        let severity = self.options.style.paint(role, severity);
        let text = format!(
            "{} {severity} {lasted:<15}  {key}, {}",
            began.time(),
            circumstances(stall)
        );
        let date = began.date();
        let is_new_day = date != self.date;
        let mut lines = self.lines(out);
        if is_new_day {
            lines.painted(Role::Faint, &format!("-- {date}"))?;
        }
        lines.line(&text)?;
        self.date = date;
        Ok(())
    }

    /// Forgets the culprit that was not seen for longest if there is no room for a new one.
    fn make_room(&mut self, out: &mut dyn io::Write, key: &str) -> io::Result<()> {
        if self.culprits.len() < MAX_CULPRITS || self.culprits.contains_key(key) {
            return Ok(());
        }
        let oldest = self.culprits.iter().min_by_key(|(_, entry)| entry.seen_ns);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
            return Ok(());
        };
        let Some(mut entry) = self.culprits.remove(&oldest) else {
            return Ok(());
        };
        if entry.folded == 0 || !self.ration.take() {
            return Ok(());
        }
        let text = entry.unfold(&oldest, self.options.offset_s, entry.seen_ns);
        self.lines(out).line(&text)
    }

    fn lines<'a>(&self, out: &'a mut dyn io::Write) -> LineWriter<'a> {
        LineWriter::new(out, self.options.style, super::escape::MAX_COLUMNS)
    }
}

/// `UTC`, or its distance from it.
fn zone(offset_s: i32) -> String {
    let minutes = offset_s.unsigned_abs() / 60;
    match offset_s {
        0 => "UTC".to_owned(),
        1.. => format!("UTC+{:02}:{:02}", minutes / 60, minutes % 60),
        _ => format!("UTC-{:02}:{:02}", minutes / 60, minutes % 60),
    }
}
