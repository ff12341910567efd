//! Real Pythons, read while they run, and compared with what they say of themselves.
//!
//! Each interpreter and scenario is a test of its own, named `scenario::interpreter::…`. What
//! cannot run here, because an interpreter, a package or a permission is missing, is shown as
//! ignored with the reason in its name, and counted so in the closing line.

mod busy;
mod catalogue;
mod edges;
mod in_kernel;
mod kinds;
mod lifecycle;
mod locals;
mod namespaces;
mod oracle;
mod programs;
mod record;
mod rest;
mod samples;

use libtest_mimic::{Arguments, Conclusion};

fn main() {
    let arguments = Arguments::from_args();
    let trials = match catalogue::all() {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let conclusion: Conclusion = libtest_mimic::run(&arguments, trials);
    conclusion.exit();
}
