//! What is attached where: cgroup links once, devices as they come and go.

use std::{collections::BTreeMap, fs::File, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf, TestRun as _,
    programs::{CgroupAttachMode, Program, ProgramError, TestRunOptions, links::FdLink},
};
use flowguard_common::{
    flow::{FLOWS_PER_DEVICE, FLOWS_PER_SWEEP},
    names::{PROG_GATEWAY, PROG_SWEEP},
};

use super::{
    KernelError, Pins,
    device::{self, EdgeMethod},
    link,
    netdev::XdpMode,
    pins::unpin,
    programs::{self, Hook, Role, Site},
    steps::{Step, reached},
    sys,
};
use crate::identity::cgroup::cgroup_id;

mod exchange;

/// Links coexist with others by nature; the kernel refuses BPF_F_ALLOW_MULTI on them, which aya's
/// other modes would pass.
pub(super) const CGROUP_MODE: CgroupAttachMode = CgroupAttachMode::Single;

/// A device that programs are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What it is to the guard.
    pub role: Role,
    /// How its XDP program runs, if it has one.
    pub xdp: Option<XdpMode>,
    /// Whether it has all its programs, and not only those that there is no guard without.
    pub complete: bool,
}

/// The loaded programs, and what they are attached to.
#[derive(Debug)]
pub struct Hooks {
    pub(super) object: Ebpf,
    pub(super) loaded: Vec<&'static Hook>,
    method: EdgeMethod,
    pub(super) pins: Pins,
    pub(super) devices: BTreeMap<u32, Device>,
}

impl Hooks {
    pub(super) fn new(
        object: Ebpf,
        loaded: Vec<&'static Hook>,
        method: EdgeMethod,
        pins: Pins,
    ) -> Self {
        Self {
            object,
            loaded,
            method,
            pins,
            devices: BTreeMap::new(),
        }
    }

    fn at_cgroup(&self) -> impl Iterator<Item = &'static Hook> {
        let loaded = self.loaded.iter().copied();
        loaded.filter(|hook| hook.site == Site::Cgroup)
    }

    /// Attaches what belongs to the guarded cgroup, or puts it in the place of the programs that are
    /// attached.
    pub(super) fn attach_to_cgroup(&mut self, cgroup: &Path) -> Result<(), KernelError> {
        let hooks: Vec<_> = self.at_cgroup().collect();
        for hook in hooks {
            let program = programs::program(&mut self.object, hook.program)?;
            to_cgroup(program, hook.program, cgroup, &self.pins)?;
            reached(Step::CgroupAttached)?;
        }
        Ok(())
    }

    /// How programs are attached to devices on this host.
    pub fn method(&self) -> EdgeMethod {
        self.method
    }

    /// The devices that are attached, by interface index.
    pub fn devices(&self) -> &BTreeMap<u32, Device> {
        &self.devices
    }

    /// What is attached, as `status` lists it: programs at the cgroup, then each device that has all
    /// its programs under its role.
    pub fn names(&self) -> Vec<String> {
        let mut devices: Vec<_> = self
            .devices
            .values()
            .filter(|device| device.complete)
            .map(
                |Device {
                     name, role, xdp, ..
                 }| match xdp {
                    Some(mode) => format!("{} {name} ({})", role.name(), mode.name()),
                    None => format!("{} {name}", role.name()),
                },
            )
            .collect();
        devices.sort();
        self.at_cgroup()
            .map(|hook| hook.program.to_owned())
            .chain(devices)
            .collect()
    }

    /// Whether everything that is attached to the cgroup is still pinned.
    pub fn are_in_place(&self) -> bool {
        self.at_cgroup()
            .all(|hook| self.pins.link(hook.program).exists())
    }

    /// Attaches those of a device's programs that there is no guard without. The kernel takes
    /// milliseconds over each: where many devices appear at once, none is to wait for what is not
    /// urgent.
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel refuses.
    pub fn attach_required(
        &mut self,
        ifindex: u32,
        name: &str,
        role: Role,
    ) -> Result<(), KernelError> {
        self.attach_some(ifindex, name, role, false)
    }

    /// Attaches a device's programs, or puts them in the place of older ones.
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel refuses.
    pub fn attach(&mut self, ifindex: u32, name: &str, role: Role) -> Result<(), KernelError> {
        self.attach_some(ifindex, name, role, true)
    }

    fn attach_some(
        &mut self,
        ifindex: u32,
        name: &str,
        role: Role,
        complete: bool,
    ) -> Result<(), KernelError> {
        let mut has_required = false;
        if let Some(known) = self.devices.get_mut(&ifindex)
            && known.role == role
        {
            name.clone_into(&mut known.name);
            if known.complete || !complete {
                return Ok(());
            }
            has_required = true;
        }
        for hook in self.loaded.iter().copied() {
            let Site::Device(of, way) = hook.site else {
                continue;
            };
            if of != role || (hook.required && has_required) || !(hook.required || complete) {
                continue;
            }
            let pin = self.pins.device(hook.program, ifindex);
            let program = programs::program(&mut self.object, hook.program)?;
            device::attach(program, hook.program, way, name, self.method, &pin)?;
        }
        let name = name.to_owned();
        let device = Device {
            name,
            role,
            complete,
            xdp: None,
        };
        self.devices.insert(ifindex, device);
        Ok(())
    }

    /// Settles attempts of one device that nobody answered in time.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn sweep(&mut self, slot: u32, source: u32) -> Result<(), KernelError> {
        if !self.loaded.iter().any(|hook| hook.program == PROG_SWEEP) {
            return Ok(());
        }
        let program = programs::program(&mut self.object, PROG_SWEEP)?;
        let refused = programs::refused(PROG_SWEEP);
        let Program::SchedClassifier(program) = program else {
            return Err(refused(ProgramError::UnexpectedProgramType));
        };
        for part in 0..FLOWS_PER_DEVICE / FLOWS_PER_SWEEP {
            let packet = [slot, source, part, 0].map(u32::to_ne_bytes);
            let mut options = TestRunOptions::new();
            options.data_in = Some(packet.as_flattened());
            program.test_run(options).map_err(refused)?;
        }
        Ok(())
    }

    /// Forgets a device that is gone; its links died with it.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn gone(&mut self, ifindex: u32) -> Result<(), KernelError> {
        self.devices.remove(&ifindex);
        for (hook, ..) in programs::at_devices() {
            unpin(&self.pins.device(hook.program, ifindex))?;
        }
        link::end(&self.pins.device(PROG_GATEWAY, ifindex))
    }

    /// Detaches from a device that is to be left alone from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        if let (Some(Device { name, role, .. }), EdgeMethod::Clsact) =
            (self.devices.get(&ifindex), self.method)
        {
            for (hook, of, way) in programs::at_devices() {
                if of == *role {
                    device::remove_filter(hook.program, way, name)?;
                }
            }
        }
        for (hook, ..) in programs::at_devices() {
            link::end(&self.pins.device(hook.program, ifindex))?;
        }
        self.gone(ifindex)
    }
}

/// Attaches a program to a cgroup, or puts it in the place of the one that is pinned. The change of
/// programs is atomic: every call runs the old or the new one.
fn to_cgroup(
    program: &mut Program,
    name: &'static str,
    cgroup: &Path,
    pins: &Pins,
) -> Result<(), KernelError> {
    let pin = pins.link(name);
    let target = cgroup.display().to_string();
    let failed = |error| attach_error(name, &target, error);
    if pin.exists() {
        let link = sys::obj_get(&pin).map_err(failed)?;
        let attached_to = sys::link_cgroup(link.as_fd()).map_err(failed)?;
        if attached_to == cgroup_id(cgroup).map_err(failed)? {
            let program = program.fd().map_err(programs::refused(name))?;
            return sys::link_update(link.as_fd(), program.as_fd()).map_err(failed);
        }
        // Another cgroup is to be guarded from now on, or that one was removed.
        link::end(&pin)?;
    }
    let cgroup = File::open(cgroup).map_err(failed)?;
    let link = cgroup_link(program, cgroup).map_err(|source| KernelError::Attach {
        program: name,
        target: target.clone(),
        source,
    })?;
    link.pin(&pin)
        .map_err(|error| attach_error(name, &target, error))?;
    Ok(())
}

fn cgroup_link(
    program: &mut Program,
    cgroup: File,
) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>> {
    Ok(match program {
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, CGROUP_MODE)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, CGROUP_MODE)?;
            program.take_link(id)?.try_into()?
        }
        _ => return Err(ProgramError::UnexpectedProgramType.into()),
    })
}

pub(super) fn attach_error(
    program: &'static str,
    target: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Attach {
        program,
        target: target.to_owned(),
        source: Box::new(source),
    }
}
