//! The command line: one command a file, [`output`] the only place that prints, [`exit`] the only
//! place that knows exit codes.

mod args;
mod audit;
mod check;
mod completions;
mod context;
mod detach;
mod doctor;
mod events;
mod exit;
#[cfg(feature = "failpoints")]
mod failpoints;
mod identity;
mod live;
mod man;
mod order;
mod outcome;
mod output;
mod policy;
mod reason;
mod reload;
mod run;
mod show;
mod sources;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod unblock;
mod verdicts;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::{context::Context, exit::Exit, output::Output};

/// Finds and stops the one hacked site before its spam blacklists the whole server.
#[derive(Debug, Parser)]
#[command(name = "flowguard", version, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    globals: args::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Status(status::Args),
    Sources(sources::Args),
    Show(show::Args),
    Events(events::Args),
    Verdicts(verdicts::Args),
    Block(order::Block),
    Unblock(unblock::Args),
    /// Let a source pass whatever the rules and ceilings say
    Allow(order::Args),
    Policy(policy::Args),
    Reload(reload::Args),
    Detach(detach::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints(failpoints::Args),
}

/// Does what the command line asks.
pub fn main() -> ExitCode {
    let output = Output::new();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are among the errors, and no failures.
        Err(error) => return output.usage(&error).into(),
    };
    let context = Context::new(cli.globals, output);
    let done = match &cli.command {
        Command::Run(args) => run::run(args, &context),
        Command::Check(args) => check::run(args, &context),
        Command::Doctor(args) => doctor::run(args, &context),
        Command::Status(args) => status::run(args, &context),
        Command::Sources(args) => sources::run(args, &context),
        Command::Show(args) => show::run(args, &context),
        Command::Events(args) => events::run(args, &context),
        Command::Verdicts(args) => verdicts::run(args, &context),
        Command::Block(args) => order::block(args, &context),
        Command::Unblock(args) => unblock::run(args, &context),
        Command::Allow(args) => order::allow(args, &context),
        Command::Policy(args) => policy::run(args, &context),
        Command::Reload(args) => reload::run(args, &context),
        Command::Detach(args) => detach::run(args, &context),
        Command::Completions(args) => completions::run(args, &context),
        Command::Man(args) => man::run(args, &context),
        #[cfg(feature = "failpoints")]
        Command::Failpoints(args) => failpoints::run(args, &context),
    };
    let exit = done.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        if exit != Exit::Done {
            context.output.failure(&error);
        }
        exit
    });
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_contract_is_understood() {
        for good in [
            "flowguard run --live",
            "flowguard --config /x --socket /y status --json",
            "flowguard status --socket /y",
            "flowguard sources --all --offline --sort name --json",
            "flowguard show user:alice --json",
            "flowguard events --follow",
            "flowguard block user:alice --class direct --class relay --for 10m --reason spam",
            "flowguard block user:alice --sever --for 10m",
            "flowguard block user:alice --redirect --class direct",
            "flowguard block user:alice --limit 10/1h --burst 5",
            "flowguard block user:alice --new-destinations 1/30s",
            "flowguard allow addr:192.0.2.0/24",
            "flowguard unblock --all",
            "flowguard unblock container:web",
            "flowguard policy check",
            "flowguard policy check /etc/flowguard/new.toml",
            "flowguard completions bash",
            "flowguard man",
            "flowguard man block",
            "flowguard verdicts --audit",
            "flowguard policy recommend --since 30d --package business --json",
            "flowguard policy replay new.toml --since 2d --json",
            "flowguard policy replay new.toml --from conn.log --format zeek --tenants 192.0.2.0/24",
        ] {
            assert!(parses(good), "{good}");
        }
        for bad in [
            "flowguard",
            "flowguard show",
            "flowguard show alice",
            "flowguard block user:alice --for 0s",
            "flowguard block user:alice --class smtp",
            "flowguard block user:alice --sever --redirect",
            "flowguard allow user:alice --sever",
            "flowguard unblock",
            "flowguard policy",
            "flowguard unblock user:alice --all",
            "flowguard sources --sort size",
            "flowguard block user:alice --json",
            "flowguard policy replay",
            "flowguard policy replay new.toml --from conn.log",
            "flowguard policy replay new.toml --from x --format csv --since 1d",
        ] {
            assert!(!parses(bad), "{bad}");
        }
    }
}
