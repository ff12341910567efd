//! Golden files of all help texts.

use asyncspy::cli::Cli;
use clap::CommandFactory;
use libtest_mimic::Trial;

use super::support::{asyncspy, run};

/// All of these.
pub fn trials() -> Vec<Trial> {
    tests!["help"; help_is_golden, version_tells_which_pythons_are_read, usage_errors_exit_with_2, a_closed_output_is_no_failure_of_the_help]
}

fn help(arguments: &[&str]) -> String {
    let output = asyncspy(arguments).env("COLUMNS", "100").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

fn help_is_golden() {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("help_short", help(&["-h"]));
        insta::assert_snapshot!("help_long", help(&["--help"]));
        for name in names.filter(|name| *name != "help") {
            insta::assert_snapshot!(format!("help_{name}"), help(&[name, "--help"]));
        }
    });
}

fn version_tells_which_pythons_are_read() {
    let version = help(&["--version"]);
    let expected = concat!(
        "asyncspy ",
        env!("CARGO_PKG_VERSION"),
        " (reads CPython 3.8 to 3.15"
    );
    assert!(version.starts_with(expected), "{version}");
}

fn usage_errors_exit_with_2() {
    for arguments in [
        &[][..],
        &["ps"],
        &["ps", "0"],
        &["ps", "-5"],
        &["ps", "many"],
        &["ps", "0x"],
        &["ps", "99999999999"],
        &["ps", "1", "--color", "sometimes"],
        &["ps", "1", "--sort", "size"],
        &["ps", "1", "--filter", "("],
        &["ps", "1", "--pid", "2"],
        &["dump", "1", "--", "python3"],
        &["4242"],
    ] {
        let finished = run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert_eq!(finished.out, "", "{arguments:?}");
        assert!(!finished.err.is_empty(), "{arguments:?}");
    }
}

fn a_closed_output_is_no_failure_of_the_help() {
    let mut child = asyncspy(&["--help"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
