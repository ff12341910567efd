//! The loops of a recording, sampled without a process.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use asyncspy::aio::Caches;
use asyncspy::aio::event_loop::LoopFacts;
use asyncspy::aio::registry::Registries;
use asyncspy::aio::running::running_loop;
use asyncspy::python::Python;
use asyncspy::python::object::Objects;
use asyncspy::python::recording::Recording;
use asyncspy::python::thread::{read_interpreters, read_threads};
use asyncspy::sampler::discovery::RunningLoopFound;
use asyncspy::sampler::loop_sampler::LoopSampler;
use asyncspy::sampler::shared::Shared;
use asyncspy::sampler::tables::StackTable;
use asyncspy::sampler::task_names::TaskTable;
use asyncspy::target::process::monotonic_now_ns;
use asyncspy_model::{Event, LoopSample, RemoteAddr};

/// Opens the recording of a minor version.
///
/// # Errors
/// When it is missing or damaged.
pub fn open(minor: u8) -> Result<Python, Box<dyn Error + Send + Sync>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let file = File::open(folder.join(format!("3.{minor}.memory")))?;
    Ok(Recording::read_from(BufReader::new(file))?.open()?)
}

/// One loop and all that its sampler shares with others.
pub struct RecordedLoop<'a> {
    python: &'a Python,
    sampler: LoopSampler,
    caches: Caches,
    stacks: StackTable,
    tasks: TaskTable,
    /// What the last sample has defined.
    pub events: Vec<Event>,
    now_ns: u64,
}

impl RecordedLoop<'_> {
    /// Takes a sample, a millisecond after the one before; definitions are forgotten.
    ///
    /// # Errors
    /// When the recording lacks what it needs.
    pub fn sample(&mut self) -> Result<LoopSample, Box<dyn Error + Send + Sync>> {
        self.sample_after(1_000_000)
    }

    /// The same for another time since the last one, in nanoseconds.
    ///
    /// # Errors
    /// When the recording lacks what it needs.
    pub fn sample_after(
        &mut self,
        elapsed_ns: u64,
    ) -> Result<LoopSample, Box<dyn Error + Send + Sync>> {
        self.now_ns += elapsed_ns;
        self.events.clear();
        let sample = self.sampler.sample(&mut Shared {
            python: self.python,
            caches: &mut self.caches,
            stacks: &mut self.stacks,
            tasks: &mut self.tasks,
            events: &mut self.events,
            now_ns: self.now_ns,
            interval_ns: 1_000_000,
        })?;
        Ok(sample)
    }
}

/// All loops of a recording. The sampler's own discovery asks the system for the threads, which
/// has nothing to tell of a recorded process.
///
/// # Errors
/// When the recording lacks what it needs.
pub fn recorded_loops(
    python: &Python,
) -> Result<Vec<RecordedLoop<'_>>, Box<dyn Error + Send + Sync>> {
    let objects = Objects {
        view: python.memory.as_view(),
        layout: &python.layout,
    };
    let mut loops = Vec::new();
    let head = python.interpreters_head(objects.view)?;
    let (interpreters, _) = read_interpreters(objects, python.anchors.runtime, head)?;
    for interpreter in interpreters {
        let current = Registries::default().current_tasks(objects, &interpreter)?;
        for thread in read_threads(objects, &interpreter).0 {
            let addr = running_loop(objects, &thread, python.facts.inner_pid)?;
            if addr.is_null() {
                continue;
            }
            let mut caches = Caches::default();
            let facts = LoopFacts::read(objects, &mut caches, addr)?;
            let found = RunningLoopFound {
                tid: 0,
                thread,
                thread_name: "".into(),
                facts,
                current_tasks: current.unwrap_or(RemoteAddr::NULL),
            };
            loops.push(RecordedLoop {
                python,
                sampler: LoopSampler::new(python, found),
                caches,
                stacks: StackTable::default(),
                tasks: TaskTable::default(),
                events: Vec::new(),
                now_ns: monotonic_now_ns(),
            });
        }
    }
    Ok(loops)
}
