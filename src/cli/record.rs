//! `record`: where the loops' time goes, as a flame graph or the like.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use asyncspy_model::report::Report;
use asyncspy_model::sample::EndReason;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use super::common::TargetArgs;
use super::destination::{Destination, is_stdout};
use super::error::{Error, Exit};
use super::interrupt::Interrupt;
use super::output::note;
use super::progress::Progress;
use super::sampling::{Next, Sampling, SamplingArgs, ThresholdArgs};
use crate::analysis::{Analysis, Mode, Settings};
use crate::sink::escape::escape;
use crate::sink::flame_graph::write_flame_graph;
use crate::sink::folded::write_folded;
use crate::sink::profile::{LabelOptions, Profile};
use crate::sink::profile_json::write_profile_json;
use crate::sink::speedscope::write_speedscope;

/// How often signals are looked for when nothing happens.
const PATIENCE: Duration = Duration::from_millis(100);

/// Arguments of `record`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::RECORD)]
pub struct RecordArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    /// File to write; - for the standard output; asyncspy-PID.svg otherwise
    #[arg(short, long, value_name = "FILE")]
    #[arg(env = "ASYNCSPY_OUTPUT", hide_env = true)]
    output: Option<PathBuf>,
    /// What to write; by the file's extension otherwise
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    #[arg(env = "ASYNCSPY_FORMAT", hide_env = true)]
    format: Option<Format>,
    /// Which time to count
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    #[arg(env = "ASYNCSPY_MODE", hide_env = true)]
    mode: ModeArg,
    /// Merge the lines of each function
    #[arg(short = 'F', long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_FUNCTION", hide_env = true)]
    function: bool,
    /// Write whole paths
    #[arg(long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_FULL_FILENAMES", hide_env = true)]
    full_filenames: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An SVG to look at in a browser
    #[value(alias = "svg")]
    Flamegraph,
    /// A line for each stack, for flamegraph.pl and its kind
    #[value(aliases = ["raw", "collapsed"])]
    Folded,
    /// For speedscope, with time from left to right
    Speedscope,
    /// Our own tree
    Json,
}

/// Which time is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// What held the loops
    #[default]
    Busy,
    /// Only time inside stalls, by cause
    Stalls,
    /// What suspended tasks waited for
    Waits,
    /// Busy and idle
    Wall,
}

impl ModeArg {
    /// What a picture of it is called; its second line has the rest.
    const fn title(self) -> &'static str {
        match self {
            Self::Busy => "what held the loops",
            Self::Stalls => "what stalled the loops",
            Self::Waits => "what tasks waited for",
            Self::Wall => "where the loops' time went",
        }
    }
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Busy => Self::Busy,
            ModeArg::Stalls => Self::Stalls,
            ModeArg::Waits => Self::Waits,
            ModeArg::Wall => Self::Wall,
        }
    }
}

pub(super) fn run(args: &RecordArgs) -> Result<(), Error> {
    let interrupt = Interrupt::listen().map_err(Error::from_output)?;
    let mut settings = args.sampling.settings();
    if args.mode == ModeArg::Waits {
        settings.census_every_ns = Some(100_000_000);
    }
    let target = args.target.target()?;
    let format = args.format()?;
    let early = args.output.as_deref().map(Destination::open).transpose()?;
    let sampling = Sampling::start(&target, settings)?;
    let destination = match early {
        Some(destination) => destination,
        None => Destination::open(&format.default_path(sampling.pid))?,
    };
    let (threshold_ns, error_threshold_ns) = args.thresholds.nanoseconds();
    let mut analysis = Analysis::new(Settings {
        threshold_ns,
        error_threshold_ns,
        counts_waits: args.mode == ModeArg::Waits,
        keeps_timelines: format == Format::Speedscope,
        ..Settings::default()
    });
    gather(&sampling, &interrupt, &mut analysis);
    let report = analysis.report().ok_or(Error::Interrupted)?;
    if report.quality.samples == 0 {
        return Err(nothing_gathered(&report, sampling.pid));
    }
    let profile = args.profile(&analysis, &report);
    args.write(destination, format, &profile)?;
    tell_end(&report);
    Ok(())
}

/// Feeds the analysis until the end, and writes the progress.
fn gather(sampling: &Sampling, interrupt: &Interrupt, analysis: &mut Analysis) {
    let mut progress = Progress::new();
    let mut stalls = 0;
    let mut quality = asyncspy_model::SamplingQuality::default();
    loop {
        if interrupt.is_raised() {
            sampling.stop();
        }
        match sampling.next(PATIENCE) {
            Next::Event(event) => {
                if let asyncspy_model::Event::Sample(sample) = &event {
                    quality = sample.quality;
                }
                for finding in analysis.feed(&event) {
                    stalls += u64::from(matches!(finding, crate::analysis::Finding::StallEnded(_)));
                }
            }
            Next::Nothing => {}
            Next::Closed => break,
        }
        progress.show(&quality, stalls);
    }
    progress.clear();
}

fn nothing_gathered(report: &Report, pid: i32) -> Error {
    match report.ended {
        Some(EndReason::Interrupted) => Error::Interrupted,
        Some(EndReason::TargetExited) => super::diagnosis::ended(pid),
        _ => Error::new(
            Exit::Other,
            format!("nothing of process {pid} was sampled"),
            "no event loop ran there, or the duration is too short",
            format!("asyncspy ps {pid}"),
        ),
    }
}

fn tell_end(report: &Report) {
    let quality = &report.quality;
    let ended = match report.ended {
        Some(EndReason::TargetExited) => "; the process has ended",
        Some(EndReason::Unreadable) => "; the process could no longer be read",
        _ => "",
    };
    let by_kernel = match quality.in_kernel {
        0 => String::new(),
        count => format!("; {count} by the kernel"),
    };
    note(&format!(
        "{} samples ({} late, {} torn, {} failed, {} dropped{by_kernel}), {} stalls{ended}",
        quality.samples,
        quality.late,
        quality.torn,
        quality.failed,
        quality.dropped,
        report.totals.stalls,
    ));
}

impl RecordArgs {
    fn format(&self) -> Result<Format, Error> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let Some(output) = &self.output else {
            return Ok(Format::Flamegraph);
        };
        if is_stdout(output) {
            return Ok(Format::Folded);
        }
        let name = output.file_name().and_then(OsStr::to_str).unwrap_or("");
        let extension = name.rsplit('.').next().unwrap_or("");
        match extension {
            "svg" => Ok(Format::Flamegraph),
            "folded" | "txt" | "raw" | "collapsed" => Ok(Format::Folded),
            "json" if name.ends_with(".speedscope.json") => Ok(Format::Speedscope),
            "speedscope" => Ok(Format::Speedscope),
            "json" => Ok(Format::Json),
            _ => Err(Error::usage(
                format!("what to write to {} is not clear", escape(name)),
                "its extension is none of svg, folded, speedscope, json",
                format!("asyncspy record -f flamegraph -o {}", escape(name)),
            )),
        }
    }

    fn profile(&self, analysis: &Analysis, report: &Report) -> Profile {
        let mode = Mode::from(self.mode);
        let gathered = analysis.profile(mode);
        Profile {
            title: format!("asyncspy: {}", self.mode.title()),
            session: report.session.clone(),
            quality: report.quality,
            duration_ns: report
                .at_monotonic_ns
                .saturating_sub(report.session.began_monotonic_ns),
            mode: Arc::from(mode.word()),
            stacks: gathered.stacks,
            timelines: gathered.timelines,
        }
    }

    fn write(
        &self,
        destination: Destination,
        format: Format,
        profile: &Profile,
    ) -> Result<(), Error> {
        let options = LabelOptions {
            by_function: self.function,
            full_filenames: self.full_filenames,
        };
        let write = |out: &mut dyn Write| match format {
            Format::Flamegraph => write_flame_graph(out, profile, options),
            Format::Folded => write_folded(out, profile, options),
            Format::Speedscope => write_speedscope(out, profile, options),
            Format::Json => write_profile_json(out, profile, self.function),
        };
        destination.write(write)
    }
}

impl Format {
    fn default_path(self, pid: i32) -> PathBuf {
        let extension = match self {
            Self::Flamegraph => "svg",
            Self::Folded => "folded",
            Self::Speedscope => "speedscope.json",
            Self::Json => "json",
        };
        PathBuf::from(format!("asyncspy-{pid}.{extension}"))
    }
}
