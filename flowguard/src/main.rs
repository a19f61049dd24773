//! The `flowguard` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowguard::cli::main()
}
