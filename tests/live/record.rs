//! Makes the recordings that `tests/recorded.rs` replays. No test: listed only when
//! ASYNCSPY_TEST_RECORD is set.

use std::fs;
use std::io::BufWriter;
use std::sync::PoisonError;

use asyncspy::aio::snapshot::{Snapshooter, SnapshotOptions};
use asyncspy::python::Python;
use asyncspy::python::recording::Recording;
use asyncspy::target::LiveMemory;
use asyncspy::target::recorded::{RecordedMemory, RecordingMemory};
use asyncspy_model::{RemoteAddr, Snapshot};
use asyncspy_test_support::compare::assert_equal;
use asyncspy_test_support::golden::timeless;
use asyncspy_test_support::interpreters::repository;
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;

use crate::catalogue::{one_per_minor, trial};

/// Set to make the recordings anew.
const VARIABLE: &str = "ASYNCSPY_TEST_RECORD";

/// Bytes of a page.
const PAGE: u64 = 4096;

/// What nobody reads is blanked down to blocks of this many bytes.
const BLOCK: u64 = 64;

/// Stands for the beginning of paths that only the recording machine has.
const RECORDED: &str = "/recorded";

/// One interpreter of each minor version.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    if std::env::var_os(VARIABLE).is_none() {
        return Vec::new();
    }
    let each = one_per_minor(interpreters).cloned();
    each.map(|each| trial(format!("record::{}", each.name), move || record(&each)))
        .collect()
}

fn record(interpreter: &Interpreter) -> Outcome {
    let mut target = Target::start(interpreter, "small.py", &[])?;
    target.stall("stall 600 crowd")?;
    let truth = target.truth()?;
    target.stop()?;
    let found = Python::attach(target.pid)?;
    let memory = RecordingMemory::new(Box::new(LiveMemory::new(target.pid)));
    let recorded = memory.recorded();
    let python = Python::open(found.facts, Box::new(memory), found.anchors)?;
    let snapshot = take(&python)?;
    // What is recorded was right when it was.
    assert_equal("recorded", &truth, &snapshot)?;
    let recorded = recorded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut recording = reopen(&python, &recorded)?;
    for path in private_paths(interpreter)? {
        hide(&mut recording.memory, &path);
    }
    thin_out(&mut recording)?;
    let folder = repository().join("tests/recorded");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.memory", interpreter.name));
    Recording::write(
        &python,
        &recording.memory,
        BufWriter::new(fs::File::create(&path)?),
    )?;
    let (pages, bytes) = (recording.memory.pages().count(), fs::metadata(&path)?.len());
    println!("record::{}: {pages} pages, {bytes} bytes", interpreter.name);
    Ok(())
}

fn take(python: &Python) -> Outcome<Snapshot> {
    let options = SnapshotOptions { locals: true };
    Ok(timeless(Snapshooter::default().take(python, options)?))
}

/// What a test will read back.
fn reopen(python: &Python, memory: &RecordedMemory) -> Outcome<Recording> {
    let mut bytes = Vec::new();
    Recording::write(python, memory, &mut bytes)?;
    Ok(Recording::read_from(bytes.as_slice())?)
}

fn replay(recording: &Recording, memory: RecordedMemory) -> Outcome<Snapshot> {
    take(&Python::open(
        recording.facts.clone(),
        Box::new(memory),
        recording.anchors,
    )?)
}

/// Beginnings of paths that tell of the machine and say nothing of the target.
fn private_paths(interpreter: &Interpreter) -> Outcome<Vec<String>> {
    let mut paths = Vec::new();
    let programs = repository().join("tests");
    // `…/bin/python3.12`, `…/usr/local/bin/python3.14`: its library lies beside `bin`.
    let library = interpreter.binary.ancestors().nth(2).ok_or("no prefix")?;
    let root = library
        .ancestors()
        .find(|folder| !folder.ends_with("usr/local") && !folder.ends_with("usr"));
    for folder in [programs.as_path(), root.unwrap_or(library)] {
        paths.push(folder.to_str().ok_or("a path that is no text")?.to_owned());
        paths.push(
            fs::canonicalize(folder)?
                .to_str()
                .ok_or("no text")?
                .to_owned(),
        );
    }
    paths.retain(|path| path.len() > 1);
    paths.sort_unstable_by_key(|path| std::cmp::Reverse(path.len()));
    Ok(paths)
}

/// Writes something of the same length over each occurrence of a path.
fn hide(memory: &mut RecordedMemory, path: &str) {
    let mut instead = format!("{RECORDED:_<width$}", width = path.len());
    instead.truncate(path.len());
    let pages: Vec<RemoteAddr> = memory.pages().collect();
    for run in pages.chunk_by(|one, two| one.offset(PAGE) == *two) {
        let mut bytes = vec![0; run.len() * PAGE as usize];
        let read = asyncspy::target::MemoryView::read(memory, run[0], &mut bytes);
        if read.is_err() {
            continue;
        }
        for (at, window) in bytes.windows(path.len()).enumerate() {
            if window == path.as_bytes() {
                memory.overwrite(run[0].offset(at as u64), instead.as_bytes());
            }
        }
    }
}

/// Drops the pages and blanks the blocks without which the snapshot is the same.
fn thin_out(recording: &mut Recording) -> Outcome {
    let expected = replay(recording, recording.memory.clone())?;
    let pages: Vec<RemoteAddr> = recording.memory.pages().collect();
    for page in pages {
        let mut without = recording.memory.clone();
        without.forget(page);
        if replay(recording, without.clone()).is_ok_and(|snapshot| snapshot == expected) {
            recording.memory = without;
            continue;
        }
        let mut ranges = vec![(page, PAGE)];
        while let Some((start, len)) = ranges.pop() {
            let mut blanked = recording.memory.clone();
            blanked.overwrite(start, &vec![0; len as usize]);
            let same = replay(recording, blanked.clone()).is_ok_and(|read| read == expected);
            if same {
                recording.memory = blanked;
            } else if len > BLOCK {
                ranges.extend([(start, len / 2), (start.offset(len / 2), len / 2)]);
            }
        }
    }
    Ok(())
}
