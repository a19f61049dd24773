//! `[mapping]`.

use std::{path::PathBuf, time::Duration};

use serde_spanned::Spanned;

use super::{check::Checker, raw::RawMapping};
use crate::identity::mapping::read::Origin;

/// `[mapping]`: whose sources are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where the table comes from; none: there is none.
    pub origin: Option<Origin>,
    /// How often it is read again.
    pub refresh: Duration,
}

pub(super) fn mapping(raw: &RawMapping, check: &mut Checker<'_>) -> Option<Mapping> {
    let refresh = check.duration(
        "mapping.refresh",
        &raw.refresh,
        Duration::from_secs(1),
        Duration::from_hours(24 * 7),
    );
    let timeout = check.duration(
        "mapping.timeout",
        &raw.timeout,
        Duration::from_secs(1),
        Duration::from_mins(10),
    );
    let user = raw.user.get_ref();
    if user.is_empty() || user.contains(['\0', ':', '\n']) {
        let message = format!("`{user}` is no name of a user");
        check.note("mapping.user", &raw.user, message);
    }
    let origin = match (&raw.file, &raw.command) {
        (None, None) => None,
        (Some(file), None) => Some(Origin::File(check.path("mapping.file", file)?)),
        (None, Some(command)) => {
            let (program, arguments) = words(command, check)?;
            Some(Origin::Command {
                program,
                arguments,
                user: user.clone(),
                timeout: timeout?,
            })
        }
        (Some(_), Some(command)) => {
            let message = "there is a file as well: choose one of the two";
            check.note("mapping.command", command, message);
            None
        }
    };
    Some(Mapping {
        origin,
        refresh: refresh?,
    })
}

fn words(
    command: &Spanned<Vec<Spanned<String>>>,
    check: &mut Checker<'_>,
) -> Option<(PathBuf, Vec<String>)> {
    const KEY: &str = "mapping.command";
    let Some((program, arguments)) = command.get_ref().split_first() else {
        let message =
            "it is empty: write a program by its path, such as \"/usr/local/bin/tenants\"";
        check.note(KEY, command, message);
        return None;
    };
    if let Some(odd) = arguments.iter().find(|word| word.get_ref().contains('\0')) {
        check.note(KEY, odd, "it has a zero byte");
    }
    let arguments = arguments.iter().map(|word| word.get_ref().clone());
    Some((check.path(KEY, program)?, arguments.collect()))
}
