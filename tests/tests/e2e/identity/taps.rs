//! A VM's tap belongs to the VM.

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    guard::Guard,
    lab::Lab,
    process::Job,
    users::User,
    wait::{SOON, until},
};

/// Makes the tap that it is told, or takes it, and holds it open, as QEMU does; as another user, who
/// need not be one that may open the device.
const VM: &str = "$| = 1; open my $tap, '+<', '/dev/net/tun' or die $!; \
    $( = $) = $< = $> = $ENV{VM_USER} if $ENV{VM_USER}; \
    ioctl $tap, 0x400454ca, pack 'a16 S x22', $ARGV[0], 0x1002 or die $!; print 'held'; sleep;";

/// A process that holds a tap.
fn vm(lab: &Lab, (cgroup, user): (&str, u32), tap: &str, name: &str) -> Result<Job> {
    let mut command = lab.place(cgroup)?.command("/usr/bin/perl")?;
    command.env("VM_USER", user.to_string());
    let job = Job::start(command.args(["-e", VM, "--", tap, "-name", name]))?;
    until("the tap to be held", SOON, || {
        let (said, stderr) = (job.stdout()?, job.stderr()?);
        ensure!(said == "held", "{stderr}");
        Ok(())
    })?;
    lab.host().ip(&[format!("link set {tap} up")])?;
    Ok(job)
}

#[test]
fn a_tap_is_the_vms_whose_process_holds_it() -> Result<()> {
    let lab = Lab::new()?;
    let config = Config::observe(&lab)
        .containers("machine-qemu\\x2d*\\x2d{name}.scope")
        .edges("tap*");
    let guard = Guard::start(&lab, &config)?;
    // Nobody holds one, and the other one is held by somebody who could take any name: they are
    // the interfaces' own.
    let user = User::unnamed(41)?;
    lab.host().ip(&[
        "tuntap add tap2 mode tap".to_owned(),
        "link set tap2 up".to_owned(),
        format!("tuntap add tap3 mode tap user {}", user.uid),
    ])?;
    let _users = vm(&lab, ("users", user.uid.as_raw()), "tap3", "shop")?;
    // By libvirt: what it calls itself counts for nothing beside what its manager says.
    let managed = "machine-qemu\\x2d1\\x2dshop.scope";
    let _managed = vm(&lab, (managed, 0), "tap0", "other")?;
    guard.await_identity("container:shop", "edge tap0")?;
    // By root, without any manager.
    let _plain = vm(&lab, ("qemu", 0), "tap1", "guest=blog,debug-threads=on")?;
    guard.await_identity("container:blog", "edge tap1")?;
    guard.await_identity("iface:tap2", "edge tap2")?;
    guard.await_identity("iface:tap3", "edge tap3")?;
    assert_eq!(guard.show("container:shop")?.identities.len(), 2);
    Ok(())
}
