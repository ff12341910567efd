//! Having the kernel take the samples: what it refuses is said before anything is sampled.

use std::process::Command;

use asyncspy_test_support::trials::missing;
use libtest_mimic::Trial;
use nix::unistd::geteuid;

use super::support::{Finished, prepared, python, run, waiting};

/// Root can do without a right.
pub fn trials() -> Vec<Trial> {
    let mut trials = tests!["in_kernel"; more_often_than_the_target_can_bear];
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if geteuid().is_root() && has_setpriv {
        trials.extend(tests!["in_kernel"; without_the_right]);
    } else {
        let title = "in_kernel::without_the_right";
        trials.push(missing(title, "not root, or no setpriv"));
    }
    trials
}

fn more_often_than_the_target_can_bear() {
    let target = waiting(&python());
    let told = run(&["record", "--in-kernel", "-r", "2khz", &target.pid()]).failed_with(2);
    assert!(told.contains("at most 1000 samples a second"), "{told}");
    assert!(told.contains("try: --rate 1000 --in-kernel"), "{told}");
}

fn without_the_right() {
    let target = waiting(&python());
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all,+sys_ptrace", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_asyncspy"));
    let words = ["watch", "--in-kernel", &target.pid()];
    let told = Finished::from(prepared(command, &words).output().unwrap()).failed_with(5);
    assert!(told.contains("why: Operation not permitted"), "{told}");
    assert!(told.contains("CAP_BPF and CAP_PERFMON"), "{told}");
}
