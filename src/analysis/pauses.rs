//! Times at which the target was kept from running by something outside of it.

use std::collections::VecDeque;

use super::between::{Between, Length};

/// How many pauses are remembered. Only those that overlap a turn which is still going on
/// matter, so a few would do; a target that is stopped and continued in a loop must not grow us.
const MAX_PAUSES: usize = 256;

/// Pauses of the target, oldest first, without overlap.
///
/// They come from two sources. Interruption events name them exactly. Samples of a stopped
/// thread (state `T`, or `t` under a debugger) show them up to half a tick on each side, and count
/// until an event about the same pause, within a tick, replaces them.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    spans: VecDeque<Pause>,
    previous: Option<(u64, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    from: u64,
    until: u64,
    /// How far off the length can be; 0 for a pause that an event named.
    slack: u64,
    is_exact: bool,
}

impl Pause {
    /// True if it is less than `margin` away from this time.
    const fn touches(&self, from: u64, until: u64, margin: u64) -> bool {
        self.from <= until.saturating_add(margin) && self.until.saturating_add(margin) >= from
    }
}

impl Pauses {
    /// Adds a pause whose bounds are known. Replaces what samples showed of it.
    pub fn add(&mut self, from: u64, until: u64, tick_ns: u64) {
        let (mut from, mut until) = (from.min(until), from.max(until));
        self.spans.retain(|pause| {
            let margin = if pause.is_exact { 0 } else { tick_ns };
            let is_same = pause.touches(from, until, margin);
            if is_same && pause.is_exact {
                from = from.min(pause.from);
                until = until.max(pause.until);
            }
            !is_same
        });
        let position = self.spans.partition_point(|pause| pause.from < from);
        let pause = Pause {
            from,
            until,
            slack: 0,
            is_exact: true,
        };
        self.spans.insert(position, pause);
        self.drop_oldest();
    }

    /// Notes whether a sample found the target stopped. If it did not look, a target that was not
    /// stopped is taken to run on, and one that was stopped to be in either state.
    pub fn observe(&mut self, at: u64, is_stopped: Option<bool>, tick_ns: u64) {
        let was_stopped = self.previous.is_some_and(|(_, was_stopped)| was_stopped);
        if is_stopped.is_none() && was_stopped {
            return;
        }
        let is_stopped = is_stopped.unwrap_or(false);
        let previous = self.previous.replace((at, is_stopped));
        let (from, until, slack) = match (previous, is_stopped) {
            // Found stopped at attach: since when cannot be known, and nothing before counts.
            (None, true) => (0, at, 0),
            (Some((before, true)), true) => (before, at, 0),
            (Some((before, false)), true) => {
                let middle = before.midpoint(at);
                (middle, at, at.saturating_sub(middle))
            }
            (Some((before, true)), false) => {
                let middle = before.midpoint(at);
                (before, middle, at.saturating_sub(middle))
            }
            (_, false) => return,
        };
        let since = previous.map_or(0, |(before, _)| before);
        if from < until && !self.has_exact(since, at, tick_ns) {
            self.extend(from, until, slack);
        }
    }

    /// True if an event named a pause that touches this time, give or take a tick.
    fn has_exact(&self, from: u64, until: u64, tick_ns: u64) -> bool {
        let mut recent = self.spans.iter().rev();
        recent.any(|pause| pause.is_exact && pause.touches(from, until, tick_ns))
    }

    fn extend(&mut self, from: u64, until: u64, slack: u64) {
        match self.spans.back_mut() {
            Some(last) if !last.is_exact && last.until >= from => {
                last.until = last.until.max(until);
                last.slack = last.slack.saturating_add(slack);
            }
            _ => self.spans.push_back(Pause {
                from,
                until,
                slack,
                is_exact: false,
            }),
        }
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        while self.spans.len() > MAX_PAUSES {
            self.spans.pop_front();
        }
    }

    /// Time between two moments without the pauses, and how far off that can be.
    pub fn running_time(&self, from: u64, until: u64) -> (u64, u64) {
        let whole = until.saturating_sub(from);
        let (mut paused, mut slack) = (0_u64, 0_u64);
        for pause in self.spans.iter().rev() {
            if pause.until <= from {
                break;
            }
            let overlap = pause.until.min(until).saturating_sub(pause.from.max(from));
            if overlap > 0 {
                paused = paused.saturating_add(overlap);
                slack = slack.saturating_add(pause.slack);
            }
        }
        (whole.saturating_sub(paused), slack)
    }

    /// The least that can be left of this time without the pauses.
    pub fn least_running(&self, from: u64, until: u64) -> u64 {
        let (running, slack) = self.running_time(from, until);
        running.saturating_sub(slack)
    }

    /// The most that can be left of this time without the pauses.
    pub fn most_running(&self, from: u64, until: u64) -> u64 {
        let (running, slack) = self.running_time(from, until);
        running
            .saturating_add(slack)
            .min(until.saturating_sub(from))
    }

    /// Time between two uncertain moments without the pauses.
    pub fn length(&self, began: Between, ended: Between) -> Length {
        let shortest = self.least_running(began.latest, ended.earliest);
        let longest = self.most_running(began.earliest, ended.latest);
        Length {
            shortest,
            longest: longest.max(shortest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_pause_is_taken_out() {
        let mut pauses = Pauses::default();
        pauses.add(100, 200, 10);
        for (from, until, expected) in [
            (0, 100, 100),
            (0, 150, 100),
            (120, 180, 0),
            (150, 300, 100),
            (0, 300, 200),
            (300, 0, 0),
        ] {
            assert_eq!(pauses.running_time(from, until), (expected, 0));
        }
    }

    #[test]
    fn a_pause_that_is_reported_as_it_grows_counts_once() {
        let mut pauses = Pauses::default();
        for until in [110, 120, 130] {
            pauses.add(100, until, 10);
        }
        pauses.add(200, 210, 10);
        assert_eq!(pauses.running_time(0, 300), (300 - 30 - 10, 0));
    }

    #[test]
    fn samples_of_a_stopped_thread_are_a_pause_with_slack() {
        let mut pauses = Pauses::default();
        for (at, stopped) in [(0, false), (10, true), (20, true), (30, false), (40, false)] {
            pauses.observe(at, Some(stopped), 10);
        }
        // It was stopped between 0 and 10 and went on between 20 and 30: 10 to 30 long.
        assert_eq!(pauses.running_time(0, 40), (40 - 20, 10));
    }

    #[test]
    fn samples_that_do_not_look_say_nothing_about_a_stop() {
        let mut pauses = Pauses::default();
        let looks = [
            None,
            None,
            Some(true),
            None,
            Some(true),
            None,
            Some(false),
            None,
        ];
        for (stopped, at) in looks.into_iter().zip((0..).step_by(10)) {
            pauses.observe(at, stopped, 10);
        }
        // Stopped between 10 and 20, still at 40, not any more at 60.
        assert_eq!(pauses.running_time(0, 70), (70 - 35, 15));
    }

    #[test]
    fn a_named_pause_replaces_what_samples_showed_of_it() {
        let mut pauses = Pauses::default();
        for (at, stopped) in [(0, false), (10, true), (20, true)] {
            pauses.observe(at, Some(stopped), 10);
        }
        pauses.add(3, 19, 10);
        pauses.observe(30, Some(false), 10);
        assert_eq!(pauses.running_time(0, 40), (40 - 16, 0));
    }

    #[test]
    fn a_target_found_stopped_has_no_past() {
        let mut pauses = Pauses::default();
        pauses.observe(1000, Some(true), 10);
        assert_eq!(pauses.running_time(200, 1000), (0, 0));
    }

    #[test]
    fn endless_pauses_take_bounded_memory() {
        let mut pauses = Pauses::default();
        for start in 0..10_000 {
            pauses.add(start * 10, start * 10 + 1, 10);
        }
        assert_eq!(pauses.spans.len(), MAX_PAUSES);
    }
}
