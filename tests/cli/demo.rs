//! `asyncspy demo`: the answer it shows, and that nothing of it stays behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use asyncspy_test_support::{Interpreter, interpreters};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::{Finished, asyncspy, python, run};

/// One for each minor version, and the others.
pub fn trials() -> Vec<Trial> {
    let mut trials = tests!["demo";
        an_interrupt_ends_it_and_leaves_nothing,
        a_python_that_does_not_serve_is_told,
        a_closed_pipe_ends_it_quietly,
    ];
    let pythons = interpreters::load().unwrap().into_iter();
    for python in pythons.filter(Interpreter::is_supported) {
        let (major, minor) = python.minor();
        if python.name == format!("{major}.{minor}") {
            let name = format!(
                "demo::shows_what_holds_the_loop_and_who_waits::{}",
                python.name
            );
            trials.push(Trial::test(name, move || {
                shows_what_holds_the_loop_and_who_waits(&python);
                Ok(())
            }));
        }
    }
    trials
}

fn shows_what_holds_the_loop_and_who_waits(python: &Interpreter) {
    let finished = run(&["demo", "--python", &python.argv[0]]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for expected in [
        "held by GET /report in ",
        "query_database (",
        "Lock.acquire",
        "executor",
        "order-4",
        "export-4",
        "subscriber-",
        "thumbnails",
    ] {
        assert!(
            finished.out.contains(expected),
            "{expected}: {}",
            finished.out
        );
    }
}

fn an_interrupt_ends_it_and_leaves_nothing() {
    for (signal, cleans_up) in [
        (Signal::SIGINT, true),
        (Signal::SIGTERM, true),
        (Signal::SIGHUP, true),
        // Nothing can be done about its folder then; the service must still end.
        (Signal::SIGKILL, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let child = start_demo(folder.path());
        let service = wait_for_service(&child);
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let finished = Finished::from(child.wait_with_output().unwrap());
        assert_eq!(
            finished.code,
            cleans_up.then_some(130),
            "{signal}: {finished:?}"
        );
        assert_eq!(finished.out, "");
        wait_until("the service has ended", || !Path::new(&service).exists());
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, usize::from(!cleans_up), "{signal}");
    }
}

fn start_demo(folder: &Path) -> Child {
    asyncspy(&["demo", "--python", &python().argv[0]])
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The folder below /proc of the service, as soon as its Python reads the source.
fn wait_for_service(child: &Child) -> String {
    let pid = child.id();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let mut service = String::new();
    wait_until("the service has started", || {
        let children = fs::read_to_string(&path).unwrap_or_default();
        service = format!("/proc/{}", children.trim());
        let command = fs::read_to_string(format!("{service}/cmdline")).unwrap_or_default();
        command.contains("demo.py")
    });
    service
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "in a minute it was not so that {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_python_that_does_not_serve_is_told() {
    let missing = run(&["demo", "--python", "/nowhere/python3"]);
    assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""));
    assert!(
        missing.err.contains("why: there is no /nowhere/python3"),
        "{missing:?}"
    );
    let silent = run(&["demo", "--python", "true"]);
    assert_eq!(silent.code, Some(1));
    assert!(
        silent
            .err
            .contains("cannot start the demo service with true"),
        "{silent:?}"
    );
    if let Ok(old) = interpreters::named("3.6") {
        let finished = run(&["demo", "--python", &old.argv[0]]);
        assert_eq!(finished.code, Some(1));
        assert!(
            finished.err.contains("why: it says: AttributeError: "),
            "{finished:?}"
        );
    }
}

fn a_closed_pipe_ends_it_quietly() {
    let mut child = asyncspy(&["demo", "--python", &python().argv[0]])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
