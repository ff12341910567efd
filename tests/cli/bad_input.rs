//! Processes that cannot be looked at: each has its exit code and says what to do.

use std::fs;
use std::process::Command;

use asyncspy_test_support::programs::copy_program;
use asyncspy_test_support::trials::missing;
use asyncspy_test_support::{Interpreter, interpreters};
use libtest_mimic::Trial;

use super::support::{Process, WAIT, command, python, run, target, waiting};

/// Those that need nothing but a Python, and those that need something more.
pub fn trials() -> Vec<Trial> {
    let mut trials = tests!["bad_input";
        no_such_process,
        a_zombie,
        a_shell,
        a_shell_with_python_below_it_is_told_which_pid_to_use,
        pypy_is_refused_by_name,
        a_process_without_asyncio_is_an_empty_answer,
        a_process_without_a_loop_is_an_empty_answer,
        a_master_process_without_a_loop_is_told_of_its_workers,
        a_thread_id_stands_for_its_process,
    ];
    let status = fs::read_to_string("/proc/2/status").unwrap_or_default();
    if status.starts_with("Name:\tkthreadd\n") {
        trials.extend(tests!["bad_input"; a_kernel_thread]);
    } else {
        trials.push(missing(
            "bad_input::a_kernel_thread",
            "they cannot be seen here",
        ));
    }
    for name in ["2.7", "3.6", "3.7"] {
        let title = format!("bad_input::an_old_python_is_refused_by_name::{name}");
        trials.push(trial_with(title, interpreters::named(name).ok(), refuse));
    }
    let mut all = interpreters::load().unwrap().into_iter();
    let free_threaded = all.find(|each| each.free_threaded && each.is_supported());
    let title = "bad_input::a_free_threaded_python_is_read_or_refused_by_name".to_owned();
    trials.push(trial_with(title, free_threaded, read_or_refuse));
    trials
}

fn trial_with(title: String, python: Option<Interpreter>, test: fn(&Interpreter)) -> Trial {
    match python {
        Some(python) => Trial::test(title, move || {
            test(&python);
            Ok(())
        }),
        None => missing(&title, "it is not installed"),
    }
}

fn no_such_process() {
    // Beyond the largest pid that Linux gives (PID_MAX_LIMIT, 2^22).
    for command in ["ps", "pstree", "dump"] {
        let told = run(&[command, "4194305"]).failed_with(3);
        assert!(
            told.starts_with("asyncspy: there is no process 4194305\n"),
            "{told}"
        );
    }
    run(&["ps", "-p", "0x400001"]).failed_with(3);
}

fn a_zombie() {
    let mut child = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let told = run(&["ps", &child.id().to_string()]).failed_with(3);
    let parent = format!("it is a zombie: its parent {} (", std::process::id());
    assert!(told.contains(&parent), "{told}");
    child.wait().unwrap();
}

fn a_kernel_thread() {
    let told = run(&["dump", "2"]).failed_with(4);
    assert!(
        told.contains("it is a thread of the kernel (kthreadd)"),
        "{told}"
    );
}

fn a_shell() {
    let shell = Process::start(Command::new("sh").args(["-c", "echo READY; read line"]));
    let told = run(&["ps", &shell.pid()]).failed_with(4);
    assert!(told.contains("which holds no CPython"), "{told}");
}

fn a_shell_with_python_below_it_is_told_which_pid_to_use() {
    let python = python();
    let script = r#"sh -c '"$@"; true' sh "$@"; true"#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(&python.argv[0])
        .args(["-c", WAIT]);
    let shell = Process::start(&mut shell);
    let told = run(&["dump", "--pid", &shell.pid(), "-l"]).failed_with(4);
    assert!(told.contains("but Python runs below it: "), "{told}");
    let (_, advice) = told.trim_end().rsplit_once("dump --pid ").unwrap();
    let (pid, rest) = advice.split_once(' ').unwrap();
    assert_eq!(rest, "-l", "the other options stay: {told}");
    let hinted = run(&["dump", pid]);
    assert_eq!(hinted.code, Some(0), "{hinted:?}");
}

fn refuse(python: &Interpreter) {
    let target = waiting(python);
    let told = run(&["ps", &target.pid()]).failed_with(6);
    let expected = format!("runs Python {}, which is not supported\n", python.name);
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains("CPython 3.8 to 3."), "{told}");
}

fn read_or_refuse(python: &Interpreter) {
    let target = waiting(python);
    let finished = run(&["dump", &target.pid()]);
    if finished.code != Some(0) {
        let told = finished.failed_with(6);
        assert!(told.contains("a free-threaded Python 3."), "{told}");
    }
}

/// PyPy is told by the name of its program, so any program of that name serves.
fn pypy_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pypy3.10");
    copy_program("/bin/sh".as_ref(), &program).unwrap();
    let target = Process::start(Command::new(program).args(["-c", "echo READY; read line"]));
    let told = run(&["ps", &target.pid()]).failed_with(6);
    assert!(told.contains("runs PyPy, which is not supported"), "{told}");
}

fn a_process_without_asyncio_is_an_empty_answer() {
    let target = waiting(&python());
    for command in ["ps", "pstree"] {
        let finished = run(&[command, &target.pid()]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.out.contains("0 tasks on 0 loops"), "{finished:?}");
        let expected = "asyncspy: no asyncio: the module is not imported in this process\n";
        assert_eq!(finished.err, expected);
    }
}

fn a_process_without_a_loop_is_an_empty_answer() {
    let program = format!("import asyncio\n{WAIT}");
    let target = Process::start(command(&python()).args(["-c", &program]));
    let finished = run(&["ps", &target.pid()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.err.starts_with("asyncspy: no loop runs"),
        "{finished:?}"
    );
}

fn a_master_process_without_a_loop_is_told_of_its_workers() {
    let program =
        format!("import subprocess, sys\nsubprocess.run([sys.executable, '-c', {WAIT:?}])");
    let target = Process::start(command(&python()).args(["-c", &program]));
    let finished = run(&["ps", &target.pid()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.err.contains("processes below it run Python too: "),
        "{finished:?}"
    );
}

/// `top -H` shows ids of threads.
fn a_thread_id_stands_for_its_process() {
    let target = target("idle.py", &[]);
    let tasks = fs::read_dir(format!("/proc/{}/task", target.pid)).unwrap();
    let tids = tasks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let thread = tids
        .into_iter()
        .find(|tid| *tid != target.pid.to_string())
        .unwrap();
    let finished = run(&["ps", &thread]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let expected = format!("pid {}, Python ", target.pid);
    assert!(finished.out.starts_with(&expected), "{finished:?}");
}
