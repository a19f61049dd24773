//! What xtask says to the person running it. All of it goes to stderr: stdout belongs to the
//! programs it starts.

#![expect(
    clippy::print_stderr,
    reason = "talking to the person who ran it is xtask's purpose"
)]

/// Prints one line of progress or result.
pub(crate) fn say(line: impl std::fmt::Display) {
    eprintln!("xtask: {line}");
}

/// Prints what is about to be installed, one thing and its reason a line.
pub(crate) fn list<'a>(things: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (name, why) in things {
        eprintln!("xtask:   {name:<24} {why}");
    }
}

/// Prints a text of several lines as it is.
pub(crate) fn show(text: &str) {
    eprintln!("{text}");
}

/// Prints why the command failed, with every cause.
pub(crate) fn failed(error: &anyhow::Error) {
    eprintln!("xtask: error: {error:#}");
}
