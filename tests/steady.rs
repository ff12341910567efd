//! The steady state: what one more sample asks of the allocator.

#[path = "../benches/recorded_loops/mod.rs"]
mod recorded_loops;

use std::error::Error;

use allocation_counter::measure;
use asyncspy::analysis::{Analysis, Settings};
use asyncspy_test_support::stream::MadeUpStream;
use recorded_loops::{open, recorded_loops};

const MINORS: std::ops::RangeInclusive<u8> = 8..=15;

/// Samples until buffers have their size.
const WARM_UP: u64 = 1_000;

const SAMPLES: u64 = 1_000;

/// Buffers that still grow now and then.
const GROWTH: u64 = 50;

/// Allocations of the fold of one sample. The aim is none; it is here so that it only gets less.
const OF_A_FOLD: u64 = 1;

#[test]
fn a_sample_of_a_loop_that_stands_still_allocates_nothing()
-> Result<(), Box<dyn Error + Send + Sync>> {
    for minor in MINORS {
        let python = open(minor)?;
        for (at, mut one) in recorded_loops(&python)?.into_iter().enumerate() {
            for _ in 0..WARM_UP {
                one.sample()?;
            }
            let counted = measure(|| {
                for _ in 0..SAMPLES {
                    assert!(one.sample().is_ok());
                }
            });
            let count = counted.count_total;
            println!("3.{minor}, loop {at}: {count} allocations in {SAMPLES} samples");
            assert!(count <= GROWTH, "3.{minor}: {count}");
        }
    }
    Ok(())
}

#[test]
fn the_fold_of_a_sample_allocates_next_to_nothing() {
    let mut stream = MadeUpStream::new(100);
    let mut analysis = Analysis::new(Settings::default());
    for event in stream.opening() {
        analysis.feed(&event);
    }
    for _ in 0..WARM_UP {
        analysis.feed(&stream.sample());
    }
    let samples: Vec<_> = (0..SAMPLES).map(|_| stream.sample()).collect();
    let counted = measure(|| {
        for sample in &samples {
            assert!(analysis.feed(sample).is_empty());
        }
    });
    let count = counted.count_total;
    println!("{count} allocations in the fold of {SAMPLES} samples");
    assert!(count <= OF_A_FOLD * SAMPLES + GROWTH, "{count}");
}

/// `watch` may run for a week: what a loop runs is not kept, only its stalls are.
#[test]
fn an_analysis_of_stalls_alone_keeps_nothing_of_what_ran() {
    let mut stream = MadeUpStream::new(4_096);
    let mut analysis = Analysis::new(Settings {
        stalls_only: true,
        ..Settings::default()
    });
    for event in stream.opening() {
        analysis.feed(&event);
    }
    let samples: Vec<_> = (0..10 * SAMPLES).map(|_| stream.sample()).collect();
    let counted = measure(|| {
        for sample in &samples {
            assert!(analysis.feed(sample).is_empty());
        }
    });
    let bytes = counted.bytes_current;
    println!("{bytes} bytes more after {} samples", samples.len());
    assert!(bytes < 64 << 10, "{bytes}");
}
