//! `cargo xtask build`: the BPF programs, then the binary that carries them.

use std::{
    env::consts::ARCH,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    invoke, out, paths,
    setup::{self, Core, CoreChoice, Needs, Ready},
};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the BPF programs and the flowguard binary that carries them.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Build the binary optimised. The BPF programs always are.
    #[arg(long)]
    release: bool,

    #[command(flatten)]
    core: CoreChoice,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let ready = setup::ensure(Needs::Build, options.core)?;
    let binary = everything(&ready, options.release)?;
    out::say(format_args!("built {}", binary.display()));
    Ok(())
}

/// Builds everything on a machine that is set up; returns the binary's path.
pub(crate) fn everything(ready: &Ready, release: bool) -> Result<PathBuf> {
    object(ready)?;
    let mut cargo = invoke::cargo();
    cargo.args(["build", "--package", "flowguard", "--bin", "flowguard"]);
    if release {
        cargo.arg("--release");
    }
    invoke::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(paths::target()?.join(profile).join("flowguard"))
}

/// The binaries that are tested: one that can be made to fail at each step of its start, and the
/// same with maps of another layout.
#[derive(Debug)]
pub(crate) struct Tested {
    pub(crate) flowguard: PathBuf,
    pub(crate) grown: PathBuf,
}

impl Tested {
    /// What the tests are told by their environment.
    pub(crate) fn env(&self) -> [(&'static str, &Path); 2] {
        [
            ("FLOWGUARD_BIN", &self.flowguard),
            ("FLOWGUARD_GROWN_BIN", &self.grown),
        ]
    }
}

/// Cargo's profile for what this machine runs.
pub(crate) const DEV: &str = "dev";

/// Builds what is tested, on a machine that is set up, in one of cargo's profiles.
pub(crate) fn tested(ready: &Ready, profile: &str) -> Result<Tested> {
    objects(ready, &GROWN_FORMS)?;
    object(ready)?;
    Ok(Tested {
        flowguard: tested_binary(profile, "flowguard", "failpoints")?,
        grown: tested_binary(profile, "flowguard-grown", "failpoints,grown")?,
    })
}

/// Builds the binary with these features and keeps a copy, which the next build leaves alone.
fn tested_binary(profile: &str, name: &str, features: &str) -> Result<PathBuf> {
    let mut cargo = invoke::cargo();
    cargo.args(["build", "--package", "flowguard", "--bin", "flowguard"]);
    invoke::run(cargo.args(["--features", features, "--profile", profile]))?;
    let copy = paths::tested(profile, name)?;
    if let Some(folder) = copy.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // Its folder has another name for reasons of history.
    let folder = if profile == DEV { "debug" } else { profile };
    let built = paths::target()?.join(folder).join("flowguard");
    copy_if_different(&built, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", copy.display()))?;
    Ok(copy)
}

/// The two forms of the BPF programs: the features they are built with, and the object's name,
/// by which `flowguard/build.rs` finds it.
pub(crate) const FORMS: [(&[&str], &str); 2] = [
    // For kernels before 5.12. First, so that what is left in cargo's folder is the usual form.
    (&["--features", "legacy"], "flowguard-ebpf-legacy.o"),
    (&[], "flowguard-ebpf.o"),
];

/// The same with maps of another layout, for tests.
const GROWN_FORMS: [(&[&str], &str); 2] = [
    (
        &["--features", "grown,legacy"],
        "flowguard-ebpf-grown-legacy.o",
    ),
    (&["--features", "grown"], "flowguard-ebpf-grown.o"),
];

/// Builds the BPF programs into the objects that the binary embeds.
pub(crate) fn object(ready: &Ready) -> Result<()> {
    objects(ready, &FORMS)
}

/// Where the objects are that [`object`] builds.
pub(crate) fn object_paths() -> Result<[PathBuf; 2]> {
    let target = paths::bpf_target()?;
    Ok(FORMS.map(|(_, object)| target.join(object)))
}

fn objects(ready: &Ready, forms: &[(&[&str], &str)]) -> Result<()> {
    let target = paths::bpf_target()?;
    let built = target.join(TARGET).join("release/flowguard-ebpf");
    for (features, object) in forms {
        invoke::run(bpf_cargo(ready, "build")?.arg("--release").args(*features))?;
        copy_if_different(&built, &target.join(object))?;
    }
    Ok(())
}

/// A cargo command on the BPF programs' crate, for their target.
pub(crate) fn bpf_cargo(ready: &Ready, subcommand: &str) -> Result<Command> {
    let mut cargo = match ready.core {
        Core::RustSrc => invoke::cargo(),
        Core::Debian => {
            // Cargo would look for cargo-clippy among rustup's programs first.
            let mut cargo = Command::new(match subcommand {
                "clippy" => "/usr/bin/cargo-clippy",
                _ => "/usr/bin/cargo",
            });
            // Otherwise these would take up the toolchain that runs this xtask.
            cargo
                .current_dir(paths::root())
                .env("CARGO", "/usr/bin/cargo")
                .env("RUSTC", "/usr/bin/rustc");
            cargo
        }
    };
    cargo
        .arg(subcommand)
        .args(["--package", "flowguard-ebpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(paths::bpf_target()?)
        // The core library's sources, its intrinsics and -Z options are for nightly compilers
        // only, unless a stable one is told that its user knows.
        .env("RUSTC_BOOTSTRAP", "1")
        // The object is the same, to the byte, wherever it was built.
        .arg("-Ztrim-paths")
        .env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "object")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&ready.linker));
    if ready.core == Core::RustSrc {
        cargo.arg("-Zbuild-std=core");
    }
    Ok(cargo)
}

/// The compiler's flags for the BPF programs, in cargo's encoding.
fn rustflags(linker: &Path) -> OsString {
    let mut linker_flag = OsString::from("-Clinker=");
    linker_flag.push(linker);
    [
        linker_flag,
        // The types that the kernel wants to see are made from the debug info.
        "-Clink-arg=--btf".into(),
        "-Cdebuginfo=2".into(),
        // 32-bit arithmetic and atomics that fetch; in kernels since 5.1 and 5.12.
        "-Ctarget-cpu=v3".into(),
        format!("--cfg=bpf_target_arch=\"{ARCH}\"").into(),
    ]
    .join(OsStr::new("\x1f"))
}

/// Copies a file unless the copy is the same already, so that what depends on it is not built
/// again for nothing.
fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    match fs::read(to) {
        Ok(old) if old == new => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", to.display()));
        }
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_linker_is_one_flag_even_with_a_space_in_its_path() {
        let flags = rustflags(Path::new("/a folder/bpf-linker"));
        let flags = flags.to_str().unwrap();
        let first = flags.split('\x1f').next();
        assert_eq!(first, Some("-Clinker=/a folder/bpf-linker"));
    }

    #[test]
    fn a_copy_is_touched_only_when_the_bytes_differ() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "one").unwrap();
        copy_if_different(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"one");

        let long_ago = SystemTime::UNIX_EPOCH;
        let copy = fs::File::options().write(true).open(&to).unwrap();
        copy.set_modified(long_ago).unwrap();
        copy_if_different(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), long_ago);

        fs::write(&from, "two").unwrap();
        copy_if_different(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert!(fs::metadata(&to).unwrap().modified().unwrap() > long_ago);
    }

    #[test]
    fn an_object_that_was_not_built_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to");
        let error = copy_if_different(&dir.path().join("from"), &to).unwrap_err();
        assert!(error.to_string().starts_with("cannot read "), "{error}");
        assert!(!to.exists());
    }
}
