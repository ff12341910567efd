//! `ps`: the tasks of a process.

use std::mem::ManuallyDrop;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use regex::Regex;

use super::attach::Attached;
use super::common::{JsonArgs, LookArgs, PidArgs};
use super::error::Error;
use super::output::{Screen, print};
use crate::aio::snapshot::SnapshotOptions;
use crate::sink::json::write_ps;
use crate::sink::task_table::{SortKey, TaskTableOptions, keep_matching, write_task_table};

/// Arguments of `ps`.
#[derive(Args, Debug)]
#[command(about = super::help::commands::PS)]
pub struct PsArgs {
    #[command(flatten)]
    target: PidArgs,
    /// Give each task its own line, also when many are equal
    #[arg(short, long, value_parser = FalseyValueParser::new())]
    #[arg(env = "ASYNCSPY_ALL", hide_env = true)]
    all: bool,
    /// Sort each loop's tasks by this; running ones come first otherwise
    #[arg(long, value_name = "KEY", value_enum)]
    #[arg(env = "ASYNCSPY_SORT", hide_env = true)]
    sort: Option<SortBy>,
    /// List only tasks whose name, place, chain, state or wait it finds
    #[arg(long, value_name = "REGEX", value_parser = Regex::new)]
    #[arg(env = "ASYNCSPY_FILTER", hide_env = true)]
    filter: Option<Regex>,
    #[command(flatten)]
    form: JsonArgs,
}

/// What the tasks of a loop are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SortBy {
    Name,
    State,
    Waiting,
    Where,
    Id,
    Chain,
}

impl From<SortBy> for SortKey {
    fn from(key: SortBy) -> Self {
        match key {
            SortBy::Name => Self::Name,
            SortBy::State => Self::State,
            SortBy::Waiting => Self::Waiting,
            SortBy::Where => Self::Where,
            SortBy::Id => Self::Id,
            SortBy::Chain => Self::Chain,
        }
    }
}

pub(super) fn run(args: &PsArgs, look: &LookArgs) -> Result<(), Error> {
    let mut attached = Attached::open(args.target.pid()?)?;
    // Freeing a hundred thousand tasks one by one would only delay the end of the process.
    let mut snapshot = ManuallyDrop::new(attached.snapshot(SnapshotOptions::default())?);
    attached.note_lack_of_asyncio(&snapshot);
    if args.form.json {
        if let Some(filter) = &args.filter {
            keep_matching(&mut snapshot, filter);
        }
        print(|out| write_ps(out, &snapshot))?;
    } else {
        let screen = Screen::of_stdout(look);
        let options = TaskTableOptions {
            command: attached.command().to_owned(),
            all: args.all,
            sort: args.sort.map(SortKey::from),
            filter: args.filter.clone(),
            width: screen.width,
            style: screen.style,
        };
        print(|out| write_task_table(out, &snapshot, &options))?;
    }
    Ok(())
}
