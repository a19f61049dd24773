//! The program at gateways, as the daemon attaches it.

use flowguard_common::names::PROG_GATEWAY;

use super::{
    Device, Hooks, KernelError, Role,
    programs::{self, Site},
    xdp,
};
use crate::config::GatewayMode;

impl Hooks {
    /// Attaches the program at a gateway, or puts it in the place of an older one.
    ///
    /// # Errors
    ///
    /// The device is gone, has another XDP program, or cannot run one in the way that is wanted.
    pub fn attach_gateway(
        &mut self,
        ifindex: u32,
        name: &str,
        wanted: GatewayMode,
    ) -> Result<(), KernelError> {
        if let Some(known) = self.devices.get_mut(&ifindex)
            && known.xdp.is_some_and(|mode| xdp::suits(wanted, mode))
        {
            name.clone_into(&mut known.name);
            return Ok(());
        }
        if !self.loaded.iter().any(|hook| hook.site == Site::Gateway) {
            return Err(KernelError::NoGateway);
        }
        let pin = self.pins.device(PROG_GATEWAY, ifindex);
        let program = programs::program(&mut self.object, PROG_GATEWAY)?;
        let mode = xdp::attach(program, PROG_GATEWAY, (ifindex, name), wanted, &pin)?;
        let device = Device {
            name: name.to_owned(),
            role: Role::Gateway,
            complete: true,
            xdp: Some(mode),
        };
        self.devices.insert(ifindex, device);
        tracing::info!(device = name, mode = mode.name(), "guarded as a gateway");
        Ok(())
    }
}
