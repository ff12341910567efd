//! Times the fold of many samples into a flame graph, without a process:
//! `cargo run --release --example replay_times -- SAMPLES STACKS`.
//!
//! Prints the time of the fold and of the graph in milliseconds, and the most memory that was
//! resident, in KiB. The samples are made one by one, so none of it is theirs.

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use asyncspy::analysis::{Analysis, Mode, Settings};
use asyncspy::sink::flame_graph::write_flame_graph;
use asyncspy::sink::profile::{LabelOptions, Profile};
use asyncspy_model::SamplingQuality;
use asyncspy_test_support::stream::{MadeUpStream, session};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str| -> Result<u32, Box<dyn Error>> {
        Ok(arguments.next().ok_or(what.to_owned())?.parse()?)
    };
    let samples = number("how many samples?")?;
    let mut stream = MadeUpStream::new(number("how many distinct stacks?")?);
    let mut analysis = Analysis::new(Settings::default());
    let began = Instant::now();
    for event in stream.opening() {
        analysis.feed(&event);
    }
    for _ in 0..samples {
        analysis.feed(&stream.sample());
    }
    let fold = began.elapsed();
    let began = Instant::now();
    let mut graph = Vec::new();
    write_flame_graph(&mut graph, &profile(&analysis), LabelOptions::default())?;
    println!(
        "fold_ms {:.1} graph_ms {:.1} peak_kb {} graph_bytes {}",
        fold.as_secs_f64() * 1e3,
        began.elapsed().as_secs_f64() * 1e3,
        peak_kb()?,
        graph.len()
    );
    Ok(())
}

fn profile(analysis: &Analysis) -> Profile {
    let gathered = analysis.profile(Mode::Busy);
    Profile {
        title: "replayed".to_owned(),
        session: session(),
        quality: SamplingQuality::default(),
        duration_ns: 0,
        mode: Arc::from(Mode::Busy.word()),
        stacks: gathered.stacks,
        timelines: gathered.timelines,
    }
}

/// The most memory that was resident, as the kernel counts it.
fn peak_kb() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().next());
    Ok(digits.ok_or("the kernel does not tell")?.parse()?)
}
