//! Reading a process of another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use asyncspy_test_support::programs::copy_program;
use asyncspy_test_support::trials::missing;
use libtest_mimic::Trial;
use nix::unistd::geteuid;

use super::support::{Finished, prepared, python, run, waiting};

/// `nobody` on every Linux (`/proc/sys/kernel/overflowuid`).
const NOBODY: &str = "65534";

/// Root can become anybody; anybody else has root's processes to look at.
pub fn trials() -> Vec<Trial> {
    let title = "permission::another_users_process_names_both_users_and_sudo";
    if !geteuid().is_root() {
        return match run(&["ps", "1"]).code {
            Some(5) => tests!["permission"; a_process_of_root_is_denied],
            _ => vec![missing(title, "neither root, nor processes of others")],
        };
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return vec![missing(title, "setpriv is not installed")];
    }
    tests!["permission";
        another_users_process_names_both_users_and_sudo,
        root_without_the_capability_is_told_of_containers,
    ]
}

fn a_process_of_root_is_denied() {
    let told = run(&["ps", "1"]).failed_with(5);
    assert!(
        told.contains("it belongs to root (uid 0), and you are "),
        "{told}"
    );
    assert!(told.contains("     try: sudo "), "{told}");
}

fn another_users_process_names_both_users_and_sudo() {
    let target = waiting(&python());
    // The build folder may not be open to others.
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let program = folder.path().join("asyncspy");
    copy_program(env!("CARGO_BIN_EXE_asyncspy").as_ref(), &program).unwrap();
    fs::set_permissions(&program, open).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(&program);
    let output = prepared(command, &["ps", &target.pid(), "--all"])
        .output()
        .unwrap();
    let told = Finished::from(output).failed_with(5);
    assert!(
        told.contains("it belongs to root (uid 0), and you are "),
        "{told}"
    );
    assert!(told.contains("(uid 65534)"), "{told}");
    let expected = format!(
        "try: sudo {} ps {} --all\n",
        program.display(),
        target.pid()
    );
    assert!(told.ends_with(&expected), "{told}");
}

fn root_without_the_capability_is_told_of_containers() {
    let target = waiting(&python());
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_asyncspy"));
    let output = prepared(command, &["ps", &target.pid()]).output().unwrap();
    let told = Finished::from(output).failed_with(5);
    assert!(told.contains("lacks CAP_SYS_PTRACE"), "{told}");
    assert!(told.contains("--cap-add SYS_PTRACE"), "{told}");
}
