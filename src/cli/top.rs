//! `top`: the live view.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use asyncspy_tui::{ColorMode, Exit as ViewExit, Options, Picked};
use clap::Args;
use clap::builder::FalseyValueParser;

use super::common::{ColorWhen, LookArgs, OptionalTargetArgs, Target};
use super::error::{Error, Exit};
use super::interrupt::Interrupt;
use super::live::Live;
use super::output::{Screen, print};
use super::processes::Processes;
use super::sampling::{Sampling, SamplingArgs, ThresholdArgs};
use crate::analysis::Settings;
use crate::sink::report_text::{ReportTextOptions, write_report};

/// How often tasks are counted.
const CENSUS_NS: u64 = 1_000_000_000;

/// How long `--once` looks, unless a duration is given.
const ONCE: Duration = Duration::from_secs(2);

/// How often `--once` looks whether the target has ended.
const ATTENTION: Duration = Duration::from_millis(500);

/// Seconds between two pictures, unless told otherwise.
pub(super) const DELAY_S: f64 = 0.25;

/// Stalls and culprits shown by `--once`.
const ONCE_LIMIT: usize = 10;

/// Arguments of `top`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::TOP)]
pub struct TopArgs {
    #[command(flatten)]
    target: OptionalTargetArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    /// Seconds between two pictures
    #[arg(long, value_name = "SECONDS", default_value_t = DELAY_S)]
    #[arg(env = "ASYNCSPY_DELAY", hide_env = true)]
    delay: f64,
    /// Print one plain picture and exit; also what happens when stdout is no terminal
    #[arg(long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_ONCE", hide_env = true)]
    once: bool,
}

pub(super) fn run(args: &TopArgs, look: &LookArgs) -> Result<(), Error> {
    let plain = args.once || !io::stdout().is_terminal();
    let options = args.view_options(look);
    let target = match args.target.target()? {
        Some(target) => target,
        None if plain => return Err(no_process()),
        None => match pick(&options)? {
            Some(pid) => Target::Running(pid),
            None => return Ok(()),
        },
    };
    if plain {
        let duration = args.sampling.duration.map(Duration::from_secs_f64);
        let duration = duration.unwrap_or(ONCE);
        // Nobody looks at a report before the last.
        let live = follow(&target, args.sampling, args.thresholds, duration)?;
        return print_once(&live, duration, look);
    }
    open(&target, args.sampling, args.thresholds, &options)
}

/// Opens the live view on a process.
pub(super) fn open(
    target: &Target,
    sampling: SamplingArgs,
    thresholds: ThresholdArgs,
    options: &Options,
) -> Result<(), Error> {
    let mut live = follow(target, sampling, thresholds, options.refresh)?;
    match asyncspy_tui::run(&mut live, options) {
        Ok(ViewExit::Quit | ViewExit::Signal(_)) => Ok(()),
        Err(error) => Err(of_view(&error)),
    }
}

/// Starts to gather what the view shows.
fn follow(
    target: &Target,
    sampling: SamplingArgs,
    thresholds: ThresholdArgs,
    refresh: Duration,
) -> Result<Live, Error> {
    let (threshold_ns, error_threshold_ns) = thresholds.nanoseconds();
    let mut settings = sampling.settings();
    settings.census_every_ns = Some(CENSUS_NS);
    settings.census_at_stall_ns = Some(threshold_ns);
    let sampling = Sampling::start(target, settings)?;
    let analysis = Settings {
        threshold_ns,
        error_threshold_ns,
        ..Settings::default()
    };
    Ok(Live::new(sampling, analysis, refresh))
}

fn print_once(live: &Live, duration: Duration, look: &LookArgs) -> Result<(), Error> {
    let interrupt = Interrupt::listen().map_err(Error::from_output)?;
    let began = Instant::now();
    while !interrupt.is_raised() && !live.has_ended() {
        let left = duration.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        interrupt.sleep(left.min(ATTENTION));
    }
    let Some(report) = live.fresh_report() else {
        return Err(Error::Interrupted);
    };
    let Screen { style, width } = Screen::of_stdout(look);
    let options = ReportTextOptions {
        limit: ONCE_LIMIT,
        offset_s: 0,
        width,
        style,
    };
    print(|out| write_report(out, &report, &options))
}

fn pick(options: &Options) -> Result<Option<i32>, Error> {
    match asyncspy_tui::pick(&mut Processes::start(), options) {
        Ok(Picked::Process(pid)) => Ok(Some(pid)),
        Ok(Picked::Exit(_)) => Ok(None),
        Err(error) => Err(of_view(&error)),
    }
}

fn no_process() -> Error {
    Error::usage(
        "no process is named",
        "without a terminal there is nobody to choose one",
        "asyncspy top --once --pid 4242",
    )
}

fn of_view(error: &asyncspy_tui::Error) -> Error {
    let why = std::error::Error::source(error).map_or_else(
        || "the live view draws on a terminal and reads keys from one".to_owned(),
        ToString::to_string,
    );
    Error::new(
        Exit::Other,
        error.to_string(),
        why,
        "asyncspy top --once --pid 4242, which needs no terminal",
    )
}

impl TopArgs {
    fn view_options(&self, look: &LookArgs) -> Options {
        view_options(look, self.delay, self.thresholds)
    }
}

/// How the view looks.
pub(super) fn view_options(look: &LookArgs, delay: f64, thresholds: ThresholdArgs) -> Options {
    let (threshold_ns, error_ns) = thresholds.nanoseconds();
    let color = match look.color {
        ColorWhen::Auto => ColorMode::Auto,
        ColorWhen::Always => ColorMode::Ansi256,
        ColorWhen::Never => ColorMode::None,
    };
    Options {
        ascii: look.ascii,
        color,
        refresh: Duration::try_from_secs_f64(delay.max(0.1)).unwrap_or(Duration::from_secs(1)),
        stall_threshold: Duration::from_nanos(threshold_ns),
        error_threshold: Duration::from_nanos(error_ns),
        pausing: false,
    }
}
