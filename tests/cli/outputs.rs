//! What the commands write about a live target.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use asyncspy_test_support::Target;
use libtest_mimic::Trial;
use serde_json::Value;

use super::support::{Finished, asyncspy, run, target};

/// All of these.
pub fn trials() -> Vec<Trial> {
    tests!["outputs"; ps_lists_the_tasks, ps_sorts_and_filters, pstree_names_a_deadlock, dump_names_what_holds_the_loop, json_is_one_line_that_parses, colour_follows_flag_and_environment, options_come_from_the_environment_and_the_command_line_wins, columns_set_the_width_of_a_pipe, a_closed_pipe_ends_quietly, a_full_disk_is_a_failure]
}

fn idle() -> Target {
    target("idle.py", &[])
}

fn ps_lists_the_tasks() {
    let target = idle();
    for arguments in [
        &["ps", &target.pid.to_string()][..],
        &["ps", "--pid", &target.pid.to_string()],
        &["ps", &format!("{:#x}", target.pid)],
    ] {
        let finished = run(arguments);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(finished.err, "");
        let head = format!("pid {}, Python 3.", target.pid);
        assert!(finished.out.starts_with(&head), "{}", finished.out);
        assert!(
            finished.out.contains("7 tasks on 1 loop"),
            "{}",
            finished.out
        );
        for name in ["heartbeat", "sleeper-0.7", "sleeper-3600"] {
            assert!(finished.out.contains(name), "{}", finished.out);
        }
        assert!(finished.out.lines().all(|line| line.chars().count() <= 120));
    }
}

fn ps_sorts_and_filters() {
    let target = idle();
    let finished = run(&[
        "ps",
        &target.pid.to_string(),
        "--sort",
        "name",
        "--filter",
        "sleeper-[0-9]+$",
    ]);
    let names: Vec<&str> = finished
        .out
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("sleeper-"))
        })
        .filter(|word| !word.contains('['))
        .collect();
    assert_eq!(names, ["sleeper-60", "sleeper-3600"], "{}", finished.out);
    let json = run(&[
        "ps",
        &target.pid.to_string(),
        "--json",
        "--filter",
        "sleeper-[0-9]+$",
    ]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["tasks"].as_array().unwrap().len(), 2);
}

fn pstree_names_a_deadlock() {
    let target = target("deadlock.py", &[]);
    let finished = run(&["pstree", &target.pid.to_string(), "--ascii"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.out.contains("deadlock: ring-"), "{}", finished.out);
    assert!(finished.out.contains(" > ring-"), "{}", finished.out);
}

fn dump_names_what_holds_the_loop() {
    let mut target = idle();
    target.stall("stall 600").unwrap();
    let finished = run(&["dump", &target.pid.to_string(), "--locals"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.out.contains("held by stall in block_for ("),
        "{}",
        finished.out
    );
    assert!(
        finished.out.contains("\n        seconds = 600.0\n"),
        "{}",
        finished.out
    );
    let without = run(&["dump", &target.pid.to_string()]);
    assert!(!without.out.contains("seconds = 600.0"), "{}", without.out);
}

fn json_is_one_line_that_parses() {
    let target = idle();
    for (command, schema) in [("ps", "ps"), ("pstree", "ps"), ("dump", "dump")] {
        let finished = run(&[command, &target.pid.to_string(), "--json"]);
        assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""));
        assert_eq!(finished.out.matches('\n').count(), 1);
        let json: Value = serde_json::from_str(&finished.out).unwrap();
        assert_eq!(json["schema"], format!("asyncspy.{schema}"));
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["pid"], target.pid);
        assert_eq!(json["complete"], true);
    }
    let ps: Value =
        serde_json::from_str(&run(&["ps", &target.pid.to_string(), "--json"]).out).unwrap();
    assert_eq!(ps["tasks"].as_array().unwrap().len(), 7);
    assert_eq!(ps["loops"][0]["state"], "idle");
}

fn colour_follows_flag_and_environment() {
    let target = idle();
    let colours = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = asyncspy(&["ps", &target.pid.to_string()]);
        let output = command
            .args(arguments)
            .envs(environment.iter().copied())
            .output();
        Finished::from(output.unwrap()).out.contains('\x1b')
    };
    assert!(!colours(&[], &[]), "a pipe is no terminal");
    assert!(colours(&["--color", "always"], &[]));
    assert!(colours(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(colours(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colours(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!colours(&["--color=never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(colours(&[], &[("ASYNCSPY_COLOR", "always")]));
    assert!(!colours(
        &["--color", "never"],
        &[("ASYNCSPY_COLOR", "always")]
    ));
}

fn options_come_from_the_environment_and_the_command_line_wins() {
    let target = idle();
    let output = asyncspy(&["ps"])
        .env("ASYNCSPY_PID", target.pid.to_string())
        .env("ASYNCSPY_JSON", "1")
        .output();
    let finished = Finished::from(output.unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.out.starts_with('{'));
    let output = asyncspy(&["ps", &target.pid.to_string()])
        .env("ASYNCSPY_PID", "4194305")
        .env("ASYNCSPY_JSON", "0")
        .output();
    let finished = Finished::from(output.unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.out.starts_with("pid "));
}

fn columns_set_the_width_of_a_pipe() {
    let target = idle();
    let output = asyncspy(&["dump", &target.pid.to_string()])
        .env("COLUMNS", "50")
        .output();
    let finished = Finished::from(output.unwrap());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let too_wide = finished.out.lines().find(|line| line.chars().count() > 50);
    assert_eq!(too_wide, None);
}

/// `| head -1`: the reader goes away after the first line.
fn a_closed_pipe_ends_quietly() {
    let target = target("many.py", &["3000"]);
    for arguments in [
        &["ps", "--all"][..],
        &["ps", "--json"],
        &["pstree", "--all"],
        &["dump", "--locals"],
    ] {
        let mut child = asyncspy(arguments)
            .arg(target.pid.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut head = BufReader::with_capacity(16, child.stdout.take().unwrap());
        if arguments.contains(&"--json") {
            head.fill_buf().unwrap();
        } else {
            head.read_line(&mut first).unwrap();
            assert!(first.starts_with("pid "), "{first}");
        }
        drop(head);
        let finished = Finished::from(child.wait_with_output().unwrap());
        assert_eq!((finished.code, finished.err.as_str()), (Some(0), ""));
    }
}

fn a_full_disk_is_a_failure() {
    let target = idle();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = asyncspy(&["ps", &target.pid.to_string()])
        .stdout(full)
        .output();
    let told = Finished::from(output.unwrap()).failed_with(1);
    assert!(told.contains("No space left on device"), "{told}");
}
