//! `pstree`: who awaits whom.

use clap::Args;
use clap::builder::FalseyValueParser;

use super::attach::Attached;
use super::common::{JsonArgs, LookArgs, PidArgs};
use super::error::Error;
use super::output::{Screen, print};
use crate::aio::snapshot::SnapshotOptions;
use crate::sink::json::write_ps;
use crate::sink::task_tree::{TaskTreeOptions, write_task_tree};

/// Arguments of `pstree`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::PSTREE)]
pub struct PstreeArgs {
    #[command(flatten)]
    target: PidArgs,
    /// Write each of many equal branches
    #[arg(short, long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_ALL", hide_env = true)]
    all: bool,
    #[command(flatten)]
    form: JsonArgs,
}

pub(super) fn run(args: &PstreeArgs, look: &LookArgs) -> Result<(), Error> {
    let mut attached = Attached::open(args.target.pid()?)?;
    let snapshot = attached.snapshot(SnapshotOptions::default())?;
    attached.note_lack_of_asyncio(&snapshot);
    if args.form.json {
        print(|out| write_ps(out, &snapshot))?;
    } else {
        let screen = Screen::of_stdout(look);
        let options = TaskTreeOptions {
            command: attached.command().to_owned(),
            all: args.all,
            width: screen.width,
            style: screen.style,
        };
        print(|out| write_task_tree(out, &snapshot, &options))?;
    }
    Ok(())
}
