//! flowguard at work in under 30 seconds: three tenants, one of them hacked, and a mail sink in
//! network namespaces of their own. Run by `cargo xtask demo`, as root.
//!
//! Exit codes: 0 when the hacked site was stopped and nobody else noticed, 1 when that is not so
//! or something failed, 128 plus the signal when a signal ended it. Nothing is left behind in any
//! case.

use std::process::{self, ExitCode};

use anyhow::{Result, ensure};
use flowguard_tests::sweep;

use crate::{
    screen::Screen,
    watch::{Stop, Watch},
};

mod cast;
mod play;
mod screen;
mod summary;
mod watch;

fn main() -> ExitCode {
    let mut screen = Screen::new();
    let outcome = Watch::start().map(|watch| {
        let played = play::play(&watch, &mut screen);
        // By now everything that was made has gone out of scope.
        let outcome = played.and_then(|()| nothing_left());
        outcome.map_err(|error| (watch.stopped(), error))
    });
    match outcome {
        Ok(Ok(())) => {
            screen.remark("demo: everything it made has been removed");
            ExitCode::SUCCESS
        }
        Ok(Err((Some(Stop::Signal(signal)), _))) => {
            screen.remark(&match nothing_left() {
                Ok(()) => format!("demo: ended by {signal}; everything it made has been removed"),
                Err(error) => format!("demo: ended by {signal}, but {error:#}"),
            });
            ExitCode::from(Stop::exit_code(signal))
        }
        Ok(Err((Some(Stop::Deadline), error))) => {
            let limit = watch::deadline().as_secs();
            screen.remark(&format!(
                "demo: failed: it was not done after {limit} s: {error:#}"
            ));
            ExitCode::FAILURE
        }
        Ok(Err((None, error))) | Err(error) => {
            screen.remark(&format!("demo: failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn nothing_left() -> Result<()> {
    let left = sweep::left_by(process::id())?;
    ensure!(
        left.is_empty(),
        "this could not be removed; the next demo will try again: {left:?}"
    );
    Ok(())
}
