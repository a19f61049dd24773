//! `connect` through io_uring, without a library that could do something cleverer.

use std::{
    mem::MaybeUninit,
    net::SocketAddr,
    num::NonZeroUsize,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use nix::{
    errno::Errno,
    libc::{self, c_int, c_void},
    sys::{
        mman::{MapFlags, ProtFlags, mmap, munmap},
        socket::{SockaddrLike as _, SockaddrStorage},
    },
};

use super::socket::Tcp;

// linux/io_uring.h
const SETUP_SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const OP_CONNECT: u8 = 16;
const SQE_ASYNC: u8 = 1 << 4;
const OFFSET_SQ: i64 = 0;
const OFFSET_CQ: i64 = 0x0800_0000;
const OFFSET_SQES: i64 = 0x1000_0000;
/// More than the rings of a few entries take.
const RING_BYTES: usize = 4096;

/// Which task calls the connect hook.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum How {
    /// The one that submits.
    Inline,
    /// A worker thread of the kernel's.
    Worker,
    /// The thread that polls for submissions.
    Poller,
}

/// Where things are in a ring (`struct io_sqring_offsets`, `struct io_cqring_offsets`).
#[repr(C)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags_or_overflow: u32,
    dropped_or_cqes: u32,
    array_or_flags: u32,
    reserved: u32,
    user_address: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

/// `struct io_uring_sqe`.
#[repr(C)]
struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// `struct io_uring_cqe`.
#[repr(C)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

const _: () = assert!(size_of::<Params>() == 120 && size_of::<Submission>() == 64);

/// Memory shared with the kernel.
struct Shared(NonNull<c_void>);

impl Shared {
    fn map(ring: &OwnedFd, offset: i64) -> Result<Self> {
        let length = NonZeroUsize::new(RING_BYTES).context("a page is not empty")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, ring, offset)? };
        Ok(Self(start))
    }

    /// What lies at an offset that the kernel gave.
    fn at<T>(&self, offset: u32) -> Result<*mut T> {
        let end = offset as usize + size_of::<T>();
        ensure!(end <= RING_BYTES, "the ring is larger than expected");
        // SAFETY: inside the mapping.
        Ok(unsafe { self.0.byte_add(offset as usize).cast().as_ptr() })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; what pointed into it is not used any more.
        unsafe { munmap(self.0, RING_BYTES) }.ok();
    }
}

/// Connects a new socket through a new ring.
pub(crate) fn connect(how: How, to: SocketAddr) -> Result<()> {
    let socket = Tcp::plain(to)?;
    let address = SockaddrStorage::from(to);
    let submission = Submission {
        opcode: OP_CONNECT,
        flags: if matches!(how, How::Worker) {
            SQE_ASYNC
        } else {
            0
        },
        priority: 0,
        fd: socket.fd().as_raw_fd(),
        offset: u64::from(address.len()),
        address: address.as_ptr().addr() as u64,
        length: 0,
        op_flags: 0,
        user_data: 0,
        rest: [0; 3],
    };
    let result = submit(submission, matches!(how, How::Poller))?;
    Errno::result(match result {
        0 => 0,
        error => {
            Errno::from_raw(-error).set();
            -1
        }
    })?;
    Ok(())
}

/// Submits one operation and waits for its result. What it points to outlives the call.
fn submit(submission: Submission, poller: bool) -> Result<c_int> {
    // SAFETY: a structure of numbers.
    let mut params: Params = unsafe { MaybeUninit::zeroed().assume_init() };
    if poller {
        params.flags = SETUP_SQPOLL;
    }
    // SAFETY: a live structure of the size the kernel expects; nobody else owns the descriptor.
    let ring = unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params);
        OwnedFd::from_raw_fd(Errno::result(ring)? as c_int)
    };
    let sq = Shared::map(&ring, OFFSET_SQ)?;
    let cq = Shared::map(&ring, OFFSET_CQ)?;
    let submissions = Shared::map(&ring, OFFSET_SQES)?;
    let place: *mut Submission = submissions.at(0)?;
    let array: *mut u32 = sq.at(params.sq.array_or_flags)?;
    let tail: *const AtomicU32 = sq.at(params.sq.tail)?;
    // SAFETY: in the mappings; the kernel looks at them only after the new tail.
    unsafe {
        place.write(submission);
        array.write(0);
        (*tail).store(1, Ordering::Release);
    }
    let flags = ENTER_GETEVENTS | if poller { ENTER_SQ_WAKEUP } else { 0 };
    let (number, nothing) = (libc::SYS_io_uring_enter, std::ptr::null::<c_void>());
    // SAFETY: numbers and no signal mask.
    let entered = unsafe { libc::syscall(number, ring.as_raw_fd(), 1, 1, flags, nothing, 0) };
    Errno::result(entered)?;
    let tail: *const AtomicU32 = cq.at(params.cq.tail)?;
    // SAFETY: in the mapping.
    let completed = unsafe { (*tail).load(Ordering::Acquire) };
    ensure!(completed == 1, "{completed} operations completed, not one");
    let completion: *const Completion = cq.at(params.cq.dropped_or_cqes)?;
    // SAFETY: in the mapping, and written before the tail.
    Ok(unsafe { (*completion).result })
}
