//! Times snapshots of a process: `cargo run --release --example snapshot_times -- PID [COUNT]`.
//!
//! Prints attach time, a snapshot that is to be the only one, the first of a row of them and the
//! median of the rest in microseconds, with the number of tasks and how many of the row were
//! complete.

use std::error::Error;
use std::time::Instant;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let pid = arguments.next().ok_or("a process id is needed")?.parse()?;
    let count: usize = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let began = Instant::now();
    let python = Python::attach(pid)?;
    let attach = began.elapsed();
    let began = Instant::now();
    Snapshooter::for_one().take(&python, SnapshotOptions::default())?;
    let once = began.elapsed();
    let mut snapshooter = Snapshooter::default();
    let mut times = Vec::new();
    let (mut tasks, mut complete) = (0, 0);
    for _ in 0..count {
        let began = Instant::now();
        let snapshot = snapshooter.take(&python, SnapshotOptions::default())?;
        times.push(began.elapsed().as_micros());
        tasks = snapshot.tasks.len();
        complete += usize::from(snapshot.complete);
    }
    let first = times.first().copied().unwrap_or(0);
    let rest = times.get_mut(1..).unwrap_or_default();
    rest.sort_unstable();
    let median = rest.get(rest.len() / 2).copied().unwrap_or(first);
    println!(
        "attach_us {} once_us {} first_us {first} median_us {median} tasks {tasks} complete \
         {complete}/{count}",
        attach.as_micros(),
        once.as_micros()
    );
    Ok(())
}
