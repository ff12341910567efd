//! `dump`: every thread's stack and what holds its loop.

use clap::Args;
use clap::builder::FalseyValueParser;

use super::attach::Attached;
use super::common::{JsonArgs, LookArgs, PidArgs};
use super::error::Error;
use super::output::{Screen, print};
use crate::aio::snapshot::SnapshotOptions;
use crate::sink::json::write_dump;
use crate::sink::thread_dump::{ThreadDumpOptions, write_thread_dump};

/// Arguments of `dump`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::DUMP)]
pub struct DumpArgs {
    #[command(flatten)]
    target: PidArgs,
    /// Print the local variables of each frame, shortened
    #[arg(short, long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_LOCALS", hide_env = true)]
    locals: bool,
    #[command(flatten)]
    form: JsonArgs,
}

pub(super) fn run(args: &DumpArgs, look: &LookArgs) -> Result<(), Error> {
    let mut attached = Attached::open(args.target.pid()?)?;
    let locals = args.locals;
    let snapshot = attached.snapshot(SnapshotOptions { locals })?;
    if args.form.json {
        return print(|out| write_dump(out, &snapshot));
    }
    let screen = Screen::of_stdout(look);
    let options = ThreadDumpOptions {
        command: attached.command().to_owned(),
        width: screen.width,
        style: screen.style,
    };
    print(|out| write_thread_dump(out, &snapshot, &options))
}
