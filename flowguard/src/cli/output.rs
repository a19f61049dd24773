//! The only place that prints. Data goes to stdout, talk to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::exit::Exit;
use crate::model::escape;

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// The reader has enough.
    #[error("the reader of the output went away")]
    Closed,
    /// Anything else.
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
    /// A value that JSON cannot express.
    #[error("cannot write the output as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Where a command's output goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether stdout is a terminal.
    pub(super) terminal: bool,
    /// Whether colours are wanted there.
    pub(super) color: bool,
}

impl Output {
    /// The process's stdout and stderr.
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            terminal,
            color: terminal && !refused,
        }
    }

    /// Prints text as it is; what came from outside must have been escaped.
    pub(super) fn text(&self, text: &str) -> Result<(), OutputError> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes that we made ourselves.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), OutputError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Prints a value as JSON, for people to read as well.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), OutputError> {
        self.text(&(ascii_escapes(&serde_json::to_string_pretty(value)?) + "\n"))
    }

    /// Prints a value as one line of JSON.
    pub(super) fn json_line(&self, value: &impl Serialize) -> Result<(), OutputError> {
        self.text(&(ascii_escapes(&serde_json::to_string(value)?) + "\n"))
    }

    /// Says something to people that is not the data they asked for.
    pub(super) fn note(&self, text: &str) {
        self.talk(&format!("{}\n", safe_lines(text)));
    }

    /// Says why a command failed, in one sentence with all its causes.
    pub(super) fn failure(&self, error: &anyhow::Error) {
        self.talk(&format!(
            "flowguard: {}\n",
            safe_lines(&format!("{error:#}"))
        ));
    }

    /// Prints what clap has to say: help on stdout, mistakes on stderr.
    pub(super) fn usage(&self, error: &clap::Error) -> Exit {
        match error.print() {
            Ok(()) if error.use_stderr() => Exit::Usage,
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
            _ => Exit::Done,
        }
    }

    fn talk(&self, text: &str) {
        // Nobody is left to tell if stderr is gone.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// Escapes all but the line breaks.
fn safe_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// Writes the characters that [`escape`] finds deceptive as JSON escapes: the same value, and
/// nothing a terminal acts on. Outside its strings JSON has none of them but line breaks.
fn ascii_escapes(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut one = [0; 4];
    for c in json.chars() {
        let text: &str = c.encode_utf8(&mut one);
        if c == '\n' || (' '..='~').contains(&c) || escape(text) == text {
            safe.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_keep_their_lines_and_nothing_else() {
        assert_eq!(
            safe_lines("a\u{1b}[2J\nb\u{202e}"),
            "a\\u{1b}[2J\nb\\u{202e}"
        );
    }

    proptest! {
        #[test]
        fn json_is_safe_to_print_and_means_the_same(
            names in proptest::collection::vec("\\PC*|[\u{0}-\u{a0}\u{200b}-\u{206f}\u{feff}]*", 0..4),
        ) {
            let json = serde_json::to_string_pretty(&names).unwrap();
            let safe = ascii_escapes(&json);
            prop_assert_eq!(&serde_json::from_str::<Vec<String>>(&safe).unwrap(), &names);
            prop_assert_eq!(safe_lines(&safe), safe);
        }
    }
}
