//! The binary, from outside: texts, exit codes, outputs, the demo.
//!
//! Every target says when it is ready; nothing here sleeps for a fixed time. What cannot run here
//! is shown as ignored with the reason in its name.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, though in functions that clippy does not know as such"
)]

/// Tests that are plain functions, which fail by a panic.
macro_rules! tests {
    ($module:literal; $($function:ident),+ $(,)?) => {
        vec![$(libtest_mimic::Trial::test(
            concat!($module, "::", stringify!($function)),
            || {
                $function();
                Ok(())
            },
        )),+]
    };
}

mod bad_input;
mod demo;
mod help;
mod in_kernel;
mod outputs;
mod permission;
mod support;
mod unsteady;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [
        bad_input::trials(),
        demo::trials(),
        help::trials(),
        in_kernel::trials(),
        outputs::trials(),
        permission::trials(),
        unsteady::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
