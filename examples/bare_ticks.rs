//! Waits for each tick of a rate and does nothing then: what any sampler costs at least.
//! `cargo run --release --example bare_ticks -- RATE SECONDS` prints the share of a core in percent.

use std::error::Error;
use std::time::Instant;

use asyncspy::sampler::clock::Ticker;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut words = std::env::args().skip(1);
    let (Some(rate), Some(seconds)) = (words.next(), words.next()) else {
        return Err("which rate, and for how many seconds?".into());
    };
    let (rate, seconds): (u64, f64) = (rate.parse()?, seconds.parse()?);
    let mut ticker = Ticker::new(1_000_000_000 / rate);
    let (began, used) = (Instant::now(), processor_us()?);
    while began.elapsed().as_secs_f64() < seconds {
        ticker.wait();
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds, not years")]
    let used = (processor_us()? - used) as f64;
    println!("{:.4}", used / began.elapsed().as_secs_f64() / 1e4);
    Ok(())
}

/// Processor time of this process, in microseconds.
fn processor_us() -> nix::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}
