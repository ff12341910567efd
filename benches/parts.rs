//! The inner parts, each by itself, over recorded memory or made-up samples.

mod recorded_loops;

use std::error::Error;
use std::hint::black_box;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::analysis::{Analysis, Mode, Settings};
use asyncspy::sink::escape::escape;
use asyncspy::sink::folded::write_folded;
use asyncspy::sink::profile::{LabelOptions, Profile};
use asyncspy_model::{LoopActivity, SamplingQuality};
use asyncspy_test_support::stream::{MadeUpStream, session};
use criterion::Criterion;
use recorded_loops::{open, recorded_loops};

/// The recorded version: the newest.
const MINOR: u8 = 15;

const STACKS: u32 = 1_000;

/// What a name of the target may be at worst.
const HOSTILE: &str = "evil\x1b[2J\u{202e}name\nof a 漢字 handler";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut criterion = Criterion::default().configure_from_args();
    sample(&mut criterion)?;
    census(&mut criterion)?;
    fold(&mut criterion);
    text(&mut criterion);
    folded(&mut criterion);
    criterion.final_summary();
    Ok(())
}

/// One sample of a loop that stands where it was predicted, with its task and stack by number.
fn sample(criterion: &mut Criterion) -> Result<(), Box<dyn Error + Send + Sync>> {
    let python = open(MINOR)?;
    for mut one in recorded_loops(&python)? {
        let name = match one.sample()?.activity {
            LoopActivity::Busy(_) => "sample of a stalled loop",
            _ => "sample of an idle loop",
        };
        criterion.bench_function(name, |bencher| bencher.iter(|| one.sample().is_ok()));
    }
    Ok(())
}

fn census(criterion: &mut Criterion) -> Result<(), Box<dyn Error + Send + Sync>> {
    let python = open(MINOR)?;
    let options = SnapshotOptions::default();
    criterion.bench_function("first census of a small program", |bencher| {
        bencher.iter(|| Snapshooter::default().take(&python, options).is_ok());
    });
    let mut snapshooter = Snapshooter::default();
    snapshooter.take(&python, options)?;
    criterion.bench_function("census again", |bencher| {
        bencher.iter(|| snapshooter.take(&python, options).is_ok());
    });
    Ok(())
}

fn opened() -> (Analysis, MadeUpStream) {
    let stream = MadeUpStream::new(STACKS);
    let mut analysis = Analysis::new(Settings::default());
    for event in stream.opening() {
        analysis.feed(&event);
    }
    (analysis, stream)
}

fn fold(criterion: &mut Criterion) {
    let (mut analysis, mut stream) = opened();
    criterion.bench_function("fold of one sample", |bencher| {
        bencher.iter(|| analysis.feed(&stream.sample()));
    });
}

fn text(criterion: &mut Criterion) {
    for (name, text) in [("plain", "Service.handle_request"), ("hostile", HOSTILE)] {
        criterion.bench_function(&format!("escape of a {name} name"), |bencher| {
            bencher.iter(|| escape(black_box(text)).len());
        });
    }
}

fn folded(criterion: &mut Criterion) {
    let (mut analysis, mut stream) = opened();
    for _ in 0..=2 * STACKS {
        analysis.feed(&stream.sample());
    }
    let profile = Profile {
        title: String::new(),
        session: session(),
        quality: SamplingQuality::default(),
        duration_ns: 0,
        mode: Mode::Busy.word().into(),
        stacks: analysis.profile(Mode::Busy).stacks,
        timelines: Vec::new(),
    };
    let mut out = Vec::new();
    criterion.bench_function("folded output of 1000 stacks", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_folded(&mut out, &profile, LabelOptions::default()).is_ok()
        });
    });
}
