//! An XDP program that is somebody else's: it lets everything pass.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{libc, net::if_::if_nametoindex};

use crate::netns::Netns;

// include/uapi/linux/bpf.h and if_link.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// `r0 = XDP_PASS; exit`
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
const LICENSE: &CStr = c"GPL";

#[derive(Default)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: i32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// It stays attached until this is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held, not used")]
pub struct ForeignXdp(OwnedFd);

impl ForeignXdp {
    /// Attaches it to a device of a namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(netns: &Netns, device: &str) -> Result<Self> {
        netns.enter(|| {
            let mut program = ProgLoad {
                prog_type: BPF_PROG_TYPE_XDP,
                insn_cnt: PASS.len() as u32,
                insns: PASS.as_ptr() as u64,
                license: LICENSE.as_ptr() as u64,
                ..ProgLoad::default()
            };
            let program = bpf(BPF_PROG_LOAD, &mut program).context("no program")?;
            let mut link = LinkCreate {
                prog_fd: program.as_raw_fd(),
                target_ifindex: if_nametoindex(device)?,
                attach_type: BPF_XDP,
                flags: XDP_FLAGS_SKB_MODE,
            };
            Ok(Self(bpf(BPF_LINK_CREATE, &mut link).context("no link")?))
        })
    }
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is the prefix of `union bpf_attr` that the command reads, of the given size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
