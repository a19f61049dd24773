//! `flowguard block` and `flowguard allow`: verdicts by hand.

use std::time::Duration;

use clap::error::ErrorKind;

use super::{args, context::Context, exit::Exit, verdicts};
use crate::{
    control::api::{ActionName, OrderRequest},
    model::ClassName,
    rate::{self, MAX_CONNECTIONS, PerTime, RateError},
};

/// Whom, how long and why.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// user:NAME|UID, container:NAME|ID, cgroup:PATH, iface:NAME or addr:IP[/N]
    #[arg(value_parser = args::source)]
    source: String,
    /// Only this class; may be given several times [default: direct and submission; with
    /// --redirect direct alone]
    #[arg(long = "class", value_name = "CLASS", value_enum)]
    classes: Vec<ClassName>,
    /// For how long: 30s, 10m, 1h, 7d [default: until lifted]
    #[arg(long = "for", value_name = "DURATION", value_parser = args::duration)]
    duration: Option<Duration>,
    /// Why, for whoever reads `flowguard show` later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Refuse a source's new connections, in observe mode as well
#[derive(Debug, clap::Args)]
pub(super) struct Block {
    #[command(flatten)]
    args: Args,
    #[command(flatten)]
    how: How,
    /// Let so many pass at once before the rate of --limit or --new-destinations holds [default:
    /// the number in the rate]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_CONNECTIONS))]
    burst: Option<u64>,
}

/// What happens instead of a plain refusal.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct How {
    /// Stop the connections that are open as well
    #[arg(long)]
    sever: bool,
    /// Send them to the smarthost of the configuration instead
    #[arg(long)]
    redirect: bool,
    /// Refuse only what exceeds this rate, such as 10/1h
    #[arg(long, value_name = "N/TIME")]
    limit: Option<PerTime>,
    /// The same, and servers that the source knows already do not count
    #[arg(long, value_name = "N/TIME")]
    new_destinations: Option<PerTime>,
}

impl How {
    fn action(&self) -> (ActionName, Option<PerTime>) {
        if self.sever {
            (ActionName::Sever, None)
        } else if self.redirect {
            (ActionName::Redirect, None)
        } else if let Some(limit) = self.limit {
            (ActionName::Limit, Some(limit))
        } else if let Some(limit) = self.new_destinations {
            (ActionName::NewDestinations, Some(limit))
        } else {
            (ActionName::Block, None)
        }
    }
}

impl Args {
    fn request(&self) -> OrderRequest {
        OrderRequest {
            source: self.source.clone(),
            action: None,
            limit: None,
            classes: self.classes.clone(),
            seconds: self.duration.map(|duration| duration.as_secs()),
            reason: self.reason.clone(),
        }
    }
}

impl Block {
    fn request(&self) -> Result<OrderRequest, clap::Error> {
        let (action, per_time) = self.how.action();
        let limit = match (per_time, self.burst) {
            (Some(PerTime { count, per }), burst) => {
                let rate = rate::rate(burst.unwrap_or(count), count, per);
                Some(rate.map_err(senseless)?.into())
            }
            (None, Some(_)) => return Err(no_rate()),
            (None, None) => None,
        };
        Ok(OrderRequest {
            action: Some(action),
            limit,
            ..self.args.request()
        })
    }
}

fn senseless(error: RateError) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("the rate: {error}\n"))
}

fn no_rate() -> clap::Error {
    let message = "--burst goes with --limit or --new-destinations\n";
    clap::Error::raw(ErrorKind::MissingRequiredArgument, message)
}

pub(super) fn block(block: &Block, context: &Context) -> anyhow::Result<Exit> {
    let request = match block.request() {
        Ok(request) => request,
        Err(error) => return Ok(context.output.usage(&error)),
    };
    let client = context.client()?;
    let records = context.wait(client.block(&request))??;
    let text = verdicts::render(&context.view(), &records);
    context.output.text(&text)?;
    Ok(Exit::Done)
}

pub(super) fn allow(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let records = context.wait(client.allow(&args.request()))??;
    let text = verdicts::render(&context.view(), &records);
    context.output.text(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::control::api::Limit;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        block: Block,
    }

    fn request(options: &str) -> Result<(ActionName, Option<Limit>), clap::Error> {
        let words = format!("block user:alice {options}");
        let cli = Cli::try_parse_from(words.split_whitespace())?;
        let request = cli.block.request()?;
        Ok((request.action.unwrap(), request.limit))
    }

    #[test]
    fn options_say_what_is_done() {
        let six_minutes = |burst| {
            Some(Limit {
                burst,
                interval_ns: 360_000_000_000,
            })
        };
        for (options, action, limit) in [
            ("", ActionName::Block, None),
            ("--sever", ActionName::Sever, None),
            ("--redirect", ActionName::Redirect, None),
            ("--limit 10/1h", ActionName::Limit, six_minutes(10)),
            (
                "--new-destinations 10/1h --burst 3",
                ActionName::NewDestinations,
                six_minutes(3),
            ),
        ] {
            assert_eq!(request(options).unwrap(), (action, limit), "{options}");
        }
        for bad in [
            "--sever --redirect",
            "--limit 10/1h --new-destinations 10/1h",
            "--burst 3",
            "--sever --burst 3",
            "--limit 10",
            "--limit 10/1h --burst 0",
            "--limit 1/1d --burst 400",
            "--limit 1000000000/1ms",
        ] {
            request(bad).unwrap_err();
        }
    }
}
