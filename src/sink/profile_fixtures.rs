//! Profiles made by hand for the tests of the sinks.

use super::fixtures::{HOSTILE, at};
use super::profile::{FrameLabel, Profile, Run, Timeline};
use super::report_fixtures::{report, session};

const MS: u64 = 1_000_000;

pub(super) fn plain(text: &str) -> FrameLabel {
    FrameLabel::Plain(text.into())
}

fn code(function: &str, file: &str, line: u32) -> FrameLabel {
    FrameLabel::Code(at(function, file, line))
}

fn stack(task: &str, inner: &[FrameLabel]) -> Vec<FrameLabel> {
    let outer = ["process 4242", "thread MainThread", "asyncio loop", task];
    outer
        .into_iter()
        .map(plain)
        .chain(inner.iter().cloned())
        .collect()
}

/// Two tasks of the shop: a card payment on two lines of one function, and a report.
pub(super) fn shop_profile() -> Profile {
    let client = "/srv/app/shop/payments/client.py";
    let checkout = code("checkout", "/srv/app/shop/views.py", 20);
    let read = code("SSLSocket.read", "/usr/lib/python3.12/ssl.py", 1103);
    let stacks = vec![
        (
            stack(
                "POST /checkout",
                &[
                    checkout.clone(),
                    code("Client.post", client, 118),
                    read.clone(),
                ],
            ),
            1240 * MS,
        ),
        (
            stack(
                "POST /checkout",
                &[checkout, code("Client.post", client, 121), read],
            ),
            60 * MS,
        ),
        (
            stack(
                "nightly_report",
                &[code("render", "/srv/app/shop/report.py", 57)],
            ),
            310 * MS,
        ),
    ];
    let run = |from, to, stack| Run {
        from_ns: from * MS,
        to_ns: to * MS,
        stack,
    };
    Profile {
        title: "asyncspy: what held the loops".to_owned(),
        session: session(),
        quality: report().quality,
        duration_ns: 61_500 * MS,
        mode: "busy".into(),
        stacks,
        timelines: vec![Timeline {
            name: "asyncio loop, thread 4242 MainThread".into(),
            runs: vec![
                run(1_000, 2_240, Some(0)),
                run(2_240, 2_300, Some(1)),
                run(2_300, 5_000, None),
                run(5_000, 5_310, Some(2)),
            ],
        }],
    }
}

/// Stacks that try to break each format, and runs that are out of order and out of bounds.
pub(super) fn hostile_profile() -> Profile {
    let huge = "x".repeat(10_000_000);
    let names = [
        HOSTILE,
        "a;b",
        "# comment",
        "worker 5",
        "GET / 1.5",
        "",
        " ",
        "</script><b>&\"",
        "a\nb 7",
        &huge,
    ];
    let mut profile = shop_profile();
    profile.title = format!("{HOSTILE}</text><script>alert(1)</script>");
    profile.session.command = huge.as_str().into();
    profile.stacks = (0_u64..)
        .zip(names)
        .map(|(index, name)| {
            let leaf = FrameLabel::Code(at(name, name, 0));
            let frames = if index % 2 == 0 {
                vec![plain(name)]
            } else {
                vec![plain(name), leaf]
            };
            (frames, index + 1)
        })
        .collect();
    profile.stacks.push((vec![plain("weight")], u64::MAX / 4));
    let run = |from_ns, to_ns, stack| Run {
        from_ns,
        to_ns,
        stack,
    };
    profile.timelines[0].runs = vec![
        run(50, 90, Some(1)),
        run(10, 60, Some(3)),
        run(95, 91, Some(0)),
        run(90, 95, Some(99)),
        run(u64::MAX - 1, u64::MAX, Some(5)),
    ];
    profile.timelines[0].name = HOSTILE.into();
    profile
}
