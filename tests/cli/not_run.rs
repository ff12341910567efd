//! Tests that cannot run on a machine, said aloud: libtest knows only passed and failed.

use std::fs::OpenOptions;
use std::io::Write;

/// Tells that a test did not run, and why: on the standard error past libtest's capture, and as
/// a line of the file that `ASYNCSPY_NOT_RUN` names, from which `scripts/check` closes.
pub fn not_run(test: &str, why: &str) {
    let line = format!("{test}: {why}\n");
    // eprintln! would be captured.
    let _ = std::io::stderr().write_all(format!("NOT RUN {line}").as_bytes());
    if let Some(path) = std::env::var_os("ASYNCSPY_NOT_RUN") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
