//! Samples the stalled loop of a recording again and again, so that its instructions can be
//! counted: `cargo run --release --example steady_samples -- COUNT`; see scripts/count-instructions.

#[path = "../benches/recorded_loops/mod.rs"]
mod recorded_loops;

use std::error::Error;

use asyncspy_model::LoopActivity;
use recorded_loops::{open, recorded_loops};

/// The recorded version: the newest.
const MINOR: u8 = 15;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let count = std::env::args().nth(1).ok_or("how many samples?")?;
    let count: u64 = count.parse()?;
    let python = open(MINOR)?;
    for mut one in recorded_loops(&python)? {
        if !matches!(one.sample()?.activity, LoopActivity::Busy(_)) {
            continue;
        }
        for _ in 0..count {
            one.sample()?;
        }
    }
    Ok(())
}
