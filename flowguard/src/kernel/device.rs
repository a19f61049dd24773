//! One program at one device: a pinned TCX link, or a filter on clsact where there is no TCX.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::programs::{
    LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};

use super::{
    KernelError,
    attach::{attach_error, unpin},
    programs, sys,
};

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
            unpin(pin)
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
        unpin(pin)?;
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
