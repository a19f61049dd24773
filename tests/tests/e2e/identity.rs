//! Who is it? Tenants keep their names, and with them counters and verdicts, while the kernel's
//! numbers for them change.

mod docker;
mod lxc;
mod mapping;
mod process;
mod rules;
mod taps;
mod units;
