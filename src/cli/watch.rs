//! `watch`: a line for each stall.

use std::io::{self, Write};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use asyncspy_model::Event;
use asyncspy_model::report::Report;

use super::common::{JsonArgs, LookArgs, TargetArgs};
use super::error::{Error, Exit};
use super::interrupt::Interrupt;
use super::output::{Screen, note};
use super::sampling::{Next, Sampling, SamplingArgs, ThresholdArgs};
use crate::analysis::{Analysis, Finding, Settings};
use crate::sink::json::{write_session_end, write_session_start, write_stall};
use crate::sink::report_text::{ReportTextOptions, write_summary};
use crate::sink::stall_log::{StallLog, StallLogOptions};

/// How often signals and due lines are looked after when nothing happens.
const PATIENCE: Duration = Duration::from_millis(100);

/// Culprits named in the closing summary.
const CULPRITS: usize = 10;

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::WATCH)]
pub struct WatchArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    /// Print every stall, also repeats of the same culprit
    #[arg(short, long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_ALL", hide_env = true)]
    all: bool,
    /// Exit with 7 if there was one
    #[arg(long, value_name = "WHAT", value_enum)]
    #[arg(env = "ASYNCSPY_FAIL_ON", hide_env = true)]
    fail_on: Option<FailOn>,
    #[command(flatten)]
    form: JsonArgs,
}

/// What makes `watch` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Any stall
    Stall,
    /// A stall above the error threshold
    Error,
}

pub(super) fn run(args: &WatchArgs, look: &LookArgs) -> Result<(), Error> {
    let interrupt = Interrupt::listen().map_err(Error::from_output)?;
    let sampling = Sampling::start(&args.target.target()?, args.sampling.settings())?;
    let (threshold_ns, error_threshold_ns) = args.thresholds.nanoseconds();
    let mut analysis = Analysis::new(Settings {
        threshold_ns,
        error_threshold_ns,
        stalls_only: true,
        ..Settings::default()
    });
    let mut printer = Printer::new(args, look, threshold_ns, error_threshold_ns);
    loop {
        if interrupt.is_raised() {
            sampling.stop();
        }
        match sampling.next(PATIENCE) {
            Next::Event(event) => {
                let findings = analysis.feed(&event);
                printer.print(&event, &findings)?;
            }
            Next::Nothing => printer.print_due()?,
            Next::Closed => break,
        }
    }
    let report = analysis.report().ok_or(Error::Interrupted)?;
    printer.finish(&report)?;
    check_policy(args.fail_on, &report)
}

fn check_policy(fail_on: Option<FailOn>, report: &Report) -> Result<(), Error> {
    let count = match fail_on {
        None => 0,
        Some(FailOn::Stall) => report.totals.stalls,
        Some(FailOn::Error) => report.totals.errors,
    };
    if count == 0 {
        return Ok(());
    }
    let kind = match fail_on {
        Some(FailOn::Error) => "errors",
        _ => "stalls",
    };
    Err(Error::new(
        Exit::Policy,
        format!("{count} {kind}, and --fail-on forbids them"),
        "the event loop was blocked for longer than the threshold",
        format!(
            "asyncspy record --mode stalls -o stalls.svg {}",
            report.session.pid
        ),
    ))
}

/// Prints what happens as it happens.
struct Printer {
    log: StallLog,
    json: bool,
    thresholds: (u64, u64),
    options: ReportTextOptions,
    last_ns: u64,
}

impl Printer {
    fn new(args: &WatchArgs, look: &LookArgs, threshold_ns: u64, error_ns: u64) -> Self {
        let Screen { style, width } = Screen::of_stdout(look);
        let options = StallLogOptions {
            all: args.all,
            error_threshold_ns: error_ns,
            offset_s: 0,
            style,
        };
        Self {
            log: StallLog::new(options),
            json: args.form.json,
            thresholds: (threshold_ns, error_ns),
            options: ReportTextOptions {
                limit: CULPRITS,
                offset_s: 0,
                width,
                style,
            },
            last_ns: 0,
        }
    }

    fn print(&mut self, event: &Event, findings: &[Finding]) -> Result<(), Error> {
        let out = &mut io::stdout().lock();
        let mut write = || -> io::Result<()> {
            if let Event::Session(session) = event {
                let (threshold_ns, error_ns) = self.thresholds;
                if self.json {
                    write_session_start(out, session, threshold_ns, error_ns)?;
                } else {
                    self.log.write_start(out, session, threshold_ns)?;
                }
            }
            if let Event::Sample(sample) = event {
                self.last_ns = sample.at_monotonic_ns;
            }
            for finding in findings {
                let (Finding::StallEnded(stall) | Finding::StallPassedError(stall)) = finding;
                if self.json {
                    write_stall(out, stall)?;
                } else {
                    self.log.write_stall(out, stall)?;
                }
            }
            if findings.is_empty() && !matches!(event, Event::Session(_)) {
                return Ok(());
            }
            out.flush()
        };
        write().map_err(Error::from_output)
    }

    fn print_due(&mut self) -> Result<(), Error> {
        if self.json {
            return Ok(());
        }
        let out = &mut io::stdout().lock();
        let written = self.log.write_due(out, self.last_ns);
        written
            .and_then(|()| out.flush())
            .map_err(Error::from_output)
    }

    fn finish(&mut self, report: &Report) -> Result<(), Error> {
        let out = &mut io::stdout().lock();
        let written = if self.json {
            write_session_end(out, report)
        } else {
            write_summary(out, report, &self.options)
        };
        written
            .and_then(|()| out.flush())
            .map_err(Error::from_output)?;
        if let Some(asyncspy_model::sample::EndReason::TargetExited) = report.ended {
            note(&format!("process {} has ended", report.session.pid));
        }
        Ok(())
    }
}
