//! The `flowguard` command.

fn main() {}
