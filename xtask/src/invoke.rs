//! Starting other programs: cargo, and what needs root.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// The cargo that runs this xtask, started at the workspace's root.
pub(crate) fn cargo() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    command
}

/// Runs a command to its end with our own stdin, stdout and stderr; a command that fails is an
/// error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed on stdout.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something that is not text", line(command)))
}

/// Becomes the command; returns only when it cannot be started.
pub(crate) fn replace(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", line(command)))
}

/// Whether we run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The words to put before a program so that it runs as root, keeping the named variables:
/// nothing when we are root, `sudo` otherwise, and `None` where there is no sudo.
pub(crate) fn root_prefix(keep: &[&str]) -> Option<Vec<String>> {
    prefix(is_root(), paths::program("sudo").is_some(), keep)
}

fn prefix(is_root: bool, has_sudo: bool, keep: &[&str]) -> Option<Vec<String>> {
    match (is_root, has_sudo) {
        (true, _) => Some(Vec::new()),
        (false, true) if keep.is_empty() => Some(vec!["sudo".to_owned()]),
        (false, true) => Some(vec![
            "sudo".to_owned(),
            format!("--preserve-env={}", keep.join(",")),
        ]),
        (false, false) => None,
    }
}

/// `program` behind the words of [`root_prefix`].
pub(crate) fn prefixed(prefix: &[String], program: impl AsRef<OsStr>) -> Command {
    match prefix.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A command as one would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_no_sudo_and_nobody_without_it_gets_one() {
        assert_eq!(prefix(true, false, &["CI"]), Some(vec![]));
        assert_eq!(prefix(true, true, &[]), Some(vec![]));
        assert_eq!(prefix(false, true, &[]), Some(vec!["sudo".to_owned()]));
        assert_eq!(
            prefix(false, true, &["CI", "RUST_LOG"]),
            Some(vec![
                "sudo".to_owned(),
                "--preserve-env=CI,RUST_LOG".to_owned()
            ])
        );
        assert_eq!(prefix(false, false, &[]), None);
    }

    #[test]
    fn a_prefix_goes_before_the_program() {
        let sudo = ["sudo".to_owned(), "--preserve-env=CI".to_owned()];
        let typed = line(prefixed(&sudo, "sh").arg("word"));
        assert_eq!(typed, "sudo --preserve-env=CI sh word");
        assert_eq!(line(prefixed(&[], "sh").arg("word")), "sh word");
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("false").arg("word")).unwrap_err();
        assert_eq!(error.to_string(), "false word failed (exit status: 1)");
        let error = run(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start /no/such/program");
    }

    #[test]
    fn what_a_command_prints_is_read() {
        assert_eq!(read(Command::new("echo").arg("words")).unwrap(), "words\n");
        assert!(read(&mut Command::new("false")).is_err());
    }
}
