//! flowguard's build, test and checking commands: `cargo xtask COMMAND`.
//!
//! What a person runs at a desk and what CI runs are the same commands. Each one first installs
//! what it needs and the machine lacks, and says so.

use std::process::ExitCode;

use clap::Parser;

mod build;
mod demo;
mod deny;
mod fuzz;
mod invoke;
mod lint;
mod out;
mod paths;
mod run;
mod setup;
mod simulate;
mod soak;
mod test;
mod tool;
mod vm;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
enum Command {
    Setup(setup::Options),
    Build(build::Options),
    Run(run::Options),
    Demo(demo::Options),
    Test(test::Options),
    Soak(soak::Options),
    Simulate(simulate::Options),
    Vm(vm::Options),
    Lint(lint::Options),
    Deny(deny::Options),
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Setup(options) => setup::run(&options),
        Command::Build(options) => build::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Vm(options) => vm::run(&options),
        Command::Lint(options) => lint::run(&options),
        Command::Deny(options) => deny::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::failed(&error);
            ExitCode::FAILURE
        }
    }
}
