//! Samples of loops of which a part cannot be read.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use asyncspy::target::recorded::RecordedMemory;
use asyncspy::target::{MemoryError, MemoryView, Piece, ProcessMemory};
use asyncspy_model::{LoopActivity, RemoteAddr};

use crate::memory::{PAGE, recording};
use crate::recorded_loops::{open, recorded_loops};
use crate::snapshots::MINORS;

/// Recorded memory of which one page cannot be read for a while.
struct Hiding {
    recorded: RecordedMemory,
    /// Its address; 0 when all can be read.
    hidden: Arc<AtomicU64>,
}

impl Hiding {
    fn hides(&self, base: u64, len: usize) -> bool {
        let page = self.hidden.load(Ordering::Relaxed);
        page != 0 && base < page + PAGE && page < base + len as u64
    }
}

impl MemoryView for Hiding {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let len = buf.len();
        if self.hides(addr.0, len) {
            return Err(MemoryError::Unmapped { addr, len });
        }
        self.recorded.read(addr, buf)
    }
}

impl ProcessMemory for Hiding {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        let hidden = |piece: &Piece| self.hides(piece.base as u64, piece.len);
        let readable = pieces.iter().position(hidden).unwrap_or(pieces.len());
        self.recorded.gather(&pieces[..readable], buf)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// A busy loop never passes for an idle one, nor an idle one for a busy one, whatever part of it
/// cannot be read and whether its samples were whole before.
#[test]
fn what_cannot_be_read_never_turns_a_busy_loop_idle() -> Result<(), Box<dyn Error + Send + Sync>> {
    for minor in MINORS {
        let recorded = recording(minor).map_err(|error| error.to_string())?.memory;
        let hidden = Arc::new(AtomicU64::new(0));
        let mut python = open(minor)?;
        python.memory = Box::new(Hiding {
            recorded: recorded.clone(),
            hidden: hidden.clone(),
        });
        for warm in [0, 5] {
            for page in recorded.pages() {
                for (at, mut one) in recorded_loops(&python)?.into_iter().enumerate() {
                    let whole = recorded_loops(&python)?.swap_remove(at).sample()?.activity;
                    for _ in 0..warm {
                        one.sample()?;
                    }
                    hidden.store(page.0, Ordering::Relaxed);
                    let partial = one.sample();
                    hidden.store(0, Ordering::Relaxed);
                    let partial = partial.map_or(LoopActivity::Unknown, |sample| sample.activity);
                    if is_other(&whole, &partial) {
                        let what = format!("3.{minor}, loop {at} without {page} after {warm}");
                        return Err(format!("{what}: {partial:?}, not {whole:?}").into());
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_other(whole: &LoopActivity, partial: &LoopActivity) -> bool {
    match (whole, partial) {
        (_, LoopActivity::Unknown) => false,
        (LoopActivity::Busy(whole), LoopActivity::Busy(partial)) => {
            whole.identity != partial.identity
        }
        (whole, partial) => whole != partial,
    }
}
