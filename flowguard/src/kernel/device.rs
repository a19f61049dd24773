//! One program at one device: a pinned TCX link, or a filter on clsact where there is no TCX.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::programs::{
    LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use nix::errno::Errno;

use super::{KernelError, attach::attach_error, link, programs, sys};

/// Priority of our filter where TCX is missing: how we find it again. Few use numbers this low,
/// and an earlier filter that ends the chain would hide packets from us.
const CLSACT_PRIORITY: u16 = 2525;
/// Handle of our filter, likewise.
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);

/// How packet programs are attached to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMethod {
    /// TCX links, Linux 6.6.
    Tcx,
    /// A filter on a clsact qdisc, which any kernel has.
    Clsact,
}

/// Attaches a program to a device, or puts it in the place of an older one.
pub(super) fn attach(
    program: &mut Program,
    name: &'static str,
    way: TcAttachType,
    device: &str,
    method: EdgeMethod,
    pin: &Path,
) -> Result<(), KernelError> {
    let Program::SchedClassifier(program) = program else {
        return Err(programs::refused(name)(ProgramError::UnexpectedProgramType));
    };
    match method {
        EdgeMethod::Tcx => {
            attach_tcx(program, name, way, device, pin)?;
            // One that an earlier daemon attached in the other way. There mostly is none.
            drop(tc::qdisc_detach_program(device, way, name));
            Ok(())
        }
        EdgeMethod::Clsact => {
            attach_clsact(program, name, way, device)?;
            link::end(pin)
        }
    }
}

fn attach_tcx(
    program: &mut SchedClassifier,
    name: &'static str,
    way: TcAttachType,
    device: &str,
    pin: &Path,
) -> Result<(), KernelError> {
    let failed = |error| attach_error(name, device, error);
    if pin.exists() {
        let fd = program.fd().map_err(failed)?;
        let updated = sys::obj_get(pin).and_then(|link| sys::link_update(link.as_fd(), fd.as_fd()));
        if updated.is_ok() {
            return Ok(());
        }
        // The link died with a device that had this index before.
        link::end(pin)?;
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link: FdLink = program
        .attach_with_options(device, way, options)
        .and_then(|id| program.take_link(id))
        .map_err(failed)?
        .try_into()
        .map_err(|error| attach_error(name, device, error))?;
    link.pin(pin)
        .map_err(|error| attach_error(name, device, error))?;
    Ok(())
}

fn attach_clsact(
    program: &mut SchedClassifier,
    name: &'static str,
    way: TcAttachType,
    device: &str,
) -> Result<(), KernelError> {
    match tc::qdisc_add_clsact(device) {
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        // Some kernels say EEXIST in another way; if the qdisc is really missing, the filter
        // below is refused.
        Err(error) => tracing::debug!(%error, device, "adding clsact"),
    }
    let failed = |error| attach_error(name, device, error);
    let fresh = TcAttachOptions::Netlink(NlOptions {
        priority: CLSACT_PRIORITY,
        handle: CLSACT_HANDLE,
        classid: None,
    });
    let id = match program.attach_with_options(device, way, fresh) {
        Ok(id) => id,
        // There is one of ours already: replace it.
        Err(_) => {
            let link =
                clsact_link(device, way).map_err(|error| attach_error(name, device, error))?;
            program.attach_to_link(link).map_err(failed)?
        }
    };
    let link = program.take_link(id).map_err(failed)?;
    // Dropping it would detach; the filter is to outlive us.
    std::mem::forget(link);
    Ok(())
}

/// Puts a program in the place of that of a pinned link. A link whose device is gone is forgotten.
pub(super) fn replace_link(
    program: &Program,
    name: &'static str,
    pin: &Path,
) -> Result<(), KernelError> {
    let fd = program.fd().map_err(programs::refused(name))?;
    let updated = sys::obj_get(pin).and_then(|link| sys::link_update(link.as_fd(), fd.as_fd()));
    match updated {
        Err(error) if error.raw_os_error() == Some(Errno::ENOLINK as i32) => link::end(pin),
        updated => updated.map_err(|error| attach_error(name, &pin.display().to_string(), error)),
    }
}

/// Puts a program in the place of that of our filter at a device, if there is one.
pub(super) fn replace_filter(
    program: &mut Program,
    name: &'static str,
    way: TcAttachType,
    ifindex: u32,
) -> Result<bool, KernelError> {
    let Program::SchedClassifier(program) = program else {
        return Err(programs::refused(name)(ProgramError::UnexpectedProgramType));
    };
    let mut buffer = [0; nix::libc::IF_NAMESIZE];
    let Some(device) = name_of(ifindex, &mut buffer) else {
        return Ok(false);
    };
    let failed = |error| attach_error(name, device, error);
    let link = clsact_link(device, way).map_err(|error| attach_error(name, device, error))?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // As in `attach_clsact`.
            std::mem::forget(program.take_link(id).map_err(failed)?);
            Ok(true)
        }
        // No such filter, no clsact, or no device any more.
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if [Errno::ENOENT, Errno::EINVAL, Errno::ENODEV]
                .map(|errno| Some(errno as i32))
                .contains(&error.raw_os_error()) =>
        {
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The name of a device.
pub(super) fn name_of(ifindex: u32, buffer: &mut [u8; nix::libc::IF_NAMESIZE]) -> Option<&str> {
    // SAFETY: the buffer has the IF_NAMESIZE bytes that if_indextoname(3) writes at most.
    let found = unsafe { nix::libc::if_indextoname(ifindex, buffer.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    std::ffi::CStr::from_bytes_until_nul(buffer)
        .ok()?
        .to_str()
        .ok()
}

fn clsact_link(device: &str, way: TcAttachType) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(device, way, CLSACT_PRIORITY, CLSACT_HANDLE, None)
}

/// Takes our filter off a device.
pub(super) fn remove_filter(
    name: &'static str,
    way: TcAttachType,
    device: &str,
) -> Result<(), KernelError> {
    tc::qdisc_detach_program(device, way, name).map_err(|error| attach_error(name, device, error))
}
