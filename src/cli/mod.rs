//! Flags and subcommands; one file a command, thin.
//!
//! Map:
//! - [`common`]: arguments that several commands share. [`help`]: the texts around them.
//! - [`attach`]: attaching to the process that was named, and snapshots of it.
//! - [`error`]: a failure in three lines, and its exit code. [`diagnosis`], [`permission`]: what
//!   these lines say of a process that cannot be read; [`invocation`]: the command to try.
//! - [`output`]: the standard output, what it looks like, how wide it is.
//! - Ctrl-C is [`interrupt`].
//! - [`ps`], [`pstree`], [`dump`], [`demo`]: the commands.
//!
//! Every option `--some-thing` is also read from `ASYNCSPY_SOME_THING`; a test holds that.

pub mod attach;
pub mod common;
pub mod demo;
pub mod destination;
pub mod diagnosis;
pub mod dump;
pub mod error;
pub mod help;
pub mod interrupt;
pub mod invocation;
pub mod live;
pub mod output;
pub mod permission;
pub mod processes;
pub mod progress;
pub mod ps;
pub mod pstree;
pub mod record;
pub mod sampling;
pub mod top;
pub mod watch;

use clap::{Parser, Subcommand};

use common::LookArgs;
pub use error::{Error, Exit};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "asyncspy",
    version = help::VERSION,
    about = help::ABOUT,
    long_about = help::LONG_ABOUT,
    after_help = help::AFTER_HELP,
    after_long_help = help::AFTER_LONG_HELP,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// How outputs look.
    #[command(flatten)]
    pub look: LookArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. The options of each are built when it is the one: those of all of them take as
/// long as a fortieth of `dump`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// `top`.
    #[command(about = help::commands::TOP)]
    Top(top::TopArgs),
    /// `ps`.
    #[command(about = help::commands::PS)]
    Ps(ps::PsArgs),
    /// `pstree`.
    #[command(about = help::commands::PSTREE)]
    Pstree(pstree::PstreeArgs),
    /// `dump`.
    #[command(about = help::commands::DUMP)]
    Dump(dump::DumpArgs),
    /// `watch`.
    #[command(about = help::commands::WATCH)]
    Watch(watch::WatchArgs),
    /// `record`.
    #[command(about = help::commands::RECORD)]
    Record(record::RecordArgs),
    /// `demo`.
    #[command(about = help::commands::DEMO)]
    Demo(demo::DemoArgs),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever kept it from that; [`Error::exit`] is the exit code.
    pub fn run(&self) -> Result<(), Error> {
        match &self.command {
            Command::Ps(args) => ps::run(args, &self.look),
            Command::Pstree(args) => pstree::run(args, &self.look),
            Command::Dump(args) => dump::run(args, &self.look),
            Command::Top(args) => top::run(args, &self.look),
            Command::Watch(args) => watch::run(args, &self.look),
            Command::Record(args) => record::run(args),
            Command::Demo(args) => demo::run(args, &self.look),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_its_variable() {
        let mut root = Cli::command();
        root.build();
        let commands: Vec<_> = std::iter::once(&root)
            .chain(root.get_subcommands())
            .collect();
        let mut checked = 0;
        for argument in commands.iter().flat_map(|command| command.get_arguments()) {
            let Some(long) = argument.get_long() else {
                continue;
            };
            if matches!(long, "help" | "version") {
                continue;
            }
            let expected = format!("ASYNCSPY_{}", long.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(expected.as_str()), "--{long}");
            assert!(
                argument.is_hide_env_set(),
                "--{long}: the help tells of all at once"
            );
            checked += 1;
        }
        assert!(checked >= 10);
    }
}
