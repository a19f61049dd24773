//! The few `bpf(2)` calls that aya does not offer, and the mapping of array maps into memory.
//!
//! Layouts: `union bpf_attr` in include/uapi/linux/bpf.h.

use std::{
    ffi::{CStr, CString},
    io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

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
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info` of a cgroup link.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    cgroup_id: u64,
    attach_type: u32,
    pad2: u32,
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

pub(super) fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is the prefix of `union bpf_attr` that the command reads, of the given size.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// Whether the kernel takes these instructions for a program (a socket filter, which is attached
/// nowhere).
pub(super) fn loads(instructions: &[u64]) -> bool {
    const LICENSE: &CStr = c"GPL";
    let Ok(insn_cnt) = u32::try_from(instructions.len()) else {
        return false;
    };
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
        insn_cnt,
        insns: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..ProgLoad::default()
    };
    let Ok(fd) = bpf(BPF_PROG_LOAD, &mut attr).map(i32::try_from) else {
        return false;
    };
    if let Ok(fd) = fd {
        // SAFETY: the kernel just gave us this descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    true
}

/// Opens a pinned object.
pub(super) fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf(BPF_OBJ_GET, &mut attr).and_then(owned)
}

/// The cgroup id that a cgroup link is attached to; 0 once the cgroup is gone.
pub(super) fn link_cgroup(link: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = LinkInfo::default();
    let mut attr = InfoByFd {
        bpf_fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?,
        info_len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.cgroup_id)
}

/// Replaces the program of a link, atomically: no packet and no call sees neither. Linux 5.7;
/// for TCX links 6.6.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let raw = |fd: BorrowedFd<'_>| u32::try_from(fd.as_raw_fd()).map_err(io::Error::other);
    let mut attr = LinkUpdate {
        link_fd: raw(link)?,
        new_prog_fd: raw(program)?,
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link at once. Removing its last pin does so as well, but some time later. Linux 5.9.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_LINK_DETACH, &mut attr).map(drop)
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Returns once every program that was running when this was called has ended.
///
/// The kernel promises this of an update of a map of maps (`maybe_wait_bpf_programs` in
/// kernel/bpf/syscall.c, Linux 4.19). membarrier(2) would do as well, but not on a single CPU, nor
/// with `nohz_full`.
pub(super) fn wait_for_programs() -> io::Result<()> {
    const ARRAY: u32 = 2;
    const ARRAY_OF_MAPS: u32 = 12;
    let create = |map_type, inner_map_fd| {
        let mut attr = MapCreate {
            map_type,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            map_flags: 0,
            inner_map_fd,
        };
        bpf(BPF_MAP_CREATE, &mut attr).and_then(owned)
    };
    let raw = |fd: &OwnedFd| u32::try_from(fd.as_raw_fd()).map_err(io::Error::other);
    let inner = create(ARRAY, 0)?;
    let outer = create(ARRAY_OF_MAPS, raw(&inner)?)?;
    let (index, element) = (0_u32, raw(&inner)?);
    let mut attr = MapUpdate {
        map_fd: raw(&outer)?,
        pad: 0,
        key: &raw const index as u64,
        value: &raw const element as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: called with what the kernel just gave us as a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A `BPF_F_MMAPABLE` array of structs of `u64`s, mapped read-only: reading costs no syscall.
#[derive(Debug)]
pub(super) struct Words {
    start: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
}

// SAFETY: the memory is only ever read, through atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps `words` words of the array behind `map`.
    pub(super) fn map(map: impl AsFd, words: usize) -> io::Result<Self> {
        let bytes = words
            .checked_mul(size_of::<u64>())
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                map,
                0,
            )?
        };
        Ok(Self {
            start: start.cast(),
            bytes,
        })
    }

    /// One word; none beyond the end.
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        if index >= self.bytes.get() / size_of::<u64>() {
            return None;
        }
        // SAFETY: inside the mapping, aligned, and only the kernel writes there, whole words.
        Some(unsafe { self.start.add(index).as_ref() }.load(Ordering::Relaxed))
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, which nobody else has a pointer into.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.bytes.get()) } {
            tracing::error!(%error, "cannot unmap a BPF array");
        }
    }
}
