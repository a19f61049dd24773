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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Origin;
    use crate::config::Config;

    #[test]
    fn a_command_is_read_as_words() {
        let text = "[mapping]\ncommand = ['/bin/tenants', '--all', 'a b']\nuser = 'panel'";
        let config = Config::parse(text, None).unwrap();
        let expected = Origin::Command {
            program: "/bin/tenants".into(),
            arguments: vec!["--all".to_owned(), "a b".to_owned()],
            user: "panel".to_owned(),
            timeout: Duration::from_secs(30),
        };
        assert_eq!(config.mapping.origin, Some(expected));
        assert_eq!(Config::embedded().unwrap().mapping.origin, None);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (wrong, told) in [
            (
                "file = 'x.csv'",
                "2:8: mapping.file: `x.csv` is no absolute path",
            ),
            ("command = []", "2:11: mapping.command: it is empty"),
            (
                "command = ['tenants']",
                "2:12: mapping.command: `tenants` is no absolute path",
            ),
            (
                "command = ['/x', \"\\u0000\"]",
                "2:18: mapping.command: it has a zero byte",
            ),
            (
                "command = ['/x']\nfile = '/y'",
                "2:11: mapping.command: there is a file as well",
            ),
            (
                "refresh = '0s'",
                "2:11: mapping.refresh: `0s` is out of range: write 1s to 7days",
            ),
            (
                "user = 'a:b'",
                "2:8: mapping.user: `a:b` is no name of a user",
            ),
        ] {
            let error = Config::parse(&format!("[mapping]\n{wrong}"), None).unwrap_err();
            assert!(error.to_string().contains(told), "{wrong}: {error}");
        }
    }
}
