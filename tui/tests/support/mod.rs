//! A made-up but rich report, as a sick service would give it: two loops, one of them stalled,
//! stalls of every cause, three dozen tasks of several kinds, hostile names, a deadlock.

use std::collections::BTreeMap;
use std::sync::Arc;

use asyncspy_model::report::{
    CulpritReport, HotReport, LoopNow, LoopReport, Report, TaskHistory, Totals, TurnTimes, f64Bits,
};
use asyncspy_model::sample::Session;
use asyncspy_model::{
    BeganIs, Cause, Location, LoopId, LoopKind, RemoteAddr, SamplingQuality, Stall, TaskId,
};

mod tasks;
mod tree;

pub use tasks::many_tasks;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// When sampling began, on the monotonic clock of the story.
const BEGAN: u64 = 5_000 * SECOND;

/// The same moment on the wall clock: 2026-01-02 03:04:05 UTC.
const BEGAN_UNIX: u64 = 1_767_323_045 * SECOND;

pub const MAIN_LOOP: LoopId = LoopId(RemoteAddr(0x7f00_0000_1000));
pub const SIDE_LOOP: LoopId = LoopId(RemoteAddr(0x7f00_0000_2000));

/// A name that would clear the screen, turn the text around and add lines if it were let.
pub const HOSTILE: &str = "evil\x1b[2J\x1b[31m\u{202e}gnp\nname\u{9b}H";

/// Where the culprit stands.
pub fn culprit() -> Location {
    location("handler", "/srv/shop/app.py", 42)
}

pub fn location(function: &str, file: &str, line: u32) -> Location {
    Location {
        function: function.into(),
        file: file.into(),
        line,
    }
}

/// A library frame.
pub fn library(function: &str, file: &str, line: u32) -> Location {
    location(function, &format!("/usr/lib/python3.12/{file}"), line)
}

/// The source line of a place, as a file would have it.
pub fn source_line(place: &Location) -> Option<String> {
    let text = match (&*place.file, place.line) {
        ("/srv/shop/app.py", 42) => "    time.sleep(2)  # blocks the event loop",
        ("/srv/shop/report.py", 118) => "        rows = sorted(rows, key=expensive)",
        ("/srv/shop/worker.py", 17) => "        item = await self.queue.get()",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The report at a moment, given in milliseconds since sampling began. The same moment gives the
/// same report; the loop stalls in each ten seconds from the fifth to the eighth.
pub fn report_at(ms: u64) -> Report {
    let at = BEGAN + ms * MS;
    let phase = ms % 10_000;
    let stalled_ns = if (5_000..8_000).contains(&phase) {
        (phase - 5_000) * MS
    } else {
        0
    };
    let snapshot = tasks::snapshot(at);
    let task_history = histories(&snapshot, at);
    Report {
        session: session(),
        at_monotonic_ns: at,
        quality: quality(ms),
        achieved_hz: f64Bits(99.6),
        loops: vec![main_loop(stalled_ns, ms), side_loop()],
        stalls: stalls(at, stalled_ns),
        culprits: culprits(at),
        hot: hot(),
        call_tree: Arc::new(tree::call_tree()),
        snapshot: Some(Arc::new(snapshot)),
        task_history: Arc::new(task_history),
        interruptions: Vec::new(),
        ended: None,
        totals: Totals {
            stalls: 24,
            errors: 6,
            worst_ns: 2_110 * MS,
            stalled_ns: 14_200 * MS,
        },
    }
}

fn session() -> Session {
    Session {
        pid: 4242,
        command: "python3 -m shop.server --port 8080 --workers 4 --config /etc/shop/shop.toml"
            .into(),
        python: "3.12.1".into(),
        process_started_unix_ns: BEGAN_UNIX - 11_520 * SECOND,
        began_monotonic_ns: BEGAN,
        began_unix_ns: BEGAN_UNIX,
        interval_ns: 10 * MS,
    }
}

fn quality(ms: u64) -> SamplingQuality {
    let samples = ms / 10;
    SamplingQuality {
        samples,
        late: samples / 400,
        torn: samples / 90,
        ..Default::default()
    }
}

fn main_loop(stalled_ns: u64, ms: u64) -> LoopReport {
    let second = ms / 1_000;
    let worst_by_second_ns = (0..60)
        .map(|ago| match (second + ago) % 10 {
            5..8 => 1_000 * MS,
            8 => 140 * MS,
            other => (other + 1) * (other + 1) * MS / 2,
        })
        .collect();
    LoopReport {
        id: MAIN_LOOP,
        kind: LoopKind::Asyncio,
        class: "_UnixSelectorEventLoop".into(),
        tid: 4242,
        thread_name: "MainThread".into(),
        now: match stalled_ns {
            0 => LoopNow::Busy { for_ns: 4_200_000 },
            for_ns if for_ns < 100 * MS => LoopNow::Busy { for_ns },
            for_ns => LoopNow::Stalled { for_ns },
        },
        busy_permille: 712,
        turns: TurnTimes {
            seen: 2_210,
            p50_ns: 2 * MS,
            p99_ns: 834 * MS,
            worst_ns: 2_110 * MS,
            reliable_from_ns: 10 * MS,
        },
        worst_by_second_ns,
        tasks: 33,
        ready: 14,
        timers: 20,
        late_timers: if stalled_ns > 0 { 3 } else { 0 },
        worst_late_ns: stalled_ns,
    }
}

fn side_loop() -> LoopReport {
    LoopReport {
        id: SIDE_LOOP,
        kind: LoopKind::Uvloop,
        class: "Loop".into(),
        tid: 4250,
        thread_name: "metrics-loop".into(),
        now: LoopNow::Idle,
        busy_permille: 8,
        turns: TurnTimes {
            seen: 40,
            p50_ns: MS / 3,
            p99_ns: 2 * MS,
            worst_ns: 3_400_000,
            ..Default::default()
        },
        worst_by_second_ns: (0..60)
            .map(|second| if second % 9 == 0 { 3 * MS } else { 0 })
            .collect(),
        tasks: 3,
        ready: 0,
        timers: 1,
        late_timers: 0,
        worst_late_ns: 0,
    }
}

/// What differs between the stalls of the story.
struct Story {
    number: u64,
    name: &'static str,
    label: &'static str,
    ago_s: u64,
    held_ms: u64,
    cause: Cause,
    stack: Vec<Location>,
}

fn stall(at: u64, story: Story) -> Arc<Stall> {
    let began = at - story.ago_s * SECOND - story.held_ms * MS;
    Arc::new(Stall {
        number: story.number,
        loop_id: MAIN_LOOP,
        task: Some(TaskId(RemoteAddr(0x7f00_1000_0000))),
        name: story.name.into(),
        label: story.label.into(),
        began_monotonic_ns: began,
        began_unix_ns: BEGAN_UNIX + (began - BEGAN),
        began_is: BeganIs::Turn,
        duration_ns: story.held_ms * MS,
        uncertainty_ns: 10 * MS,
        ongoing: false,
        cause: story.cause,
        stack: story.stack.into(),
        coroutine_stack: vec![location("serve", "/srv/shop/app.py", 12)].into(),
        awaiters: vec!["serve_forever".into(), "main".into()],
        samples: story.held_ms / 10,
        callbacks: Some((2, 14)),
        late_timers: 3,
        ready: 14,
    })
}

fn stalls(at: u64, stalled_ns: u64) -> Vec<Arc<Stall>> {
    let mut stalls = Vec::new();
    if stalled_ns >= 100 * MS {
        let mut now = Stall::clone(&blocker(at, 24, 0, stalled_ns / MS));
        now.ongoing = true;
        stalls.push(Arc::new(now));
    }
    stalls.extend([
        rendering(at, 23, 12, 830),
        blocker(at, 22, 16, 2_110),
        many_callbacks(at),
        rendering(at, 20, 31, 450),
        blocker(at, 19, 44, 1_980),
        plain_callback(at),
        hostile(at),
        untold(at),
    ]);
    stalls
}

fn blocker(at: u64, number: u64, ago_s: u64, held_ms: u64) -> Arc<Stall> {
    let stack = vec![culprit()];
    let (name, label, cause) = ("blocker", "blocker", Cause::Blocked);
    stall(
        at,
        Story {
            number,
            name,
            label,
            ago_s,
            held_ms,
            cause,
            stack,
        },
    )
}

fn rendering(at: u64, number: u64, ago_s: u64, held_ms: u64) -> Arc<Stall> {
    let stack = vec![
        library("JSONEncoder.iterencode", "json/encoder.py", 258),
        location("Report.render", "/srv/shop/report.py", 118),
    ];
    let (name, label, cause) = ("Task-7", "Report.render", Cause::Cpu);
    stall(
        at,
        Story {
            number,
            name,
            label,
            ago_s,
            held_ms,
            cause,
            stack,
        },
    )
}

fn many_callbacks(at: u64) -> Arc<Stall> {
    let stack = vec![location("Ticker._tick", "/srv/shop/ticker.py", 9)];
    let (name, label, cause) = ("ticker", "ticker", Cause::ManyCallbacks);
    stall(
        at,
        Story {
            number: 21,
            name,
            label,
            ago_s: 25,
            held_ms: 140,
            cause,
            stack,
        },
    )
}

fn plain_callback(at: u64) -> Arc<Stall> {
    let stack = vec![location("on_timer", "/srv/shop/timers.py", 71)];
    let (name, label, cause) = ("on_timer", "on_timer", Cause::Cpu);
    let story = Story {
        number: 18,
        name,
        label,
        ago_s: 61,
        held_ms: 215,
        cause,
        stack,
    };
    let mut plain = Stall::clone(&stall(at, story));
    plain.task = None;
    plain.coroutine_stack = Vec::new().into();
    plain.awaiters = Vec::new();
    Arc::new(plain)
}

fn hostile(at: u64) -> Arc<Stall> {
    let stack = vec![location(HOSTILE, "/tmp/\x1b]0;owned\x07/日本語.py", 7)];
    let (name, label, cause) = (HOSTILE, HOSTILE, Cause::Cpu);
    stall(
        at,
        Story {
            number: 17,
            name,
            label,
            ago_s: 75,
            held_ms: 120,
            cause,
            stack,
        },
    )
}

fn untold(at: u64) -> Arc<Stall> {
    let (name, label, cause, stack) = ("Task-99", "fetch", Cause::Unknown, Vec::new());
    let story = Story {
        number: 16,
        name,
        label,
        ago_s: 110,
        held_ms: 101,
        cause,
        stack,
    };
    let mut untold = Stall::clone(&stall(at, story));
    untold.coroutine_stack = Vec::new().into();
    Arc::new(untold)
}

fn culprits(at: u64) -> Vec<CulpritReport> {
    let fold = |last: Arc<Stall>, count, total_ms: u64, worst_ms: u64| CulpritReport {
        label: last.label.clone(),
        location: last.culprit().cloned(),
        count,
        total_ns: total_ms * MS,
        worst_ns: worst_ms * MS,
        last,
    };
    vec![
        fold(blocker(at, 22, 16, 2_110), 6, 8_400, 2_110),
        fold(rendering(at, 23, 12, 830), 12, 5_070, 1_020),
        fold(many_callbacks(at), 2, 290, 150),
        fold(plain_callback(at), 1, 215, 215),
        fold(hostile(at), 1, 120, 120),
        fold(untold(at), 1, 101, 101),
    ]
}

fn hot() -> Vec<HotReport> {
    let hold = |place: Location, label: &str, self_ms: u64, total_ms: u64, holds: u64| HotReport {
        location: place,
        label: label.into(),
        self_ns: self_ms * MS,
        total_ns: total_ms * MS,
        holds,
        longest_ns: total_ms * MS / holds.max(1) * 2,
        p99_ns: total_ms * MS / holds.max(1),
    };
    vec![
        hold(culprit(), "blocker", 8_400, 8_400, 6),
        hold(
            location("Report.render", "/srv/shop/report.py", 118),
            "Report.render",
            310,
            5_380,
            12,
        ),
        hold(
            library("JSONEncoder.iterencode", "json/encoder.py", 258),
            "Report.render",
            5_070,
            5_070,
            12,
        ),
        hold(
            location("Report.render", "/srv/shop/report.py", 121),
            "Report.render",
            640,
            640,
            40,
        ),
        hold(
            location("Ticker._tick", "/srv/shop/ticker.py", 9),
            "ticker",
            290,
            290,
            900,
        ),
        hold(
            location("on_timer", "/srv/shop/timers.py", 71),
            "",
            215,
            215,
            3,
        ),
        hold(
            location(HOSTILE, "/tmp/\x1b]0;owned\x07/日本語.py", 7),
            HOSTILE,
            120,
            120,
            1,
        ),
    ]
}

/// What time tells about the tasks: older ones have waited longer.
fn histories(snapshot: &asyncspy_model::Snapshot, at: u64) -> BTreeMap<TaskId, TaskHistory> {
    let history = |(position, task): (u64, &asyncspy_model::TaskInfo)| {
        let waiting = task.waits_on.is_some();
        let history = TaskHistory {
            first_seen_monotonic_ns: at - (126 - position) * SECOND,
            waiting_since_monotonic_ns: if waiting {
                at - (90 - 2 * position) * SECOND
            } else {
                0
            },
            held_ns: if &*task.name == "blocker" {
                8_400 * MS
            } else {
                position % 4 * 90 * MS
            },
        };
        (task.id, history)
    };
    (0..40).zip(&snapshot.tasks).map(history).collect()
}
