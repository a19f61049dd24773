//! `flowguard man`: manual pages.

use anyhow::Context as _;
use clap::CommandFactory;

use super::{
    Cli,
    context::Context,
    exit::{Exit, UsageError},
};

/// System administration tools and daemons (man(1)).
const SECTION: &str = "8";

/// Print a manual page, as roff
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The page of this command [default: that of flowguard itself]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    context.output.bytes(&page(args.command.as_deref())?)?;
    Ok(Exit::Done)
}

fn page(name: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut cli = Cli::command();
    cli.build();
    let command = match name {
        None => cli,
        Some(name) => cli
            .find_subcommand(name)
            .ok_or_else(|| UsageError {
                message: format!("there is no command `{name}`; `flowguard --help` lists them"),
            })?
            .clone(),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .section(SECTION)
        .source(concat!("flowguard ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .context("cannot write the manual page")?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let all = String::from_utf8(page(None).unwrap()).unwrap();
        assert!(all.contains(".TH flowguard 8"), "{all}");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let own = String::from_utf8(page(Some(name)).unwrap()).unwrap();
            assert!(own.contains(&format!(".TH flowguard-{name} 8")), "{own}");
        }
        assert!(page(Some("nonsense")).is_err());
    }
}
