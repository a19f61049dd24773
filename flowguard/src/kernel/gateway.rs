//! The program at gateways, as the daemon attaches it, and what `doctor` says of them.

use flowguard_common::names::PROG_GATEWAY;
use nix::net::if_::if_nameindex;

use super::{
    Device, Hooks, KernelError, Pins, Role, netdev,
    probe::check,
    programs::{self, Site},
    xdp,
};
use crate::{
    config::{Config, GatewayMode},
    control::api::{Check, CheckState},
};

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

/// One check for each interface that is a gateway by its name.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let interfaces = match if_nameindex() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            let detail = format!("this host's interfaces cannot be listed: {error}");
            return vec![check("gateway", CheckState::Missing, detail, None)];
        }
    };
    let checks: Vec<_> = interfaces
        .iter()
        .filter_map(|interface| Some((interface.index(), interface.name().to_str().ok()?)))
        .filter(|(_, name)| config.gateway.matches(name))
        .map(|(ifindex, name)| interface(config, ifindex, name))
        .collect();
    if checks.is_empty() {
        let detail = "no interface fits `[gateway] interfaces`";
        let advice = "`ip link` lists the interfaces there are";
        return vec![check("gateway", CheckState::Degraded, detail, Some(advice))];
    }
    checks
}

/// Asks, and tries nothing: attaching interrupts traffic on many network cards.
fn interface(config: &Config, ifindex: u32, name: &str) -> Check {
    let pin = Pins::new(&config.paths.pins).device(PROG_GATEWAY, ifindex);
    let about = format!("gateway {name}");
    let ask = |state, detail: String, advice| check(&about, state, detail, advice);
    match netdev::attached(ifindex) {
        Ok(Some(mode)) if pin.exists() => {
            let detail = format!("guarded, {} XDP", mode.name());
            return ask(CheckState::Ok, detail, None);
        }
        Ok(Some(_)) => {
            let advice = "stop what loaded it, or take the interface out of `[gateway] interfaces`";
            let detail = "runs another XDP program, and an interface runs one only".to_owned();
            return ask(CheckState::Missing, detail, Some(advice));
        }
        Ok(None) => {}
        Err(error) => {
            let detail = format!("cannot be asked: {error}");
            return ask(CheckState::Missing, detail, None);
        }
    }
    let native = netdev::takes_native(ifindex);
    match (native, config.gateway.mode) {
        (Ok(Some(true)), GatewayMode::Auto | GatewayMode::Native) => ask(
            CheckState::Ok,
            "its driver runs XDP natively".to_owned(),
            None,
        ),
        (_, GatewayMode::Generic) => ask(
            CheckState::Ok,
            "generic XDP, as configured".to_owned(),
            None,
        ),
        (Ok(Some(false)), GatewayMode::Auto) => ask(
            CheckState::Degraded,
            "its driver does not run XDP: generic XDP, which costs more for each packet".to_owned(),
            None,
        ),
        (Ok(Some(false)), GatewayMode::Native) => ask(
            CheckState::Missing,
            "its driver does not run XDP natively".to_owned(),
            Some("set `[gateway] mode` to \"auto\""),
        ),
        (Ok(None) | Err(_), _) => ask(
            CheckState::Degraded,
            "this kernel does not tell whether its driver runs XDP natively (Linux 6.3)".to_owned(),
            Some("start flowguard: `flowguard status` tells how it was attached"),
        ),
    }
}
