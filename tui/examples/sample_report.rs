//! Runs the live view on a made-up service whose loop stalls three seconds in every ten.
//!
//! `cargo run -p asyncspy-tui --example sample_report [-- --ascii | --pick | --tasks N | --exit-after S |
//! --panic-after S]`

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asyncspy_model::Location;
use asyncspy_model::report::Report;
use asyncspy_model::sample::EndReason;
use asyncspy_tui::{Backend, Options, ProcessRow, ProcessSource, Save};

#[path = "../tests/support/mod.rs"]
mod support;

/// The made-up service.
struct Sample {
    started: Instant,
    tasks: Option<Report>,
    exit_after: Option<Duration>,
    panic_after: Option<Duration>,
    over: bool,
}

impl Backend for Sample {
    fn latest(&mut self) -> Option<Arc<Report>> {
        if self.over {
            return None;
        }
        let passed = self.started.elapsed();
        assert!(
            self.panic_after.is_none_or(|after| passed < after),
            "asked to panic"
        );
        let ms = u64::try_from(passed.as_millis()).unwrap_or(0);
        let mut report = support::report_at(120_000 + ms);
        if let Some(tasks) = &self.tasks {
            report.snapshot.clone_from(&tasks.snapshot);
            report.task_history.clone_from(&tasks.task_history);
        }
        if self.exit_after.is_some_and(|after| passed >= after) {
            self.over = true;
            report.ended = Some(EndReason::TargetExited);
        }
        Some(Arc::new(report))
    }

    fn reset(&mut self) {
        self.started = Instant::now();
    }

    fn save(&mut self, what: Save) -> Result<String, String> {
        match what {
            Save::Dump => Ok("/tmp/dump-4242.txt".into()),
            Save::FlameGraph => Ok("/tmp/flame-4242.svg".into()),
            Save::Json => Err("/tmp/report-4242.json: no space left on device".into()),
        }
    }

    fn source_line(&mut self, location: &Location) -> Option<String> {
        support::source_line(location)
    }
}

/// A list of made-up processes whose figures change each second.
struct Processes {
    last: Option<Instant>,
    round: u64,
}

impl ProcessSource for Processes {
    fn latest(&mut self) -> Option<Vec<ProcessRow>> {
        if self
            .last
            .is_some_and(|last| last.elapsed() < Duration::from_secs(1))
        {
            return None;
        }
        self.last = Some(Instant::now());
        self.round += 1;
        let row = |pid: i32, command: &str, loop_kind: &str| ProcessRow {
            pid,
            command: command.into(),
            python: "3.12.1".into(),
            loop_kind: loop_kind.into(),
            tasks: Some(self.round % 5 + u64::from(pid.unsigned_abs()) % 40),
            busy_permille: Some(u32::try_from(self.round % 10).unwrap_or(0) * 100),
            note: String::new(),
        };
        Some(vec![
            row(4242, "python3 -m shop.server --port 8080", "asyncio"),
            row(77, "/usr/bin/python3 /usr/bin/agent", "uvloop"),
        ])
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> Option<u64> {
        let position = arguments.iter().position(|argument| argument == name)?;
        arguments.get(position + 1)?.parse().ok()
    };
    let mut sample = Sample {
        started: Instant::now(),
        tasks: number("--tasks").map(support::many_tasks),
        exit_after: number("--exit-after").map(Duration::from_secs),
        panic_after: number("--panic-after").map(Duration::from_secs),
        over: false,
    };
    let ascii = arguments.iter().any(|argument| argument == "--ascii");
    let options = Options {
        ascii,
        ..Options::default()
    };
    if arguments.iter().any(|argument| argument == "--pick") {
        let mut processes = Processes {
            last: None,
            round: 0,
        };
        match asyncspy_tui::pick(&mut processes, &options) {
            Ok(asyncspy_tui::Picked::Process(_)) => {}
            other => {
                drop(writeln!(std::io::stdout(), "{other:?}"));
                return;
            }
        }
    }
    match asyncspy_tui::run(&mut sample, &options) {
        // A terminal that has gone cannot be told.
        Ok(exit) => drop(writeln!(std::io::stdout(), "{exit:?}")),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}"));
            std::process::exit(1);
        }
    }
}
