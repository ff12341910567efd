//! The JSON forms that scripts rely on: `ps`, `dump`, and the event stream of `watch`.
//!
//! Contract, version 1: times in nanoseconds, addresses as hexadecimal strings, text as the
//! target has it (what would not print is written as JSON's own escapes). A field may be
//! added within a version; none changes its meaning.

use std::io;

use asyncspy_model::report::{CulpritReport, LoopReport, Report, Totals};
use asyncspy_model::sample::{EndReason, Session};
use asyncspy_model::{
    BeganIs, Cause, Faults, Location, LoopId, LoopInfo, LoopKind, SamplingQuality, Snapshot, Stall,
    TaskId, TaskInfo, TaskState, ThreadInfo,
};
use serde::Serialize;

use super::json_line::write_line;
use super::units::Moment;

/// Version of all JSON forms.
const SCHEMA_VERSION: u32 = 1;

/// Writes `ps --json`: the snapshot as one object on one line.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_ps(out: &mut dyn io::Write, snapshot: &Snapshot) -> io::Result<()> {
    write_line(out, snapshot)
}

/// Writes `dump --json`: threads, loops and the running tasks as one object on one line; the
/// other tasks are only counted.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_dump(out: &mut dyn io::Write, snapshot: &Snapshot) -> io::Result<()> {
    let is_running = |task: &&TaskInfo| task.state == TaskState::Running;
    let running: Vec<&TaskInfo> = snapshot.tasks.iter().filter(is_running).collect();
    let dump = Dump {
        schema: "asyncspy.dump",
        schema_version: SCHEMA_VERSION,
        pid: snapshot.pid,
        python: &snapshot.python,
        complete: snapshot.complete,
        faults: &snapshot.faults,
        began_monotonic_ns: snapshot.began_monotonic_ns,
        began_unix_ns: snapshot.began_unix_ns,
        elapsed_ns: snapshot.elapsed_ns,
        threads: &snapshot.threads,
        loops: &snapshot.loops,
        other_tasks: snapshot.tasks.len() - running.len(),
        tasks: running,
    };
    write_line(out, &dump)
}

#[derive(Serialize)]
struct Dump<'a> {
    schema: &'static str,
    schema_version: u32,
    pid: i32,
    python: &'a str,
    complete: bool,
    faults: &'a Faults,
    began_monotonic_ns: u64,
    began_unix_ns: u64,
    elapsed_ns: u64,
    threads: &'a [ThreadInfo],
    loops: &'a [LoopInfo],
    tasks: Vec<&'a TaskInfo>,
    other_tasks: usize,
}

/// Writes the first line of `watch --json`.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_session_start(
    out: &mut dyn io::Write,
    session: &Session,
    threshold_ns: u64,
    error_threshold_ns: u64,
) -> io::Result<()> {
    let body = SessionStart {
        pid: session.pid,
        command: &session.command,
        python: &session.python,
        process_started_wall: Moment::new(session.process_started_unix_ns, 0).rfc3339(),
        began_monotonic_ns: session.began_monotonic_ns,
        began_unix_ns: session.began_unix_ns,
        began_wall: Moment::new(session.began_unix_ns, 0).rfc3339(),
        interval_ns: session.interval_ns,
        threshold_ns,
        error_threshold_ns,
    };
    write_event(out, "session_start", body)
}

#[derive(Serialize)]
struct SessionStart<'a> {
    pid: i32,
    command: &'a str,
    python: &'a str,
    process_started_wall: String,
    began_monotonic_ns: u64,
    began_unix_ns: u64,
    began_wall: String,
    interval_ns: u64,
    threshold_ns: u64,
    error_threshold_ns: u64,
}

/// Writes one stall as a line of `watch --json`.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_stall(out: &mut dyn io::Write, stall: &Stall) -> io::Result<()> {
    let callbacks = stall
        .callbacks
        .map(|(last, total)| Callbacks { done: last, total });
    let body = StallBody {
        number: stall.number,
        loop_id: stall.loop_id,
        task: stall.task,
        name: &stall.name,
        label: &stall.label,
        began_monotonic_ns: stall.began_monotonic_ns,
        began_unix_ns: stall.began_unix_ns,
        began_wall: Moment::new(stall.began_unix_ns, 0).rfc3339(),
        began_is: stall.began_is,
        duration_ns: stall.duration_ns,
        uncertainty_ns: stall.uncertainty_ns,
        ongoing: stall.ongoing,
        cause: stall.cause,
        culprit: stall.culprit(),
        stack: &stall.stack,
        coroutine_stack: &stall.coroutine_stack,
        awaiters: stall.awaiters.iter().map(|label| &**label).collect(),
        samples: stall.samples,
        callbacks,
        late_timers: stall.late_timers,
        ready: stall.ready,
    };
    write_event(out, "stall", body)
}

#[derive(Serialize)]
struct StallBody<'a> {
    number: u64,
    #[serde(rename = "loop")]
    loop_id: LoopId,
    task: Option<TaskId>,
    name: &'a str,
    label: &'a str,
    began_monotonic_ns: u64,
    began_unix_ns: u64,
    began_wall: String,
    began_is: BeganIs,
    duration_ns: u64,
    uncertainty_ns: u64,
    ongoing: bool,
    cause: Cause,
    culprit: Option<&'a Location>,
    stack: &'a [Location],
    coroutine_stack: &'a [Location],
    awaiters: Vec<&'a str>,
    samples: u64,
    callbacks: Option<Callbacks>,
    late_timers: u64,
    ready: u64,
}

/// How far the turn had come: callbacks that were over, and callbacks in all.
#[derive(Serialize)]
struct Callbacks {
    done: u32,
    total: u32,
}

/// Writes the last line of `watch --json`: totals and quality of the whole session.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_session_end(out: &mut dyn io::Write, report: &Report) -> io::Result<()> {
    let session = &report.session;
    let duration_ns = report
        .at_monotonic_ns
        .saturating_sub(session.began_monotonic_ns);
    let ended_unix_ns = session.began_unix_ns.saturating_add(duration_ns);
    let body = SessionEnd {
        pid: session.pid,
        reason: report.ended,
        ended_monotonic_ns: report.at_monotonic_ns,
        ended_unix_ns,
        ended_wall: Moment::new(ended_unix_ns, 0).rfc3339(),
        duration_ns,
        totals: report.totals,
        loops: report.loops.iter().map(LoopEnd::from).collect(),
        culprits: report.culprits.iter().map(CulpritEnd::from).collect(),
        interruptions: report.interruptions.len(),
        quality: report.quality,
        achieved_hz: report.achieved_hz.0,
    };
    write_event(out, "session_end", body)
}

#[derive(Serialize)]
struct SessionEnd<'a> {
    pid: i32,
    reason: Option<EndReason>,
    ended_monotonic_ns: u64,
    ended_unix_ns: u64,
    ended_wall: String,
    duration_ns: u64,
    totals: Totals,
    loops: Vec<LoopEnd<'a>>,
    culprits: Vec<CulpritEnd<'a>>,
    interruptions: usize,
    quality: SamplingQuality,
    achieved_hz: f64,
}

#[derive(Serialize)]
struct LoopEnd<'a> {
    id: LoopId,
    kind: LoopKind,
    class: &'a str,
    tid: i32,
    thread: &'a str,
    busy_permille: u32,
}

impl<'a> From<&'a LoopReport> for LoopEnd<'a> {
    fn from(report: &'a LoopReport) -> Self {
        Self {
            id: report.id,
            kind: report.kind,
            class: &report.class,
            tid: report.tid,
            thread: &report.thread_name,
            busy_permille: report.busy_permille,
        }
    }
}

#[derive(Serialize)]
struct CulpritEnd<'a> {
    label: &'a str,
    location: Option<&'a Location>,
    count: u64,
    total_ns: u64,
    worst_ns: u64,
}

impl<'a> From<&'a CulpritReport> for CulpritEnd<'a> {
    fn from(report: &'a CulpritReport) -> Self {
        Self {
            label: &report.label,
            location: report.location.as_ref(),
            count: report.count,
            total_ns: report.total_ns,
            worst_ns: report.worst_ns,
        }
    }
}

/// One line of `watch --json`. Each says what it is, because log collectors tear lines apart.
#[derive(Serialize)]
struct WatchLine<T> {
    schema: &'static str,
    schema_version: u32,
    event: &'static str,
    #[serde(flatten)]
    body: T,
}

fn write_event(
    out: &mut dyn io::Write,
    event: &'static str,
    body: impl Serialize,
) -> io::Result<()> {
    let line = WatchLine {
        schema: "asyncspy.watch",
        schema_version: SCHEMA_VERSION,
        event,
        body,
    };
    write_line(out, &line)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::escape::prints;
    use super::super::fixtures::{ClosedPipe, HOSTILE, shop, text};
    use super::super::report_fixtures::{report, session, stall};
    use super::*;

    fn parsed(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Value {
        let text = text(write);
        assert_eq!(text.matches('\n').count(), 1, "one object a line");
        serde_json::from_str(&text).unwrap()
    }

    fn assert_has_keys(value: &Value, keys: &str) {
        for key in keys.split_whitespace() {
            assert!(value.get(key).is_some(), "{key} is missing in {value}");
        }
    }

    #[test]
    fn ps_keeps_its_contract() {
        let value = parsed(|out| write_ps(out, &shop()));
        assert_eq!(value["schema"], "asyncspy.ps");
        assert_eq!(value["schema_version"], 1);
        assert_has_keys(&value, "pid python complete faults elapsed_ns loops tasks");
        let keys = "id kind class tid state turn_ns ready timers late_timers tasks";
        assert_has_keys(&value["loops"][0], keys);
        assert_eq!(value["loops"][0]["state"], "busy");
        assert_eq!(value["loops"][0]["id"], "0x7f3a20000000");
        let keys = "id name class loop state coroutine_stack sync_stack awaited_by waits_on";
        assert_has_keys(&value["tasks"][1], keys);
        assert_eq!(value["tasks"][1]["waits_on"], Value::Null);
        let frame =
            json!({"function": "charge_card", "file": "/srv/app/shop/views.py", "line": 30});
        assert_eq!(value["tasks"][1]["coroutine_stack"][0], frame);
        let again: Snapshot = serde_json::from_value(value).unwrap();
        assert_eq!(again, shop());
    }

    #[test]
    fn dump_lists_threads_and_what_runs() {
        let value = parsed(|out| write_dump(out, &shop()));
        assert_eq!(value["schema"], "asyncspy.dump");
        assert_eq!(value["tasks"].as_array().unwrap().len(), 1);
        assert_eq!(value["other_tasks"], 49);
        assert_eq!(value["threads"][0]["loop"], "0x7f3a20000000");
        assert_has_keys(
            &value,
            "pid python complete faults elapsed_ns loops began_unix_ns",
        );
    }

    #[test]
    fn watch_lines_are_golden() {
        let session = session();
        insta::assert_snapshot!(text(|out| {
            write_session_start(out, &session, 100_000_000, 500_000_000)?;
            write_stall(out, &stall(1, 1_240_000_000))?;
            write_session_end(out, &report())
        }));
    }

    #[test]
    fn a_stall_keeps_its_contract() {
        let value = parsed(|out| write_stall(out, &stall(3, 310_000_000)));
        let keys = "event loop task name began_monotonic_ns began_wall duration_ns \
                    uncertainty_ns cause stack coroutine_stack samples callbacks late_timers \
                    ready began_is";
        assert_has_keys(&value, keys);
        assert_eq!(value["event"], "stall");
        assert_eq!(value["callbacks"], json!({"done": 2, "total": 17}));
    }

    #[test]
    fn hostile_text_prints_no_control_character() {
        let mut evil = stall(1, 1);
        evil.name = HOSTILE.into();
        let text = text(|out| write_stall(out, &evil));
        assert!(text.trim_end().chars().all(prints), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["name"], HOSTILE);
    }

    #[test]
    fn a_closed_pipe_keeps_its_kind() {
        for bytes in [0, 10, 1000] {
            let error = write_ps(&mut ClosedPipe(bytes), &shop()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
