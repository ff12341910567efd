//! Telling a stopped target from a stalled one.
//!
//! A target that a signal, a debugger or the cgroup freezer stops does not answer either, but its
//! code is not to blame.

use std::fs;

use asyncspy_model::Event;
use asyncspy_model::sample::Interruption;
use nix::time::ClockId;

use crate::target::proc_file;
use crate::target::process::clock_ns;

/// A difference between the clocks that count and that do not count the machine's sleep of less
/// than this is reading them one after the other.
const SLEEP_NOTICED_NS: u64 = 10_000_000;

/// Follows what may stop a target from outside.
#[derive(Debug)]
pub struct InterruptionWatch {
    /// Path of the file that tells of the freezer; `None` where there is none.
    freezer: Option<String>,
    /// Time that the machine has slept since it started.
    slept_ns: u64,
    /// The last moment at which the target was known to run, or could have.
    last_running_ns: u64,
    stopped: Option<(Interruption, u64)>,
}

impl InterruptionWatch {
    /// A watch on this process.
    #[must_use]
    pub fn new(pid: i32, now_ns: u64) -> Self {
        Self {
            freezer: freezer_path(pid),
            slept_ns: slept_ns(),
            last_running_ns: now_ns,
            stopped: None,
        }
    }

    /// True while the target is stopped, as far as is known.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Takes notice of a thread's scheduling state; `?` tells nothing. An interruption is
    /// added to `events` as long as it grows, each time from its beginning.
    pub fn observe(&mut self, state: char, now_ns: u64, events: &mut Vec<Event>) {
        let reason = match state {
            '?' => return,
            'T' | 't' => Some(Interruption::Stopped),
            _ if self.is_frozen() => Some(Interruption::Frozen),
            _ => None,
        };
        match (reason, self.stopped) {
            (Some(reason), None) => self.stopped = Some((reason, self.last_running_ns)),
            (None, Some(stopped)) => {
                self.stopped = None;
                self.last_running_ns = now_ns;
                tell(stopped, now_ns, events);
            }
            (None, None) => self.last_running_ns = now_ns,
            (Some(_), Some(stopped)) => tell(stopped, now_ns, events),
        }
    }

    /// Takes notice that the target has made progress.
    pub fn observe_progress(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if self.stopped.is_none() {
            self.last_running_ns = now_ns;
        } else {
            self.observe('R', now_ns, events);
        }
    }

    /// Looks whether the machine has slept since the last look.
    pub fn check_sleep(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        let slept = slept_ns();
        if slept.saturating_sub(self.slept_ns) > SLEEP_NOTICED_NS {
            self.slept_ns = slept;
            events.push(Event::Interruption {
                reason: Interruption::Suspended,
                from_monotonic_ns: now_ns,
                until_monotonic_ns: now_ns,
            });
        }
    }

    fn is_frozen(&self) -> bool {
        let text = self
            .freezer
            .as_ref()
            .and_then(|path| proc_file::read(path).ok());
        text.is_some_and(|text| {
            let text = String::from_utf8_lossy(&text);
            text.lines().any(|line| line == "frozen 1")
        })
    }
}

fn tell((reason, from): (Interruption, u64), now_ns: u64, events: &mut Vec<Event>) {
    events.push(Event::Interruption {
        reason,
        from_monotonic_ns: from,
        until_monotonic_ns: now_ns,
    });
}

/// `cgroup.events` of the target's cgroup (Documentation/admin-guide/cgroup-v2.rst).
fn freezer_path(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let events = format!("/sys/fs/cgroup{path}/cgroup.events");
    fs::metadata(&events).is_ok().then_some(events)
}

/// CLOCK_BOOTTIME goes on while the machine sleeps, CLOCK_MONOTONIC does not.
fn slept_ns() -> u64 {
    clock_ns(ClockId::CLOCK_BOOTTIME).saturating_sub(clock_ns(ClockId::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_lasts_from_the_last_sign_of_life_to_the_next() {
        let mut watch = InterruptionWatch::new(i32::MAX, 100);
        let mut events = Vec::new();
        watch.observe('S', 200, &mut events);
        watch.observe('?', 250, &mut events);
        watch.observe('T', 300, &mut events);
        watch.observe('t', 400, &mut events);
        assert!(watch.is_stopped());
        watch.observe('R', 500, &mut events);
        let until = |until_monotonic_ns| Event::Interruption {
            reason: Interruption::Stopped,
            from_monotonic_ns: 200,
            until_monotonic_ns,
        };
        assert_eq!(events, [until(400), until(500)]);
        assert!(!watch.is_stopped());
    }
}
