//! A kernel out of Debian's packages, fetched by apt and unpacked under `target/vm`. Nothing is
//! installed on this machine.
//!
//! apt works on a folder of its own, with the mirror that this machine is set up with and the
//! keys of the package debian-archive-keyring. Which packages make up a kernel, and under which
//! name, differs from release to release and changes with each update: apt is asked what it would
//! install.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use crate::{invoke, out, paths};

/// The package that always leads to the newest kernel of its release.
const META: &str = "linux-image-cloud-amd64";
/// How the names of packages begin that hold parts of a kernel.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// Signs all of Debian's releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Modules that a guard's kernel may need; the others are drivers for hardware.
const MODULES: [&str; 7] = [
    "arch",
    "crypto",
    "drivers/net",
    "fs/overlayfs",
    "kernel",
    "lib",
    "net",
];

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it calls itself: `6.1.0-48-cloud-amd64`.
    pub(crate) release: String,
    /// What a boot loader loads.
    pub(crate) vmlinuz: PathBuf,
    /// A folder that holds `usr/lib/modules/RELEASE` and nothing else that matters.
    pub(crate) root: PathBuf,
}

impl Image {
    /// The folder with its modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/modules").join(&self.release)
    }
}

/// The kernel as it was unpacked before, else, or if it is to be fresh, fetched now.
pub(crate) fn image(kernel: Kernel, fresh: bool) -> Result<Image> {
    let home = paths::target()?.join("vm").join(kernel.series());
    let root = home.join("root");
    if fresh || !root.exists() {
        fetch(kernel, &home, &root)
            .with_context(|| format!("cannot get {kernel} from Debian's {}", kernel.suite()))?;
    }
    find(&root).with_context(|| format!("{} is damaged: remove it and try again", root.display()))
}

fn fetch(kernel: Kernel, home: &Path, root: &Path) -> Result<()> {
    out::say(format_args!(
        "fetching {kernel} from Debian's {}",
        kernel.suite()
    ));
    let apt = Apt::new(home, kernel.suite())?;
    let names = apt.parts()?;
    let packages = home.join("packages");
    empty(&packages)?;
    invoke::run(apt.get("download").current_dir(&packages).args(&names))?;
    // Complete under its name, or not there.
    let unpacked = home.join("unpacked");
    empty(&unpacked)?;
    for package in fs::read_dir(&packages)? {
        invoke::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package?.path())
                .arg(&unpacked),
        )?;
    }
    fs::remove_dir_all(&packages)?;
    merge_usr(&unpacked)?;
    let image = find(&unpacked)?;
    prune(&image.modules().join("kernel"), &MODULES.map(PathBuf::from))?;
    invoke::run(
        Command::new("depmod")
            .arg("--basedir")
            .arg(&unpacked)
            .arg(&image.release),
    )?;
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::rename(&unpacked, root)?;
    Ok(())
}

/// Before Debian 13, kernels came in `/lib`; depmod looks there to this day.
fn merge_usr(root: &Path) -> Result<()> {
    let (lib, usr) = (root.join("lib"), root.join("usr/lib"));
    if lib.exists() {
        fs::create_dir_all(&usr)?;
        fs::rename(lib.join("modules"), usr.join("modules"))?;
        fs::remove_dir_all(&lib)?;
    }
    Ok(std::os::unix::fs::symlink("usr/lib", lib)?)
}

/// Removes all of a folder but what is in `keep`.
fn prune(folder: &Path, keep: &[PathBuf]) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        let below: Vec<_> = keep
            .iter()
            .filter_map(|path| path.strip_prefix(&name).ok())
            .map(Path::to_path_buf)
            .collect();
        if below.is_empty() {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        } else if below.iter().all(|path| !path.as_os_str().is_empty()) {
            prune(&entry.path(), &below)?;
        }
    }
    Ok(())
}

/// Looks for the kernel in unpacked packages.
fn find(root: &Path) -> Result<Image> {
    let modules = root.join("usr/lib/modules");
    let mut releases = Vec::new();
    for entry in fs::read_dir(&modules).with_context(|| modules.display().to_string())? {
        releases.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let [release] = &releases[..] else {
        bail!("there should be one kernel, and there are {releases:?}");
    };
    // Debian keeps it among the modules since Linux 7, and in /boot before.
    let places = [
        modules.join(release).join("vmlinuz"),
        root.join("boot").join(format!("vmlinuz-{release}")),
    ];
    let vmlinuz = places
        .iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{release} comes without a vmlinuz at {places:?}"))?;
    Ok(Image {
        release: release.clone(),
        vmlinuz: vmlinuz.clone(),
        root: root.to_owned(),
    })
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// apt with one release of Debian for its only source, and a folder for all it keeps.
struct Apt {
    home: PathBuf,
}

impl Apt {
    /// Sets it up and fetches the release's list of packages.
    fn new(home: &Path, suite: &str) -> Result<Self> {
        let apt = Self {
            home: home.join("apt"),
        };
        for folder in ["lists/partial", "cache/archives/partial", "state"] {
            fs::create_dir_all(apt.home.join(folder))?;
        }
        // Nothing is installed, as far as this apt knows.
        fs::write(apt.home.join("status"), "")?;
        let mirror = mirror()?;
        fs::write(
            apt.home.join("debian.sources"),
            format!(
                "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n\
                 Architectures: amd64\nSigned-By: {KEYRING}\n"
            ),
        )?;
        invoke::run(&mut apt.get("update"))?;
        Ok(apt)
    }

    fn get(&self, verb: &str) -> Command {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y"]);
        for (name, path) in [
            ("Dir::Etc::sourcelist", "debian.sources"),
            ("Dir::State", "state"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            let path = self.home.join(path);
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // The folder is the builder's, not apt's own user's.
            "APT::Sandbox::User=",
            "Debug::NoLocking=1",
        ] {
            command.args(["-o", option]);
        }
        command.arg(verb);
        command
    }

    /// The names of the packages that the newest kernel consists of.
    fn parts(&self) -> Result<Vec<String>> {
        let plan = invoke::read(self.get("install").args([
            "--simulate",
            "--no-install-recommends",
            META,
        ]))?;
        let parts = parts(&plan);
        if parts.is_empty() {
            bail!("apt names no parts of {META}: {plan}");
        }
        Ok(parts)
    }
}

/// The parts of a kernel among what apt would install: `Inst NAME (VERSION …)`.
fn parts(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .filter(|name| *name != META && PARTS.iter().any(|part| name.starts_with(part)))
        .map(ToOwned::to_owned)
        .collect()
}

/// The mirror from which this machine gets Debian's packages.
fn mirror() -> Result<String> {
    let targets = invoke::read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
        "Component: main",
    ]))?;
    mirror_in(&targets).context(
        "this machine's apt knows no mirror of Debian's: kernels are tested on a Debian machine, \
         after `apt-get update`",
    )
}

fn mirror_in(targets: &str) -> Option<String> {
    let mirror = targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian "));
    mirror.map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_of_one_package_or_several_is_found_in_what_apt_would_do() {
        let bookworm = "NOTE: This is only a simulation!\n\
            Inst kmod (30 Debian:12 [amd64])\n\
            Inst linux-image-6.1.0-48-cloud-amd64 (6.1.176-1 Debian:12 [amd64])\n\
            Inst linux-image-cloud-amd64 (6.1.176-1 Debian:12 [amd64])\n\
            Conf linux-image-6.1.0-48-cloud-amd64 (6.1.176-1 Debian:12 [amd64])\n";
        assert_eq!(parts(bookworm), ["linux-image-6.1.0-48-cloud-amd64"]);
        let sid = "Inst linux-base (4.17 Debian:unstable [all])\n\
            Inst linux-binary-7.2.13+deb14-cloud-amd64 (7.2.13-1 Debian:unstable [amd64])\n\
            Inst linux-modules-7.2.13+deb14-cloud-amd64 (7.2.13-1 Debian:unstable [amd64])\n";
        assert_eq!(parts(sid).len(), 2);
        assert!(parts("Inst bash (5 Debian:12 [amd64])").is_empty());
    }

    #[test]
    fn the_mirror_is_debians_own_archive() {
        let known = "Debian-Security http://mirror.test/security/\n\
            Debian http://mirror.test/debian/\nDebian http://other.test/\n";
        assert_eq!(mirror_in(known).unwrap(), "http://mirror.test/debian/");
        // Before the first update apt does not know whose a source is.
        assert_eq!(mirror_in("$(LABEL) http://mirror.test/debian/\n"), None);
    }

    #[test]
    fn both_layouts_become_one_and_only_what_may_be_needed_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let modules = root.join("lib/modules/6.1.0");
        for module in [
            "net/veth.ko",
            "drivers/net/tun.ko",
            "drivers/gpu/x.ko",
            "fs/ext4.ko",
        ] {
            let path = modules.join("kernel").join(module);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(root.join("boot")).unwrap();
        fs::write(root.join("boot/vmlinuz-6.1.0"), "").unwrap();
        merge_usr(root).unwrap();
        let image = find(root).unwrap();
        assert_eq!(image.release, "6.1.0");
        assert!(image.vmlinuz.ends_with("boot/vmlinuz-6.1.0"));
        prune(&image.modules().join("kernel"), &MODULES.map(PathBuf::from)).unwrap();
        let is_there = |module: &str| modules.join("kernel").join(module).exists();
        assert!(is_there("net/veth.ko") && is_there("drivers/net/tun.ko"));
        assert!(!is_there("drivers/gpu") && !is_there("fs/ext4.ko"));

        fs::write(modules.join("vmlinuz"), "").unwrap();
        assert!(find(root).unwrap().vmlinuz.ends_with("6.1.0/vmlinuz"));
        fs::create_dir(root.join("usr/lib/modules/6.1.1")).unwrap();
        assert!(find(root).is_err(), "which one is meant?");
    }
}
