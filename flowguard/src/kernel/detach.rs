//! `flowguard detach`: taking the guard off.

use std::path::Path;

use aya::maps::{HashMap, MapData};
use flowguard_common::{names::MAP_EDGES, source::Edge};

use super::{KernelError, Pins, device, programs};

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
    if let Ok(devices) = pins.open::<HashMap<MapData, u32, Edge>>(MAP_EDGES) {
        for ifindex in devices.keys().filter_map(Result::ok) {
            let mut buffer = [0; nix::libc::IF_NAMESIZE];
            let Some(name) = device_name(ifindex, &mut buffer) else {
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
    let removed = pins.remove()?;
    Ok(Detached {
        links: links.len() + filters,
        maps: removed - links.len(),
    })
}

fn device_name(ifindex: u32, buffer: &mut [u8; nix::libc::IF_NAMESIZE]) -> Option<&str> {
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
