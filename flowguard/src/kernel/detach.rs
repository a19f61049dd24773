//! `flowguard detach`: taking the guard off.

use std::path::Path;

use flowguard_common::names::MAP_EDGES;

use super::{KernelError, Pins, device, programs, raw::value_of};

/// What `flowguard detach` removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Links and filters.
    pub links: usize,
    /// Maps.
    pub maps: usize,
}

/// Removes every program, link and map of the guard pinned there, whatever its version.
///
/// # Errors
///
/// Nothing is pinned there, or something cannot be removed.
pub fn detach(pins: &Path) -> Result<Detached, KernelError> {
    let pins = Pins::new(pins);
    if !pins.dir().exists() {
        return Err(KernelError::NotAttached {
            path: pins.dir().to_path_buf(),
        });
    }
    let _lock = pins.lock()?;
    let links = pins.links()?;
    let mut filters = 0;
    // A guard of another version may keep its devices in another form; then only links are found.
    for maps in pins.generations()?.live {
        let devices = maps.raw(MAP_EDGES).map(|map| map.entries());
        for (ifindex, _) in devices.into_iter().flatten().flatten() {
            let ifindex = value_of(&ifindex);
            let mut buffer = [0; nix::libc::IF_NAMESIZE];
            let Some(name) = device::name_of(ifindex, &mut buffer) else {
                continue;
            };
            for (hook, _, way) in programs::at_devices() {
                let pinned = links
                    .iter()
                    .any(|pin| programs::device_link(pin) == Some((hook.program, ifindex)));
                if !pinned {
                    let removed = device::remove_filter(hook.program, way, name);
                    filters += usize::from(removed.is_ok());
                }
            }
        }
    }
    let (links, maps) = pins.remove()?;
    Ok(Detached {
        links: links + filters,
        maps,
    })
}
