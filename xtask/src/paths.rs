//! Where things are: the workspace, its build output and the tools cached there.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf, absolute},
};

use anyhow::{Context as _, Result};

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo puts what it builds: `$CARGO_TARGET_DIR`, else `target` at the root.
pub(crate) fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => absolute(&dir)
            .with_context(|| format!("CARGO_TARGET_DIR is {}: not a usable path", dir.display())),
        None => Ok(root().join("target")),
    }
}

/// Where the BPF programs are built, apart from the host's crates so that neither build throws
/// away the other's results.
pub(crate) fn bpf_target() -> Result<PathBuf> {
    Ok(target()?.join("bpf"))
}

/// A `flowguard` that was built for tests only, in one of cargo's profiles.
pub(crate) fn tested(profile: &str, name: &str) -> Result<PathBuf> {
    Ok(target()?.join("tested").join(profile).join(name))
}

/// The root that `cargo install` is given for tools of our own; they survive `git clean` and go
/// with `cargo clean`.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

/// The folder of the LLVM that bpf-linker is built with: `$LLVM_PREFIX`, else Debian's.
pub(crate) fn llvm() -> PathBuf {
    env::var_os("LLVM_PREFIX").map_or_else(|| PathBuf::from("/usr/lib/llvm-22"), PathBuf::from)
}

/// Finds a program in `$PATH` and in the administrator's folders, which an ordinary user's
/// `$PATH` often lacks.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    find(name, env::var_os("PATH"))
}

fn find(name: &str, path: Option<OsString>) -> Option<PathBuf> {
    let listed = path.unwrap_or_default();
    env::split_paths(&listed)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("flowguard-ebpf/Cargo.toml").is_file());
    }

    #[test]
    fn programs_are_found_in_path_order_and_by_name_only() {
        let path = env::join_paths([root().join("xtask"), root().to_path_buf()]).unwrap();
        assert_eq!(
            find("Cargo.toml", Some(path.clone())),
            Some(root().join("xtask/Cargo.toml"))
        );
        assert_eq!(
            find("Cargo.lock", Some(path.clone())),
            Some(root().join("Cargo.lock"))
        );
        assert_eq!(find("src", Some(path)), None, "a folder is no program");
        assert_eq!(find("no-such-program", None), None);
    }
}
