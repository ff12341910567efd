//! A stall in words, for the log and the report.

use asyncspy_model::report::LoopNow;
use asyncspy_model::sample::{EndReason, Interruption};
use asyncspy_model::{Cause, Location, Stall};

use super::escape::escape_to;
use super::place::frame;
use super::style::Role;
use super::units::duration;

/// Columns for a name; a log line stays below 250.
const NAME_COLUMNS: usize = 60;

/// Columns for a function with its file and line.
const FRAME_COLUMNS: usize = 100;

/// Who held the loop: `POST /checkout in Client.post (/srv/app/client.py:118)`.
pub(super) fn culprit(label: &str, location: Option<&Location>) -> String {
    let name = escape_to(label, NAME_COLUMNS);
    match location {
        None => format!("{name}, no sample caught its stack"),
        Some(at) if *at.function == *label => frame(at, FRAME_COLUMNS),
        Some(at) => format!("{name} in {}", frame(at, FRAME_COLUMNS)),
    }
}

/// How the turn went: `blocking call, callback 3 of 17, 7 timers late`.
pub(super) fn circumstances(stall: &Stall) -> String {
    let mut parts = vec![match stall.cause {
        Cause::Unknown => "cause unknown".to_owned(),
        cause => cause.word().to_owned(),
    }];
    if let Some((last, total)) = stall.callbacks {
        parts.push(format!("callback {} of {total}", u64::from(last) + 1));
    }
    if stall.late_timers > 0 {
        let timers = if stall.late_timers == 1 {
            "timer"
        } else {
            "timers"
        };
        parts.push(format!("{} {timers} late", stall.late_timers));
    }
    parts.join(", ")
}

/// What a loop does now, with its look.
pub(super) fn loop_now(now: LoopNow) -> (Role, String) {
    match now {
        LoopNow::Idle => (Role::Faint, "idle".to_owned()),
        LoopNow::Busy { for_ns } => (Role::Active, format!("busy {}", duration(for_ns))),
        LoopNow::Stalled { for_ns } => (Role::Alert, format!("STALLED {}", duration(for_ns))),
        LoopNow::Gone => (Role::Faint, "gone".to_owned()),
        LoopNow::Unknown => (Role::Warning, "state unreadable".to_owned()),
    }
}

/// What kept the target from running.
pub(super) const fn interruption(reason: Interruption) -> &'static str {
    match reason {
        Interruption::Stopped => "stopped by a signal or a debugger",
        Interruption::Frozen => "frozen with its cgroup",
        Interruption::Suspended => "asleep with the machine",
    }
}

/// Why sampling ended; `None` where the user knows.
pub(super) const fn end(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Duration | EndReason::Interrupted => None,
        EndReason::TargetExited => Some("the process has ended"),
        EndReason::Unreadable => Some("the process could not be read any more"),
    }
}
