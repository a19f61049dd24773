//! Which packages are needed, what for, and how to tell that one is there.

use std::path::Path;

use crate::paths;

/// A package of Debian's and Ubuntu's.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name for apt-get.
    pub(crate) name: &'static str,
    /// What shows that it, or its like from elsewhere, is there. Asking for this and not for the
    /// package keeps Docker's own dockerd, say, from being replaced by Debian's.
    pub(crate) sign: Sign,
    /// Why flowguard needs it.
    pub(crate) why: &'static str,
    /// What to look for on a system that is not Debian's kin.
    pub(crate) elsewhere: &'static str,
}

/// What shows that a package is installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sign {
    /// A program in `$PATH` or in the administrator's folders.
    Program(&'static str),
    /// A file or folder by its full path.
    File(&'static str),
    /// A file in LLVM's folder.
    Llvm(&'static str),
}

/// What every build needs.
pub(crate) const BUILD: &[Package] = &[
    Package {
        name: "gcc",
        sign: Sign::Program("cc"),
        why: "links the host's programs and compiles the bundled SQLite",
        elsewhere: "a C compiler called cc (gcc or clang)",
    },
    Package {
        name: "libc6-dev",
        sign: Sign::File("/usr/include/stdio.h"),
        why: "the C library's headers, for the bundled SQLite",
        elsewhere: "the C library's headers (glibc-devel, or part of glibc)",
    },
];

/// What building the linker for BPF programs needs on top.
pub(crate) const LINKER: &[Package] = &[Package {
    name: "llvm-22-dev",
    sign: Sign::Llvm("include/llvm-c/Core.h"),
    why: "bpf-linker is built on it; Rust 1.95 writes LLVM 22's bitcode",
    elsewhere: "LLVM 22 with its headers (llvm-devel, or part of llvm)",
}];

/// The `core` library for BPF programs, and a compiler that fits it, prebuilt by Debian.
pub(crate) const DEBIAN_CORE: &[Package] = &[
    Package {
        name: "rustc-web",
        sign: Sign::File("/var/lib/dpkg/info/rustc-web.list"),
        why: "the compiler that fits Debian's core library for BPF",
        elsewhere: "the rust-src component of Rust 1.95",
    },
    Package {
        name: "cargo-web",
        sign: Sign::File("/var/lib/dpkg/info/cargo-web.list"),
        why: "runs that compiler",
        elsewhere: "the rust-src component of Rust 1.95",
    },
    Package {
        name: "rust-web-clippy",
        sign: Sign::File("/var/lib/dpkg/info/rust-web-clippy.list"),
        why: "checks the BPF programs with that compiler",
        elsewhere: "the rust-src component of Rust 1.95",
    },
    Package {
        name: "libstd-rust-web-dev-bpf",
        sign: Sign::File("/usr/lib/rustlib/bpfel-unknown-none"),
        why: "the core library, built for BPF",
        elsewhere: "the rust-src component of Rust 1.95",
    },
];

/// What the demo and the tests lay out networks with.
pub(crate) const NETWORK: &[Package] = &[Package {
    name: "iproute2",
    sign: Sign::Program("ip"),
    why: "the demo and the tests lay out network namespaces, veth pairs and routes",
    elsewhere: "iproute2 (iproute)",
}];

/// What the tests on the real kernel use on top.
pub(crate) const TEST: &[Package] = &[
    Package {
        name: "iptables",
        sign: Sign::Program("iptables"),
        why: "tests run beside NAT and owner rules, as hosting servers do",
        elsewhere: "iptables (iptables-nft)",
    },
    Package {
        name: "nftables",
        sign: Sign::Program("nft"),
        why: "tests rewrite and duplicate packets as a container's root would",
        elsewhere: "nftables",
    },
    Package {
        name: "bpftool",
        sign: Sign::Program("bpftool"),
        why: "tests check with another program's eyes what is loaded and pinned",
        elsewhere: "bpftool (bpf, linux-tools)",
    },
    Package {
        name: "busybox-static",
        sign: Sign::Program("busybox"),
        why: "a root file system for test containers, with nothing to download",
        elsewhere: "busybox, statically linked",
    },
    Package {
        name: "docker.io",
        sign: Sign::Program("dockerd"),
        why: "tests run containers of a Docker engine of their own",
        elsewhere: "a Docker engine (docker, moby-engine)",
    },
    Package {
        name: "lxc",
        sign: Sign::Program("lxc-start"),
        why: "tests run a system container as well, whose engine is another",
        elsewhere: "LXC with its busybox template (lxc, lxc-templates)",
    },
    Package {
        name: "postfix",
        sign: Sign::Program("postfix"),
        why: "tests send through a real mail server of their own",
        elsewhere: "postfix",
    },
    Package {
        name: "swaks",
        sign: Sign::Program("swaks"),
        why: "tests send mail as a script on a hacked site would",
        elsewhere: "swaks",
    },
    Package {
        name: "libnet-ssleay-perl",
        sign: Sign::File("/usr/share/doc/libnet-ssleay-perl"),
        why: "swaks speaks TLS with it",
        elsewhere: "Net::SSLeay for Perl (perl-Net-SSLeay)",
    },
    Package {
        name: "openssl",
        sign: Sign::Program("openssl"),
        why: "tests give their mail server a certificate",
        elsewhere: "openssl",
    },
    Package {
        name: "strace",
        sign: Sign::Program("strace"),
        why: "tests let the disk under the database fail at the n-th call",
        elsewhere: "strace",
    },
];

/// What running the tests in virtual machines with other kernels needs on top.
pub(crate) const VM: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        sign: Sign::Program("qemu-system-x86_64"),
        why: "emulates a machine for each kernel",
        elsewhere: "a Debian machine: kernels come from Debian's packages",
    },
    Package {
        name: "debian-archive-keyring",
        sign: Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        why: "tells kernels of Debian's from others",
        elsewhere: "a Debian machine: kernels come from Debian's packages",
    },
    Package {
        name: "kmod",
        sign: Sign::Program("depmod"),
        why: "tells a kernel which modules need each other",
        elsewhere: "kmod",
    },
    Package {
        name: "cpio",
        sign: Sign::Program("cpio"),
        why: "packs the machines' file systems",
        elsewhere: "cpio",
    },
    Package {
        name: "binutils",
        sign: Sign::Program("strip"),
        why: "makes the programs small enough for an emulated machine",
        elsewhere: "binutils",
    },
];
/// What fuzzing uses on top.
pub(crate) const FUZZ: &[Package] = &[Package {
    name: "g++",
    sign: Sign::Program("c++"),
    why: "compiles libFuzzer",
    elsewhere: "a C++ compiler called c++ (g++ or clang++)",
}];

/// Those of `packages` that `is_there` does not find, in their order.
pub(crate) fn missing(
    packages: impl IntoIterator<Item = &'static Package>,
    is_there: impl Fn(Sign) -> bool,
) -> Vec<&'static Package> {
    packages
        .into_iter()
        .filter(|package| !is_there(package.sign))
        .collect()
}

/// Looks for the sign on this machine.
pub(crate) fn is_there(sign: Sign) -> bool {
    match sign {
        Sign::Program(name) => paths::program(name).is_some(),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Llvm(path) => paths::llvm().join(path).exists(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let found = missing(BUILD, |sign| sign == Sign::Program("cc"));
        let names: Vec<_> = found.iter().map(|p| p.name).collect();
        assert_eq!(names, ["libc6-dev"]);
        assert!(missing(TEST, |_| true).is_empty());
        assert_eq!(missing(TEST, |_| false).len(), TEST.len());
    }

    #[test]
    fn every_package_stands_in_one_table_only() {
        let all = [BUILD, LINKER, DEBIAN_CORE, NETWORK, TEST, VM, FUZZ];
        let names: Vec<_> = all.into_iter().flatten().map(|p| p.name).collect();
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_sign_is_a_program_or_a_file() {
        assert!(is_there(Sign::Program("sh")));
        assert!(!is_there(Sign::Program("no-such-program")));
        assert!(is_there(Sign::File("/proc/self")));
        assert!(!is_there(Sign::File("/no/such/file")));
    }
}
