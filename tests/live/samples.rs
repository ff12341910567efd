//! What a sample of a loop that never rests asks of the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use asyncspy::aio::Caches;
use asyncspy::aio::registry::Registries;
use asyncspy::layout::RunningTask;
use asyncspy::python::Python;
use asyncspy::python::thread_names::ThreadNames;
use asyncspy::sampler::discovery::find_running_loops;
use asyncspy::sampler::loop_sampler::LoopSampler;
use asyncspy::sampler::shared::Shared;
use asyncspy::sampler::tables::StackTable;
use asyncspy::sampler::task_names::TaskTable;
use asyncspy::target::memory::MemoryViewExt;
use asyncspy::target::process::monotonic_now_ns;
use asyncspy::target::{LiveMemory, MemoryError, MemoryView, Piece, ProcessMemory};
use asyncspy_model::RemoteAddr;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{one_per_minor, trial_alone};

/// Samples until all has been met that is met again.
const WARM_UP: usize = 20;

const SAMPLES: usize = 101;

/// Reads of memory that half of the samples take at most. Three are usual, and to ask for the task
/// field by field takes five more.
const READS: usize = 6;

/// The chain is met at so many moments of its way, so long one after the other: at a single one its
/// stack may move each time, which takes reads of its own.
const STEPS: usize = 20;
const STEP: Duration = Duration::from_micros(5);

/// Where a dict has the address of its keys.
const DICT_KEYS: u64 = 32;

/// For how long a task may neither enter nor leave its loop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Memory that counts how often it is read.
struct Counting {
    memory: LiveMemory,
    reads: Arc<AtomicUsize>,
}

impl MemoryView for Counting {
    fn read(&self, addr: RemoteAddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.memory.read(addr, buf)
    }
}

impl ProcessMemory for Counting {
    fn gather(&self, pieces: &[Piece], buf: &mut [u8]) -> Result<usize, MemoryError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.memory.gather(pieces, buf)
    }

    fn as_view(&self) -> &dyn MemoryView {
        self
    }
}

/// Each version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let each = one_per_minor(interpreters).cloned();
    each.map(|each| trial_alone(format!("samples::{}", each.name), move || sample(&each)))
        .collect()
}

/// Where the running task is told from moves ever again, as a dict of running tasks does from keys
/// to keys; that costs no reads.
fn sample(interpreter: &Interpreter) -> Outcome {
    let target = Target::start(interpreter, "chain.py", &["10"])?;
    let mut python = Python::attach(target.pid)?;
    let reads = Arc::<AtomicUsize>::default();
    python.memory = Box::new(Counting {
        memory: LiveMemory::new(target.pid),
        reads: reads.clone(),
    });
    let (mut caches, mut registries) = (Caches::default(), Registries::default());
    let names = &mut ThreadNames::default();
    let mut found = find_running_loops(&python, &mut caches, &mut registries, names, &[])?;
    let found = found.pop().ok_or("no loop")?;
    let told_at = match python.layout.running_task {
        RunningTask::Field(offset) => found.thread.addr.offset(offset),
        RunningTask::CurrentTasks => found.current_tasks.offset(DICT_KEYS),
    };
    let mut sampler = LoopSampler::new(&python, found);
    let (mut stacks, mut tasks) = (StackTable::default(), TaskTable::default());
    let (mut counts, mut events) = (Vec::new(), Vec::new());
    let mut word = RemoteAddr::NULL;
    for nth in 0..WARM_UP + SAMPLES {
        let after = STEP * (nth % STEPS) as u32;
        word = other_than(word, &LiveMemory::new(target.pid), told_at, after)?;
        reads.store(0, Ordering::Relaxed);
        events.clear();
        sampler.sample(&mut Shared {
            python: &python,
            caches: &mut caches,
            stacks: &mut stacks,
            tasks: &mut tasks,
            events: &mut events,
            now_ns: monotonic_now_ns(),
            interval_ns: 1_000_000,
        })?;
        if nth >= WARM_UP {
            counts.push(reads.load(Ordering::Relaxed));
        }
    }
    counts.sort_unstable();
    let (median, most) = (counts[SAMPLES / 2], counts[SAMPLES - 1]);
    println!(
        "samples::{}: median {median}, worst {most}",
        interpreter.name
    );
    if median > READS {
        return Err(format!("{median} reads a sample").into());
    }
    Ok(())
}

/// Waits until another word is there than this and then for `after`, and returns it.
fn other_than(
    known: RemoteAddr,
    memory: &LiveMemory,
    at: RemoteAddr,
    after: Duration,
) -> Outcome<RemoteAddr> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let now = memory.read_ptr(at)?;
        if now != known {
            let changed = Instant::now();
            while changed.elapsed() < after {
                std::hint::spin_loop();
            }
            return Ok(now);
        }
    }
    Err("no task has entered or left the loop".into())
}
