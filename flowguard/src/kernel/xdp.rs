//! The program at a gateway: a pinned XDP link.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::{
    programs::{Program, ProgramError, Xdp, XdpMode as AyaMode, links::FdLink},
    sys::SyscallError,
};
use nix::errno::Errno;

use super::{
    KernelError,
    attach::attach_error,
    link,
    netdev::{self, XdpMode},
    programs, sys,
};
use crate::config::GatewayMode;

/// Attaches a program to a device, or puts it in the place of an older one; how it runs there.
pub(super) fn attach(
    program: &mut Program,
    name: &'static str,
    (ifindex, device): (u32, &str),
    wanted: GatewayMode,
    pin: &Path,
) -> Result<XdpMode, KernelError> {
    let Program::Xdp(program) = program else {
        return Err(programs::refused(name)(ProgramError::UnexpectedProgramType));
    };
    let failed = |error| attach_error(name, device, error);
    if pin.exists() {
        let fd = program.fd().map_err(programs::refused(name))?;
        let updated = sys::obj_get(pin).and_then(|link| sys::link_update(link.as_fd(), fd.as_fd()));
        let mode = netdev::attached(ifindex).map_err(failed)?;
        match (updated, mode) {
            (Ok(()), Some(mode)) if suits(wanted, mode) => return Ok(mode),
            // It died with a device that had this index before, or is to run in another way: a
            // device runs one program, in one way, so the old one has to go first.
            _ => link::end(pin)?,
        }
    }
    let mut attach_in = |mode| attach_link(program, ifindex, mode).map(|link| (link, mode));
    let attached = match wanted {
        GatewayMode::Native => attach_in(XdpMode::Native),
        GatewayMode::Generic => attach_in(XdpMode::Generic),
        GatewayMode::Auto => match attach_in(XdpMode::Native) {
            Err(error) if !is_taken(&error) => {
                tracing::info!(device, %error, "no native XDP: in the kernel's network stack instead");
                attach_in(XdpMode::Generic)
            }
            native => native,
        },
    };
    let (link, mode) = attached.map_err(|error| {
        if is_taken(&error) {
            KernelError::XdpTaken {
                device: device.to_owned(),
            }
        } else {
            attach_error(name, device, error)
        }
    })?;
    link.pin(pin)
        .map_err(|error| attach_error(name, device, error))?;
    Ok(mode)
}

/// Whether a program that runs in this way may stay as it is. What `auto` once settled on stays:
/// to try again would interrupt traffic.
pub(super) fn suits(wanted: GatewayMode, mode: XdpMode) -> bool {
    match wanted {
        GatewayMode::Auto => true,
        GatewayMode::Native => mode == XdpMode::Native,
        GatewayMode::Generic => mode == XdpMode::Generic,
    }
}

fn attach_link(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let mode = match mode {
        XdpMode::Native => AyaMode::Driver,
        XdpMode::Generic => AyaMode::Skb,
    };
    let id = program.attach_to_if_index(ifindex, mode)?;
    program
        .take_link(id)?
        .try_into()
        .map_err(|error| ProgramError::IOError(io::Error::other(error)))
}

/// Whether the device has another XDP program: the kernel says EBUSY, or EEXIST if that one runs in
/// the other way (`dev_xdp_attach` in net/core/dev.c).
fn is_taken(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else {
        return false;
    };
    [Errno::EBUSY, Errno::EEXIST]
        .map(|errno| Some(errno as i32))
        .contains(&io_error.raw_os_error())
}
