//! However it ends, what `record` writes is whole or absent, and the target goes on unharmed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use asyncspy_test_support::trials::{missing, trial};
use asyncspy_test_support::{Interpreter, Outcome, Target};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::short_or_long;
use crate::watching::{Watching, binary};

/// A file of each format, by its extension.
const FILES: [&str; 4] = ["a.svg", "a.folded", "a.speedscope.json", "a.json"];

/// Blocks for 0.2 of each 0.5 seconds.
const BLOCKER: [&str; 5] = ["time_sleep", "--period", "0.5", "--duration", "0.2"];

type Scenario = fn(&mut Target, &TempDir) -> Outcome;

const SCENARIOS: [(&str, Scenario); 7] = [
    ("target_ends", target_ends),
    ("interrupted_at_random", interrupted_at_random),
    ("killed_at_random", killed_at_random),
    ("unwritable", unwritable),
    ("to_stdout", to_stdout),
    ("modes_are_consumed", modes_are_consumed),
    ("fail_on", fail_on),
];

/// All of it on one Python: no version differs here.
pub fn trials(interpreters: &[Interpreter]) -> Vec<Trial> {
    let python = interpreters.iter().find(|each| each.name == "3.12");
    let trials = SCENARIOS.iter().map(|(name, run)| {
        let name = format!("endings::{name}");
        let Some(python) = python.cloned() else {
            return missing(&name, "no Python 3.12");
        };
        trial(name, move || {
            let mut target = Target::start(&python, "blocker.py", &BLOCKER)?;
            run(&mut target, &TempDir::new()?)
        })
    });
    trials.collect()
}

/// `record` with these options, at 1 kHz. Ctrl-C ends it from its first moment on, even where the
/// tests were started in the background, which makes programs ignore it until they listen.
fn record(pid: i32, options: &[&str]) -> Outcome<Child> {
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(binary())
        .args(["record", "--rate", "1khz", &pid.to_string()])
        .args(options);
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command.spawn()?)
}

fn signal(child: &Child, signal: Signal) -> Outcome {
    Ok(kill(Pid::from_raw(i32::try_from(child.id())?), signal)?)
}

fn expect(what: &str, holds: bool, output: &Output) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(format!("not so: {what}: {output:?}").into()),
    }
}

/// Fails unless the file can be read to its end by what reads such files.
fn check_whole(path: &Path) -> Outcome {
    let text = fs::read_to_string(path)?;
    let name = path.to_string_lossy();
    if name.ends_with(".json") {
        serde_json::from_str::<Value>(&text)?;
        return Ok(());
    }
    if name.ends_with(".svg") {
        return match text.starts_with("<?xml") && text.trim_end().ends_with("</svg>") {
            true => Ok(()),
            false => Err(format!("{name} is cut").into()),
        };
    }
    check_folded(&text)
}

/// What `flamegraph.pl` and its kind make of folded stacks: nothing is passed over.
fn check_folded(text: &str) -> Outcome {
    if text.is_empty() {
        return Ok(());
    }
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').ok_or("a line without a count")?;
        let _: u64 = count.parse()?;
        if stack.is_empty() || stack.split(';').any(str::is_empty) {
            return Err(format!("an empty frame in {line}").into());
        }
    }
    let mut svg = Vec::new();
    let mut options = inferno::flamegraph::Options::default();
    inferno::flamegraph::from_lines(&mut options, text.lines(), &mut svg)?;
    Ok(())
}

fn target_ends(target: &mut Target, folder: &TempDir) -> Outcome {
    let path = folder.path().join("a.folded");
    let child = record(target.pid, &["-o", &path.to_string_lossy()])?;
    thread::sleep(Duration::from_millis(1500));
    target.end();
    let output = child.wait_with_output()?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    expect("it is no failure", output.status.success(), &output)?;
    expect("it says so", complaints.contains("ended"), &output)?;
    let text = fs::read_to_string(&path)?;
    expect(
        "the culprit is in it",
        text.contains("block_time_sleep"),
        &output,
    )?;
    check_whole(&path)
}

/// Moments from the start of the program until well into the recording.
fn moments(count: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(move |round| Duration::from_micros(round * 600_000 / count))
}

fn interrupted_at_random(target: &mut Target, folder: &TempDir) -> Outcome {
    let mut whole = 0;
    for (round, moment) in moments(short_or_long(10, 100)).enumerate() {
        let path = folder.path().join(FILES[round % FILES.len()]);
        let child = record(target.pid, &["-o", &path.to_string_lossy()])?;
        thread::sleep(moment);
        signal(&child, Signal::SIGINT)?;
        let output = child.wait_with_output()?;
        if path.exists() {
            expect("a file means success", output.status.success(), &output)?;
            check_whole(&path)?;
            fs::remove_file(&path)?;
            whole += 1;
        } else {
            // Before it listens, the signal ends it as it ends any program.
            let code = output.status.code();
            expect(
                "nothing gathered",
                matches!(code, None | Some(130)),
                &output,
            )?;
        }
    }
    expect_clean(folder)?;
    target.ask("truth")?;
    match whole {
        0 => Err("nothing was ever gathered".into()),
        _ => Ok(()),
    }
}

/// Nothing is left behind.
fn expect_clean(folder: &TempDir) -> Outcome {
    let left: Vec<_> = fs::read_dir(folder.path())?.flatten().collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left behind: {left:?}").into()),
    }
}

fn killed_at_random(target: &mut Target, folder: &TempDir) -> Outcome {
    let path = folder.path().join("a.json");
    for moment in moments(short_or_long(10, 100)) {
        let mut child = record(target.pid, &["-o", &path.to_string_lossy()])?;
        thread::sleep(moment);
        child.kill()?;
        child.wait()?;
        if path.exists() {
            return Err("it was killed and has written".into());
        }
        let status = fs::read_to_string(format!("/proc/{}/status", target.pid))?;
        if !status.contains("TracerPid:\t0") || status.contains("State:\tT") {
            return Err(format!("it holds the target: {status}").into());
        }
    }
    target.ask("truth")?;
    Ok(())
}

fn unwritable(target: &mut Target, folder: &TempDir) -> Outcome {
    for path in ["missing/a.svg", "."] {
        let path = folder.path().join(path);
        let began = Instant::now();
        let options = [
            "-f",
            "flamegraph",
            "-d",
            "60",
            "-o",
            &path.to_string_lossy(),
        ];
        let output = record(target.pid, &options)?.wait_with_output()?;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        expect("it fails", output.status.code() == Some(1), &output)?;
        expect("in three lines", complaints.lines().count() == 3, &output)?;
        expect(
            "at once",
            began.elapsed() < Duration::from_secs(20),
            &output,
        )?;
    }
    Ok(())
}

fn to_stdout(target: &mut Target, _: &TempDir) -> Outcome {
    let output = record(target.pid, &["-o", "-", "-d", "1"])?.wait_with_output()?;
    expect("it works", output.status.success(), &output)?;
    let text = String::from_utf8(output.stdout.clone())?;
    expect(
        "the culprit is in it",
        text.contains("block_time_sleep"),
        &output,
    )?;
    check_folded(&text)
}

fn modes_are_consumed(target: &mut Target, folder: &TempDir) -> Outcome {
    let modes = ["busy", "stalls", "waits", "wall"];
    let mut children = Vec::new();
    for mode in modes {
        let path = folder.path().join(format!("{mode}.folded"));
        let options = ["--mode", mode, "-d", "2", "-o", &path.to_string_lossy()];
        children.push((mode, record(target.pid, &options)?, path.clone()));
    }
    for (mode, child, path) in children {
        let output = child.wait_with_output()?;
        expect(mode, output.status.success(), &output)?;
        check_whole(&path)?;
        let text = fs::read_to_string(&path)?;
        let expected = if mode == "waits" {
            "background"
        } else {
            "block_time_sleep"
        };
        expect(mode, text.contains(expected), &output)?;
    }
    Ok(())
}

fn fail_on(target: &mut Target, _: &TempDir) -> Outcome {
    for (options, code) in [
        (["--fail-on", "stall"], 7),
        (["--fail-on", "error"], 0),
        (["--error-threshold", "1000"], 0),
    ] {
        let mut words = vec!["--duration", "1.5"];
        words.extend(options);
        let told = Watching::start(target.pid, &words)?.finish()?;
        if told.code != Some(code) || told.stalls.is_empty() {
            return Err(format!("{options:?}: {told:?}").into());
        }
    }
    Ok(())
}
