//! `flowguard policy replay`: whom would this policy have hit?

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    super::{args, context::Context, exit::Exit},
    outcome::render,
};
use crate::{
    config::Config,
    control::api::{Outcome, Skipped, Stretch, Tried},
    replay::{self, Format, Trial},
    store::Reader,
};

/// Bytes of a log that are read at once.
const BUFFER: usize = 1 << 20;

/// Tell whom a policy would have hit in the past, and how that differs from today's
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration with the policy to try
    candidate: PathBuf,
    /// How far back to look
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = args::duration, conflicts_with = "from")]
    since: Duration,
    /// Compare with this configuration, instead of the one that `flowguard run` would read
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Try it on the connections in this log, instead of what the daemon has seen
    #[arg(long, value_name = "LOG", requires = "format")]
    from: Option<PathBuf>,
    /// How the log is written
    #[arg(long, requires = "from")]
    format: Option<Format>,
    /// Of a log, only connections of these networks [default: all that the log does not call foreign]
    #[arg(long, value_name = "NETWORK", requires = "from")]
    tenants: Vec<IpNet>,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let current = context.config();
    let against = match &args.against {
        Some(path) => Config::load(path)?,
        None => current?,
    };
    let candidate = Config::load(&args.candidate)?;
    let trials = vec![Trial::new(&candidate), Trial::new(&against)];
    let outcome = match (&args.from, args.format) {
        (Some(log), Some(format)) => try_log(log, format, &args.tenants, trials)?,
        _ => try_history(&against.paths.state, args.since, trials)?,
    };
    if args.json.json {
        context.output.json(&outcome)?;
    } else {
        context.output.text(&render(&context.view(), &outcome))?;
    }
    Ok(Exit::Done)
}

fn try_history(
    state: &Path,
    since: Duration,
    mut trials: Vec<Trial<'_>>,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(state).with_context(|| {
        format!(
            "the history in {} cannot be read; it takes root",
            state.display()
        )
    })?;
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let since = Timestamp::now().as_second().saturating_sub(since);
    let (stretches, skipped) = replay::over_history(&reader, since, &mut trials)?;
    let mut notes = Vec::new();
    if stretches.is_empty() {
        notes.push(
            "there is no history of that time yet: the daemon writes it once a minute".to_owned(),
        );
    }
    if stretches
        .iter()
        .any(|stretch| stretch.resolution_seconds == 3_600)
    {
        notes.push(
            "hours are taken as spread evenly over their minutes: a short burst looks slower than it \
             was, so that some hits may be missing"
                .to_owned(),
        );
    }
    notes.extend(by_groups(&trials));
    Ok(outcome(
        state.display().to_string(),
        stretches,
        skipped,
        notes,
        trials,
    ))
}

fn try_log(
    log: &Path,
    format: Format,
    tenants: &[IpNet],
    mut trials: Vec<Trial<'_>>,
) -> anyhow::Result<Outcome> {
    let shown = || format!("cannot read {}", log.display());
    let file = BufReader::with_capacity(BUFFER, File::open(log).with_context(shown)?);
    let (stretches, skipped) =
        replay::over_flows(file, format, tenants, &mut trials).with_context(shown)?;
    let mut notes = vec![
        "sources are addresses; a log has no replies, no TLS and no retransmits: conditions on them are \
         never met"
            .to_owned(),
    ];
    notes.extend(by_groups(&trials));
    Ok(outcome(
        log.display().to_string(),
        stretches,
        skipped,
        notes,
        trials,
    ))
}

/// What the past does not have.
fn by_groups(trials: &[Trial<'_>]) -> Option<String> {
    let mut rules = trials
        .iter()
        .flat_map(|trial| &trial.config().judgement.rules);
    rules.any(|rule| !rule.groups.is_empty()).then(|| {
        "nobody knows the groups that users were in: rules that ask for `groups` hit nobody here"
            .to_owned()
    })
}

fn outcome(
    from: String,
    stretches: Vec<Stretch>,
    skipped: Skipped,
    notes: Vec<String>,
    trials: Vec<Trial<'_>>,
) -> Outcome {
    let (sources, attempts) = trials.first().map_or((0, 0), Trial::size);
    let mut tried = trials.into_iter().map(|trial| Tried {
        config: trial
            .config()
            .origin
            .as_ref()
            .map(|path| path.display().to_string()),
        hits: trial.into_hits(),
    });
    let mut next = || {
        tried.next().unwrap_or(Tried {
            config: None,
            hits: Vec::new(),
        })
    };
    let (candidate, against) = (next(), next());
    Outcome {
        from,
        stretches,
        sources,
        attempts,
        comparison: replay::compare(&candidate.hits, &against.hits),
        candidate,
        against,
        skipped,
        notes,
    }
}
