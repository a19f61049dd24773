//! Whether this kernel takes the programs, and how much work they are to its verifier, asked
//! without guarding anything: nothing is attached or pinned, and all of it is gone afterwards.

use std::{fs::File, os::fd::AsRawFd as _};

use aya::{Ebpf, programs::ProgramError};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::{
    KernelError,
    programs::{self, HOOKS},
    replace,
};
use crate::control::api::ProgramCheck;

/// Hands every program to the verifier.
///
/// # Errors
///
/// The kernel refuses the maps or the object as a whole.
pub(super) fn programs() -> Result<Vec<ProgramCheck>, KernelError> {
    let mut object = replace::trial_object()?;
    let mut checks = Vec::new();
    for hook in &HOOKS {
        let program = programs::program(&mut object, hook.program)?;
        let refused = programs::load_one(program).err();
        let told = program.info().ok();
        checks.push(ProgramCheck {
            name: hook.program.to_owned(),
            required: hook.required,
            instructions: told.and_then(|info| info.verified_instruction_count()),
            refused: refused.map(|error| error.to_string()),
        });
    }
    drop(object);
    let is_uncounted =
        |check: &ProgramCheck| check.refused.is_none() && check.instructions.is_none();
    if checks.iter().any(is_uncounted) {
        // Before Linux 5.16 only the verifier's log tells.
        let mut object = replace::trial_object()?;
        for check in checks.iter_mut().filter(|check| is_uncounted(check)) {
            check.instructions = count_in_log(&mut object, &check.name);
        }
    }
    Ok(checks)
}

/// aya hands out the verifier's log with an error only. Where a process can have no more
/// descriptors, the kernel verifies a program, says all about it, and then has no descriptor to
/// give for it.
fn count_in_log(object: &mut Ebpf, name: &str) -> Option<u32> {
    let limit = NoNewFiles::set()?;
    let result = object.program_mut(name).map(programs::load_one);
    drop(limit);
    match result {
        Some(Err(ProgramError::LoadError { verifier_log, .. })) => {
            processed(&verifier_log.to_string())
        }
        _ => None,
    }
}

/// `processed 1234 insns (limit 1000000) …`
fn processed(log: &str) -> Option<u32> {
    let (_, rest) = log.rsplit_once("processed ")?;
    rest.split_once(' ')?.0.parse().ok()
}

/// While it is there, this process gets no new descriptors. For a process that does nothing else.
struct NoNewFiles {
    soft: rlim_t,
    hard: rlim_t,
}

impl NoNewFiles {
    fn set() -> Option<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        // The lowest number that is free is the next to be given out.
        let next = File::open("/dev/null").ok()?.as_raw_fd();
        setrlimit(Resource::RLIMIT_NOFILE, rlim_t::try_from(next).ok()?, hard).ok()?;
        Some(Self { soft, hard })
    }
}

impl Drop for NoNewFiles {
    fn drop(&mut self) {
        if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard) {
            tracing::error!(%error, "this process can open no more files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_in_the_logs_last_line() {
        let log = "verification time 4035 usec\nstack depth 504+0\n\
            processed 387 insns (limit 1000000) max_states_per_insn 0 total_states 19\n";
        assert_eq!(processed(log), Some(387));
        assert_eq!(processed(""), None);
    }
}
