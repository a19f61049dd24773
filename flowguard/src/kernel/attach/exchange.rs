//! When maps of another layout take over: every program has to change to them, and no other may stay.

use std::collections::BTreeSet;

use flowguard_common::{names::MAP_EDGES, source::Edge};

use super::{
    super::{
        KernelError, device,
        generation::Generation,
        link,
        programs::{self, Site},
        raw::value_of,
        steps::{Step, reached},
    },
    Hooks,
};

impl Hooks {
    /// Puts our programs in the place of those that are attached to devices, before anybody has
    /// told which devices there are.
    pub(in super::super) fn replace_at_devices(
        &mut self,
        maps: &Generation,
    ) -> Result<(), KernelError> {
        let links = self.pins.links()?;
        let devices = maps
            .raw(MAP_EDGES)?
            .entries()
            .map_err(|source| KernelError::raw(MAP_EDGES, source))?;
        for hook in self.loaded.iter().copied() {
            // At gateways there is no program without a link.
            let tc = match hook.site {
                Site::Device(role, way) => Some((role, way)),
                Site::Gateway => None,
                Site::Cgroup | Site::Daemon => continue,
            };
            let program = programs::program(&mut self.object, hook.program)?;
            let linked: BTreeSet<u32> = links
                .iter()
                .filter_map(|pin| programs::device_link(pin))
                .filter(|(program, _)| *program == hook.program)
                .map(|(_, ifindex)| ifindex)
                .collect();
            for ifindex in &linked {
                let pin = self.pins.device(hook.program, *ifindex);
                device::replace_link(program, hook.program, &pin)?;
                reached(Step::DeviceReplaced)?;
            }
            let Some((role, way)) = tc else {
                continue;
            };
            for (ifindex, device) in &devices {
                let ifindex = value_of(ifindex);
                // Programs of another role have their filter in the same place.
                if value_of::<Edge>(device).role == role.number()
                    && !linked.contains(&ifindex)
                    && device::replace_filter(program, hook.program, way, ifindex)?
                {
                    reached(Step::DeviceReplaced)?;
                }
            }
        }
        Ok(())
    }

    /// Takes off what another version attached and this one does not have.
    pub(in super::super) fn detach_strangers(&self) -> Result<(), KernelError> {
        for pin in self.pins.links()? {
            let program = programs::device_link(&pin).map_or(pin.as_str(), |(program, _)| program);
            if self.loaded.iter().any(|hook| hook.program == program) {
                continue;
            }
            link::end(&self.pins.link(&pin))?;
        }
        Ok(())
    }
}
