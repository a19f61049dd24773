//! Starting a virtual machine and waiting for its end.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::packages::Image;
use crate::invoke;

const QEMU: &str = "qemu-system-x86_64";
/// Memory for the file system, which is in it, and for a guard per test.
const MEMORY: &str = "4G";
const CPUS: &str = "2";
/// An emulator copies byte by byte where the processor says that `rep movsb` is fast.
const CPU: &str = "max,-erms,-fsrm";
/// The kernel switches the machine off when it fails or hangs, and keeps its own words few until then.
/// The rest is for the emulator's sake: an emulated clock is distrusted and a device read instead, each
/// time; page tables of five levels take longer to walk; memory is cleared again that the host has
/// cleared; and what a program runs at another address each time is translated each time, which takes
/// longer than to run it.
const ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 softlockup_panic=1 watchdog_thresh=60 \
                         mitigations=off tsc=reliable no5lvl init_on_alloc=0 norandmaps";
/// How often the machine is looked after.
const PAUSE: Duration = Duration::from_millis(200);

/// Boots a kernel with an initramfs. What the machine says to a person goes to `console`, what it
/// reports to `report`. Returns whether it ended by itself within `limit`.
pub(crate) fn boot(
    image: &Image,
    initramfs: &Path,
    console: &Path,
    report: &Path,
    limit: Duration,
) -> Result<bool> {
    for file in [console, report] {
        fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let port = |file: &Path| format!("file:{}", file.display());
    let mut command = Command::new(QEMU);
    command
        // Emulated, since virtual machines often cannot have others inside; one host thread per
        // processor.
        .args(["-accel", "tcg,thread=multi", "-cpu", CPU])
        .args(["-smp", CPUS, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-nic", "none"])
        .args(["-serial", &port(console), "-serial", &port(report)])
        .arg("-kernel")
        .arg(&image.vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", ARGUMENTS])
        .stdin(Stdio::null());
    let mut machine = Machine(
        command
            .spawn()
            .with_context(|| format!("cannot start {}", invoke::line(&command)))?,
    );
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if machine.0.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

/// A machine that is switched off when nobody waits for it any more.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
