//! asyncspy tells, from outside, why a Python asyncio event loop does not answer.

use std::process::ExitCode;

use asyncspy::cli::{Cli, Exit};
use clap::Parser;

/// That of musl asks the kernel for memory all the time: `dump` takes a fourth longer with it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, with a code of 0.
        Err(told) => {
            let printed = told.print();
            let code = u8::try_from(told.exit_code()).unwrap_or(Exit::Usage.code());
            return ExitCode::from(if printed.is_ok() { code } else { 0 });
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            ExitCode::from(error.exit().code())
        }
    }
}
