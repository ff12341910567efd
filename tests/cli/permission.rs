//! Reading a process of another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::unistd::geteuid;

use super::not_run::not_run;
use super::support::{Finished, Python, prepared, run};

/// `nobody` on every Linux (`/proc/sys/kernel/overflowuid`).
const NOBODY: &str = "65534";

#[test]
fn another_users_process_names_both_users_and_sudo() {
    if !geteuid().is_root() {
        // The first process belongs to root, unless this is a container.
        let told = run(&["ps", "1"]);
        if told.code == Some(5) {
            told.failed_with(5);
        } else {
            not_run(
                "another_users_process",
                "neither root nor other users' processes here",
            );
        }
        return;
    }
    let target = Python::any().waiting();
    // The build folder may not be open to others.
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let program = folder.path().join("asyncspy");
    fs::copy(env!("CARGO_BIN_EXE_asyncspy"), &program).unwrap();
    fs::set_permissions(&program, open).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(&program);
    let output = match prepared(command, &["ps", &target.pid(), "--all"]).output() {
        Ok(output) => output,
        Err(error) => return not_run("another_users_process", &format!("setpriv: {error}")),
    };
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

#[test]
fn root_without_the_capability_is_told_of_containers() {
    if !geteuid().is_root() {
        return not_run("root_without_the_capability", "needs root");
    }
    let target = Python::any().waiting();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_asyncspy"));
    let output = match prepared(command, &["ps", &target.pid()]).output() {
        Ok(output) => output,
        Err(error) => return not_run("root_without_the_capability", &format!("setpriv: {error}")),
    };
    let told = Finished::from(output).failed_with(5);
    assert!(told.contains("lacks CAP_SYS_PTRACE"), "{told}");
    assert!(told.contains("--cap-add SYS_PTRACE"), "{told}");
}
