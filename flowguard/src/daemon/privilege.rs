//! What the daemon may do.

use std::fs;

/// Bits of the capability sets (include/uapi/linux/capability.h), with why each is needed.
const NEEDED: [(u32, &str, &str); 3] = [
    (
        12,
        "CAP_NET_ADMIN",
        "attach programs to cgroups and devices",
    ),
    (
        38,
        "CAP_PERFMON",
        "let the kernel check programs that follow pointers",
    ),
    (39, "CAP_BPF", "load programs and maps"),
];
/// `CAP_SYS_ADMIN` stands for the last two, as it did before Linux 5.8.
const SYS_ADMIN: u32 = 21;

/// The process may not do what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guard needs {missing}: run it as root, or give it the capabilities")]
pub struct MissingPrivilege {
    missing: String,
}

/// Fails with a sentence that names the capabilities this process lacks.
///
/// # Errors
///
/// Some are missing.
pub fn require() -> Result<(), MissingPrivilege> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    check(effective(&status).unwrap_or(0))
}

fn check(effective: u64) -> Result<(), MissingPrivilege> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(bit, ..)| !(has(*bit) || *bit > SYS_ADMIN && has(SYS_ADMIN)))
        .map(|(_, name, why)| format!("{name} to {why}"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MissingPrivilege {
            missing: missing.join(", "),
        })
    }
}

/// The effective set in the text of `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(check((1 << 12) | (1 << 38) | (1 << 39)), Ok(()));
        assert_eq!(check((1 << 12) | (1 << 21)), Ok(()));
        let error = check(1 << 21).unwrap_err().to_string();
        assert!(
            error.contains("CAP_NET_ADMIN") && !error.contains("CAP_BPF"),
            "{error}"
        );
        assert!(check(0).is_err());
    }

    #[test]
    fn the_effective_set_is_found() {
        assert_eq!(
            effective("Name:\tx\nCapPrm:\t0\nCapEff:\t00000000a80425fb\n"),
            Some(0xa804_25fb)
        );
        assert_eq!(effective("CapEff: nonsense"), None);
    }
}
