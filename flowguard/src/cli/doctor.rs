//! `flowguard doctor`: what this machine offers, and what to do about what it lacks.

use super::{
    args,
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{Tone, View},
};
use crate::{
    config::Config,
    control::api::{CheckState, Doctor},
    kernel::probe,
    model::escape,
};

/// Look at what this machine offers flowguard, and at what it lacks
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let doctor = examine(&context.config()?);
    if args.json.json {
        context.output.json(&doctor)?;
    } else {
        context.output.text(&render(&context.view(), &doctor))?;
    }
    let missing = doctor
        .checks
        .iter()
        .any(|check| check.state == CheckState::Missing);
    Ok(if missing {
        Exit::Unsupported
    } else {
        Exit::Done
    })
}

fn examine(config: &Config) -> Doctor {
    probe::report(config)
}

fn render(view: &View, doctor: &Doctor) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("CHECK"),
            Column::Text("STATE"),
            Column::Text("FOUND"),
        ],
    );
    for check in &doctor.checks {
        let state = match check.state {
            CheckState::Ok => (Tone::Good, "ok".to_owned()),
            CheckState::Degraded => (Tone::Warning, "degraded".to_owned()),
            CheckState::Missing => (Tone::Grave, "missing".to_owned()),
        };
        table.row([
            plain(escape(&check.name)),
            state,
            plain(escape(&check.detail)),
        ]);
    }
    let mut text = format!("kernel {}\n\n{}", escape(&doctor.kernel), table.render());
    let advice: Vec<_> = doctor
        .checks
        .iter()
        .filter_map(|check| Some((&check.name, check.advice.as_ref()?)))
        .map(|(name, advice)| format!("  {}: {}\n", escape(name), escape(advice)))
        .collect();
    if !advice.is_empty() {
        text.push_str("\nWHAT TO DO\n");
        text.extend(advice);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::control::api::Check;

    #[test]
    fn what_is_missing_comes_with_advice() {
        let check = |name: &str, state, detail: &str, advice: Option<&str>| Check {
            name: name.to_owned(),
            state,
            detail: detail.to_owned(),
            advice: advice.map(str::to_owned),
        };
        let doctor = Doctor {
            kernel: "6.1.0".to_owned(),
            checks: vec![
                check("cgroup2", CheckState::Ok, "/sys/fs/cgroup", None),
                check(
                    "tcx",
                    CheckState::Degraded,
                    "not in this kernel",
                    Some("nothing: clsact is used"),
                ),
                check(
                    "root",
                    CheckState::Missing,
                    "uid 1000",
                    Some("run it as root"),
                ),
            ],
            programs: Vec::new(),
        };
        assert_eq!(
            render(&testing::view(), &doctor),
            "\
kernel 6.1.0

CHECK    STATE     FOUND
cgroup2  ok        /sys/fs/cgroup
tcx      degraded  not in this kernel
root     missing   uid 1000

WHAT TO DO
  tcx: nothing: clsact is used
  root: run it as root
"
        );
    }
}
