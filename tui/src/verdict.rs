//! The one line under the header that answers: is the loop blocked, by what, where?

use std::sync::Arc;

use asyncspy_model::report::{LoopNow, LoopReport, Report};
use asyncspy_model::{Cause, Location, LoopId, Stall};

use crate::format;
use crate::pieces::Piece;
use crate::text::{clean, place};
use crate::theme::Tone;
use crate::views::SourceLines;

/// A stall that ended within this time still decides the line.
const RECENT_NS: u64 = 60_000_000_000;

/// From this share of time on, in thousandths, a loop without stalls is called saturated.
const SATURATED_PERMILLE: u32 = 900;

/// The pieces of the line. A deadlock comes after stalls: the tab of the tree tells of it as well.
pub(crate) fn verdict(report: &Report, deadlocked: usize, sources: SourceLines<'_>) -> Vec<Piece> {
    if report.ended.is_some() {
        return ended(report, sources);
    }
    if is_stopped(report) {
        let text = "process is stopped from outside (signal, debugger or freezer): nothing runs";
        return vec![Piece::new(0, text, Tone::Alarm)];
    }
    let stalled = match longest_stall_now(report) {
        Some((one, for_ns)) => Some(blocked(report, one, for_ns, sources)),
        None => recent(report, sources),
    };
    match (stalled, deadlocked) {
        (Some(pieces), _) => pieces,
        (None, 0) => calm(report),
        (None, tasks) => {
            let text = format!("deadlock: {tasks} tasks wait for each other in a circle");
            let hint = Piece::new(1, "(see Tree)", Tone::Plain);
            vec![Piece::new(0, text, Tone::Alarm), hint]
        }
    }
}

/// True if the main thread is stopped or traced.
fn is_stopped(report: &Report) -> bool {
    let threads = report
        .snapshot
        .as_ref()
        .map_or(&[][..], |snapshot| &snapshot.threads);
    threads
        .first()
        .is_some_and(|thread| matches!(thread.os_state, 'T' | 't'))
}

/// The loop that has been stalled longest now.
fn longest_stall_now(report: &Report) -> Option<(&LoopReport, u64)> {
    let stalled = report.loops.iter().filter_map(|one| match one.now {
        LoopNow::Stalled { for_ns } => Some((one, for_ns)),
        _ => None,
    });
    stalled.max_by_key(|(_, for_ns)| *for_ns)
}

fn blocked(report: &Report, one: &LoopReport, for_ns: u64, sources: SourceLines<'_>) -> Vec<Piece> {
    let which = loop_words(report, one.id);
    let head = format!("{which} blocked {}", format::duration(for_ns));
    let mut pieces = vec![Piece::new(0, head, Tone::Alarm)];
    match report
        .stalls
        .iter()
        .find(|stall| stall.ongoing && stall.loop_id == one.id)
    {
        Some(stall) => pieces.extend(culprit(stall, sources)),
        None => pieces.push(Piece::new(
            1,
            "by what, no sample has told yet",
            Tone::Plain,
        )),
    }
    pieces
}

/// The worst stall of the last minute; `None` if there was none.
fn recent(report: &Report, sources: SourceLines<'_>) -> Option<Vec<Piece>> {
    let within: Vec<&Arc<Stall>> = report
        .stalls
        .iter()
        .filter(|stall| ended_ago(report, stall) <= RECENT_NS)
        .collect();
    let worst = within.iter().max_by_key(|stall| stall.duration_ns)?;
    let which = loop_words(report, worst.loop_id);
    let held = format::duration(worst.duration_ns);
    let head = match within.len() {
        1 => format!("{which} was blocked {held}"),
        many => format!("{which} answers, {many} stalls last minute, worst {held}"),
    };
    let mut pieces = vec![Piece::new(0, head, Tone::Bad)];
    pieces.extend(culprit(worst, sources));
    Some(pieces)
}

fn ended_ago(report: &Report, stall: &Stall) -> u64 {
    let ended = stall.began_monotonic_ns.saturating_add(stall.duration_ns);
    report.at_monotonic_ns.saturating_sub(ended)
}

fn ended(report: &Report, sources: SourceLines<'_>) -> Vec<Piece> {
    let Some(worst) = report.stalls.iter().max_by_key(|stall| stall.duration_ns) else {
        return vec![Piece::new(0, "no stall was seen", Tone::Good)];
    };
    let stalls = format::plural(report.totals.stalls, "stall");
    let head = format!(
        "{stalls}, worst {}",
        format::duration(report.totals.worst_ns)
    );
    let mut pieces = vec![Piece::new(0, head, Tone::Bad)];
    pieces.extend(culprit(worst, sources));
    pieces
}

/// By which task, in which function, where, and what stands there.
fn culprit(stall: &Stall, sources: SourceLines<'_>) -> Vec<Piece> {
    let kind = if stall.task.is_some() {
        "task"
    } else {
        "callback"
    };
    let by = match stall.cause {
        Cause::ManyCallbacks => {
            format!("by many callbacks, most of {kind} {}", clean(&stall.label))
        }
        _ => format!("by {kind} {}", clean(&stall.label)),
    };
    let mut pieces = vec![Piece::new(2, by, Tone::Plain)];
    match stall.culprit() {
        None => pieces.push(Piece::new(1, "(no sample caught its stack)", Tone::Dim)),
        Some(location) => pieces.extend(place_pieces(stall, location, sources)),
    }
    pieces
}

fn place_pieces(stall: &Stall, location: &Location, sources: SourceLines<'_>) -> Vec<Piece> {
    let mut pieces = vec![
        Piece::new(3, format!("in {}", clean(&location.function)), Tone::Plain),
        Piece::new(0, place(location), Tone::Strong),
    ];
    let source = sources(location)
        .map(|line| clean(line.trim()))
        .unwrap_or_default();
    let innermost = stall
        .stack
        .first()
        .or_else(|| stall.coroutine_stack.first());
    if !source.is_empty() {
        pieces.push(Piece::new(4, source, Tone::Bad));
    } else if let Some(inner) = innermost.filter(|inner| *inner != location) {
        pieces.push(Piece::new(
            4,
            format!("({})", clean(&inner.function)),
            Tone::Bad,
        ));
    } else {
        pieces.push(Piece::new(
            4,
            format!("({})", stall.cause.word()),
            Tone::Bad,
        ));
    }
    pieces
}

/// `loop`, with its thread's name where there are several.
fn loop_words(report: &Report, id: LoopId) -> String {
    match report.loops.iter().find(|one| one.id == id) {
        Some(one) if report.loops.len() > 1 => format!("loop {}", clean(&one.thread_name)),
        _ => "loop".into(),
    }
}

/// No stall: how the busiest loop does.
fn calm(report: &Report) -> Vec<Piece> {
    let Some(busiest) = report
        .loops
        .iter()
        .rev()
        .max_by_key(|one| one.busy_permille)
    else {
        return vec![Piece::new(
            0,
            "no event loop is running in this process",
            Tone::Warn,
        )];
    };
    let busy = format::percent(u64::from(busiest.busy_permille), 1000);
    let worst = match busiest.turns.worst_ns {
        0 => "no turn seen yet".to_owned(),
        worst => format!("worst turn {}", format::duration(worst)),
    };
    let which = loop_words(report, busiest.id);
    let (word, tone) = if busiest.busy_permille >= SATURATED_PERMILLE {
        ("saturated", Tone::Warn)
    } else {
        ("healthy", Tone::Good)
    };
    let mut pieces = vec![
        Piece::new(0, format!("{which} {word}: {busy} busy,"), tone),
        Piece::new(1, worst, Tone::Plain),
    ];
    if let Some(last) = report.stalls.first() {
        let ago = format::age(ended_ago(report, last));
        pieces.push(Piece::new(2, format!("last stall {ago} ago"), Tone::Plain));
    }
    pieces
}
