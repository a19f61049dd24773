//! The file system of the virtual machine, an initramfs: the programs under test and what they
//! call, out of this machine's packages. Everything has the path that it has here, so that
//! programs find each other.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::programs::Programs;
use crate::{
    invoke, paths,
    setup::packages::{NETWORK, TEST},
};

const INIT: &str = include_str!("init.sh");

/// Packages whose files go along with those that the tests are said to need (`setup::packages`): what
/// every Debian has, and what the others are split into. Of some, a system has only one.
const PACKAGES: [&str; 24] = [
    "bash",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "gawk",
    "grep",
    "hostname",
    "kmod",
    "libc-bin",
    "liblxc-common",
    "liblxc1",
    "libxtables12",
    "login",
    "lxc-templates",
    "mawk",
    "mount",
    "netbase",
    "passwd",
    "perl-base",
    "procps",
    "sed",
    "tar",
    "util-linux",
];

/// Folders that are written when packages are configured, or whose packages change their names with
/// each version.
const FOLDERS: [&str; 6] = [
    "/etc/alternatives",
    "/etc/postfix",
    "/usr/lib/x86_64-linux-gnu/perl",
    "/usr/lib/x86_64-linux-gnu/perl5",
    "/usr/share/perl",
    "/usr/share/perl5",
];

/// A Docker engine, of Debian's or Docker's own packages.
const ENGINE: [&str; 7] = [
    "/usr/bin/containerd",
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/bin/docker",
    "/usr/bin/docker-proxy",
    "/usr/bin/runc",
    "/usr/sbin/dockerd",
    "/usr/sbin/runc",
];

/// What packages contain and no test reads.
const LEFT_OUT: [&str; 9] = [
    "/usr/share/bash-completion",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/lib/systemd",
    "/usr/lib/systemd",
];

/// Files that the tests' users, and names in general, come from.
const ACCOUNTS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];

/// Debian's links from the old places into `/usr`, and folders to mount on.
const LINKS: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];
const SKELETON: [&str; 9] = [
    "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp", "vm",
];

/// Makes the archive that all kernels share.
pub(crate) fn archive(programs: &Programs) -> Result<PathBuf> {
    let home = paths::target()?.join("vm");
    let stage = empty_stage()?;
    for folder in SKELETON {
        fs::create_dir_all(stage.join(folder))?;
    }
    symlink("../run", stage.join("var/run"))?;
    fs::write(
        stage.join("etc/nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files\n",
    )?;
    fs::write(
        stage.join("etc/hosts"),
        "127.0.0.1 localhost\n::1 localhost\n",
    )?;
    fs::write(stage.join("init"), INIT)?;
    fs::set_permissions(stage.join("init"), fs::Permissions::from_mode(0o755))?;
    for program in programs.all() {
        strip(program, &in_stage(&stage, program)?)?;
    }
    for object in &programs.objects {
        fs::copy(object, in_stage(&stage, object)?)
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }

    let mut files = system_files()?;
    let own: Vec<PathBuf> = programs.all().cloned().collect();
    let of_system: Vec<PathBuf> = files.iter().cloned().collect();
    for library in libraries(own.iter().chain(&of_system).filter(|path| is_elf(path)))? {
        files.insert(real_place(&library)?);
    }
    let archive = home.join("rootfs.cpio");
    let mut to = File::create(&archive)?;
    cpio(Path::new("/"), &with_parents(&files), &mut to)?;
    for (link, target) in LINKS {
        if target == "usr/lib64" {
            fs::create_dir_all(stage.join("usr/lib64"))?;
        }
        symlink(target, stage.join(link))?;
    }
    cpio(&stage, &below(&stage)?, &mut to)?;
    Ok(archive)
}

/// Adds a kernel's modules, and `script`, which its machine runs, to what all kernels share.
pub(crate) fn of_kernel(archive: &Path, root: &Path, script: &str, to: &Path) -> Result<()> {
    let mut out = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    io::copy(&mut File::open(archive)?, &mut out)?;
    let modules = root.join("usr/lib/modules");
    let files: BTreeSet<PathBuf> = below(&modules)?
        .into_iter()
        // The kernel itself is there since Linux 7.
        .filter(|path| !path.ends_with("vmlinuz"))
        .map(|path| Path::new("usr/lib/modules").join(path))
        .collect();
    cpio(root, &with_parents(&files), &mut out)?;
    let stage = empty_stage()?;
    fs::create_dir(stage.join("vm"))?;
    fs::write(stage.join("vm/run.sh"), script)?;
    cpio(&stage, &below(&stage)?, &mut out)
}

/// A folder for what is put together here.
fn empty_stage() -> Result<PathBuf> {
    let stage = paths::target()?.join("vm/stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage)?;
    Ok(stage)
}

fn in_stage(stage: &Path, path: &Path) -> Result<PathBuf> {
    let path = stage.join(
        path.strip_prefix("/")
            .context("programs have absolute paths")?,
    );
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(path)
}

/// Debug information is most of a program, and would have to be unpacked by a slow machine.
fn strip(program: &Path, to: &Path) -> Result<()> {
    invoke::run(
        Command::new("strip")
            .arg("--strip-debug")
            .arg("-o")
            .arg(to)
            .arg(program),
    )
}

/// What the packages consist of, by paths without a link in their folders.
fn system_files() -> Result<BTreeSet<PathBuf>> {
    let needed = [NETWORK, TEST].into_iter().flatten();
    // It fails when one of many is not installed, or comes from elsewhere under another name, and
    // lists the others all the same. Whatever a test misses then, it says.
    let listed = Command::new("dpkg-query")
        .arg("--listfiles")
        .args(needed.map(|package| package.name).chain(PACKAGES))
        .stderr(Stdio::null())
        .output()
        .context("cannot start dpkg-query")?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let mut files: BTreeSet<PathBuf> = ACCOUNTS.iter().map(PathBuf::from).collect();
    for folder in FOLDERS
        .map(Path::new)
        .into_iter()
        .filter(|folder| folder.is_dir())
    {
        files.extend(below(folder)?.into_iter().map(|path| folder.join(path)));
    }
    let engine = ENGINE.map(PathBuf::from).into_iter();
    files.extend(engine.filter(|program| program.exists()));
    for path in listed.lines().map(Path::new) {
        let left_out = LEFT_OUT.iter().any(|folder| path.starts_with(folder));
        // Folders are added with what is in them.
        if !left_out && fs::symlink_metadata(path).is_ok_and(|file| !file.is_dir()) {
            files.insert(real_place(path)?);
        }
    }
    Ok(files)
}

/// The same file by a path whose folders are no links.
fn real_place(path: &Path) -> Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} is no file", path.display());
    };
    Ok(folder
        .canonicalize()
        .with_context(|| format!("{} is not there", folder.display()))?
        .join(name))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path)
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut magic))
        .is_ok_and(|()| magic == *b"\x7fELF")
}

/// The shared libraries of programs, with those that these need.
fn libraries(programs: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<BTreeSet<PathBuf>> {
    // It fails when one of many is linked statically, and prints the others' all the same.
    let output = Command::new("ldd")
        .args(programs)
        .stderr(Stdio::null())
        .output()
        .context("cannot start ldd")?;
    let mut found = BTreeSet::new();
    for library in String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(library)
    {
        // A library is often a link to its newest version: both go along.
        found.insert(library.clone());
        found.insert(library.canonicalize()?);
    }
    Ok(found)
}

/// `libc.so.6 => /lib/libc.so.6 (0x…)`, or the loader: `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<PathBuf> {
    let line = line.strip_prefix('\t')?;
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = path.split_once(" (0x")?.0;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// All that is in a folder, by paths relative to it, folders before what they contain.
fn below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(next) = waiting.pop() {
        let path = folder.join(&next);
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let name = next.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push(name.clone());
            }
            found.insert(name);
        }
    }
    Ok(found)
}

/// The kernel makes no folder that the archive does not contain.
fn with_parents(files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let relative = files
        .iter()
        .map(|path| path.strip_prefix("/").unwrap_or(path));
    relative
        .flat_map(Path::ancestors)
        .filter(|path| !path.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .collect()
}

/// Writes files of a folder as an archive that the kernel unpacks; archives may follow each other.
fn cpio(folder: &Path, files: &BTreeSet<PathBuf>, to: &mut File) -> Result<()> {
    let mut command = Command::new("cpio");
    command
        .current_dir(folder)
        .args([
            "--create",
            "--format=newc",
            "--null",
            "--quiet",
            "--owner=0:0",
        ])
        .stdin(Stdio::piped())
        .stdout(to.try_clone()?);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", invoke::line(&command)))?;
    if let Some(mut names) = child.stdin.take() {
        for file in files {
            names.write_all(file.as_os_str().as_bytes())?;
            names.write_all(b"\0")?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed ({status})", invoke::line(&command));
    }
    Ok(())
}
