//! Stalls and reports made by hand for the tests of the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use asyncspy_model::report::{
    CallTree, CulpritReport, HotReport, LoopNow, LoopReport, Report, Totals, TurnTimes, f64Bits,
};
use asyncspy_model::sample::{EndReason, Session};
use asyncspy_model::{BeganIs, Cause, Location, LoopKind, SamplingQuality, Stall};

use super::fixtures::{at, chain_of, loop_id, task_id};

const MS: u64 = 1_000_000;

pub(super) fn session() -> Session {
    Session {
        pid: 4242,
        command: "/usr/bin/python3 -m shop --port 8000".into(),
        python: "3.12.1".into(),
        process_started_unix_ns: 1_795_300_000_000_000_000,
        began_monotonic_ns: 86_400_000 * MS,
        began_unix_ns: 1_795_305_600_118_000_000,
        interval_ns: 10 * MS,
    }
}

/// The card payment, `number` seconds after the session began.
pub(super) fn stall(number: u64, duration_ns: u64) -> Stall {
    Stall {
        number,
        loop_id: loop_id(0),
        task: Some(task_id(7)),
        name: "POST /checkout".into(),
        label: "POST /checkout".into(),
        began_monotonic_ns: (86_400_000 + 1000 * number) * MS,
        began_unix_ns: session().began_unix_ns + 1000 * number * MS,
        began_is: BeganIs::Turn,
        duration_ns,
        uncertainty_ns: 5 * MS,
        ongoing: false,
        cause: Cause::Blocked,
        stack: Arc::from([
            at("SSLSocket.read", "/usr/lib/python3.12/ssl.py", 1103),
            at("Client.post", "/srv/app/shop/payments/client.py", 118),
        ]),
        coroutine_stack: chain_of(&["dispatch", "checkout", "charge_card"]),
        awaiters: vec!["server".into()],
        samples: duration_ns / (10 * MS),
        callbacks: Some((2, 17)),
        late_timers: 7,
        ready: 12,
    }
}

/// Another culprit: a report rendered on the CPU.
pub(super) fn cpu_stall(number: u64, duration_ns: u64) -> Stall {
    Stall {
        name: "Task-88".into(),
        label: "nightly_report".into(),
        task: Some(task_id(88)),
        cause: Cause::Cpu,
        stack: Arc::from([at("render", "/srv/app/shop/report.py", 57)]),
        coroutine_stack: chain_of(&["nightly_report"]),
        callbacks: None,
        ..stall(number, duration_ns)
    }
}

pub(super) fn report() -> Report {
    let (blocked, cpu) = (
        Arc::new(stall(2, 1240 * MS)),
        Arc::new(cpu_stall(1, 310 * MS)),
    );
    Report {
        session: session(),
        at_monotonic_ns: (86_400_000 + 61_500) * MS,
        quality: SamplingQuality {
            samples: 6150,
            late: 3,
            skipped: 1,
            torn: 2,
            failed: 0,
            dropped: 0,
            in_kernel: 0,
        },
        achieved_hz: f64Bits(99.8),
        loops: vec![loop_report()],
        culprits: vec![culprit(&blocked, 12), culprit(&cpu, 3)],
        stalls: vec![blocked, cpu],
        hot: vec![hot()],
        call_tree: Arc::new(CallTree::default()),
        snapshot: None,
        task_history: Arc::new(BTreeMap::new()),
        interruptions: Vec::new(),
        ended: Some(EndReason::Interrupted),
        totals: Totals {
            stalls: 15,
            errors: 12,
            worst_ns: 1240 * MS,
            stalled_ns: 15_810 * MS,
        },
    }
}

fn loop_report() -> LoopReport {
    LoopReport {
        id: loop_id(0),
        kind: LoopKind::Asyncio,
        class: "_UnixSelectorEventLoop".into(),
        tid: 4242,
        thread_name: "MainThread".into(),
        now: LoopNow::Stalled { for_ns: 640 * MS },
        busy_permille: 412,
        turns: TurnTimes {
            seen: 1400,
            p50_ns: MS / 2,
            p99_ns: 310 * MS,
            worst_ns: 1240 * MS,
            reliable_from_ns: 10 * MS,
        },
        worst_by_second_ns: vec![0; 60],
        tasks: 49,
        ready: 12,
        timers: 40,
        late_timers: 7,
        worst_late_ns: 1100 * MS,
    }
}

fn culprit(last: &Arc<Stall>, count: u64) -> CulpritReport {
    CulpritReport {
        label: last.label.clone(),
        location: last.culprit().cloned(),
        count,
        total_ns: count * last.duration_ns,
        worst_ns: last.duration_ns,
        last: last.clone(),
    }
}

fn hot() -> HotReport {
    HotReport {
        location: hot_location(),
        label: "POST /checkout".into(),
        self_ns: 9_000 * MS,
        total_ns: 14_880 * MS,
        holds: 40,
        longest_ns: 1240 * MS,
        p99_ns: 1240 * MS,
    }
}

fn hot_location() -> Location {
    at("Client.post", "/srv/app/shop/payments/client.py", 118)
}
