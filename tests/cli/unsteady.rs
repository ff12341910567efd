//! Processes that start, end, replace or copy themselves while they are read.

use libtest_mimic::Trial;

use super::support::{Finished, Process, asyncspy, command, python, run, target};

/// All of these.
pub fn trials() -> Vec<Trial> {
    tests!["unsteady"; a_starting_process_is_waited_for, a_process_that_ends_while_it_is_read_has_ended, a_process_that_execs_while_it_is_read_is_read_anew, a_process_that_forks_while_it_is_read_is_read, an_incomplete_answer_is_flagged]
}

/// How often each is tried: each time the process is at another point of its way.
const ROUNDS: usize = 200;

/// Runs a command on a process that does not hold still; its exit code must be one of these.
fn looks(pid: &str, round: usize, codes: &[i32]) -> Finished {
    let command = [["ps", "--json"], ["dump", "--locals"], ["pstree", "--all"]][round % 3];
    let finished = run(&[command[0], command[1], pid]);
    let code = finished
        .code
        .unwrap_or_else(|| panic!("died: {finished:?}"));
    assert!(codes.contains(&code), "round {round}: {finished:?}");
    assert!(!finished.err.contains("panicked"), "{finished:?}");
    finished
}

/// The target is looked at from the moment on at which it exists: it is no Python yet, has no
/// interpreter yet, has one without asyncio, has a loop.
fn a_starting_process_is_waited_for() {
    let python = python();
    let program = "import asyncio\nasyncio.run(asyncio.sleep(60))";
    for round in 0..ROUNDS {
        let target = Process::spawn(command(&python).args(["-c", program]));
        looks(&target.pid(), round, &[0]);
    }
}

fn a_process_that_ends_while_it_is_read_has_ended() {
    let python = python();
    // It goes at once, not after the interpreter has tidied up.
    let program = "import asyncio, os, sys\nasync def main():\n    print('READY', flush=True)\n    \
                   await asyncio.sleep(float(sys.argv[1]))\n    os._exit(0)\nasyncio.run(main())";
    let mut ended = 0;
    for round in 0..ROUNDS {
        // From before the first read to behind the last.
        let seconds = format!("{}", round as f64 * 0.000_2);
        let target = Process::start(command(&python).args(["-c", program, &seconds]));
        let finished = looks(&target.pid(), round, &[0, 3]);
        ended += usize::from(finished.code == Some(3));
        if finished.code == Some(3) {
            finished.failed_with(3);
        }
    }
    assert!(
        (1..ROUNDS).contains(&ended),
        "{ended} of {ROUNDS} ended in time: nothing was tested"
    );
}

/// Two Pythons take turns in one process; each is one whole program at any time.
fn a_process_that_execs_while_it_is_read_is_read_anew() {
    let python = python();
    let program = "import asyncio, os, sys\nprint('READY', flush=True)\n\
                   asyncio.run(asyncio.sleep(0.01))\n\
                   os.execv(sys.executable, [sys.executable, '-c', os.environ['PROGRAM']])";
    let mut looping = command(&python);
    looping.env("PROGRAM", program).args(["-c", program]);
    let target = Process::start(&mut looping);
    for round in 0..ROUNDS {
        let finished = looks(&target.pid(), round, &[0]);
        assert!(finished.out.contains("Python") || finished.out.contains("python"));
    }
}

fn a_process_that_forks_while_it_is_read_is_read() {
    let python = python();
    let program = "import asyncio, os\nasync def main():\n    print('READY', flush=True)\n    \
                   while True:\n        pid = os.fork()\n        if not pid: os._exit(0)\n        \
                   os.waitpid(pid, 0)\n        await asyncio.sleep(0)\nasyncio.run(main())";
    let target = Process::start(command(&python).args(["-c", program]));
    for round in 0..ROUNDS {
        let finished = looks(&target.pid(), round, &[0]);
        assert!(finished.out.contains("main"), "{finished:?}");
    }
}

/// A table that may be short says so, whatever the moment.
fn an_incomplete_answer_is_flagged() {
    let target = target("churn.py", &["90"]);
    for _ in 0..ROUNDS / 10 {
        let output = asyncspy(&["ps", "--json", &target.pid.to_string()]).output();
        let finished = Finished::from(output.unwrap());
        let json: serde_json::Value = serde_json::from_str(&finished.out).unwrap();
        let faults = json["faults"].as_object().unwrap();
        assert_eq!(json["complete"] == true, faults.is_empty(), "{json}");
    }
}
