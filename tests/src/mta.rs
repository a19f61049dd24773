//! A real mail server, Postfix, and a real mail client, swaks.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    lab::Lab,
    place::Place,
    process::{Finished, Job, run},
    users::User,
    wait::{SOON, until},
};

/// Where Postfix is spoken to, one of the addresses it listens on.
pub const ADDRESS: &str = "198.18.0.25";
/// The mailbox it delivers into.
pub const MAILBOX: &str = "inbox@flowguard.test";
/// Starting is slow on a small machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where it refuses everybody instead of greeting.
pub const REFUSES: &str = "587";
/// Services of Postfix that one delivery into a mailbox needs, none of them in a chroot; and one that
/// takes nothing.
const MASTER: &str = "
smtp      inet  n - n - - smtpd
587       inet  n - n - - smtpd -o smtpd_delay_reject=no -o smtpd_client_restrictions=reject
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
";

/// A Postfix in the world namespace; it ends with the lab's cgroup.
#[derive(Debug)]
pub struct Postfix {
    home: PathBuf,
    _master: Job,
}

impl Postfix {
    /// Starts Postfix on port 25 of all addresses, with all its files in the lab's directory.
    ///
    /// # Errors
    /// When Debian's package postfix is missing or it does not start; with its own words.
    pub fn start(lab: &Lab) -> Result<Self> {
        let home = lab.dir().join("postfix");
        let owner = User::named("postfix").context("is postfix installed?")?;
        let mailman = User::named("mail")?;
        for (folder, owner) in [
            ("etc", None),
            ("queue", None),
            ("data", Some(owner)),
            ("mail", Some(mailman)),
        ] {
            let path = home.join(folder);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            if let Some(owner) = owner {
                chown(&path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
            }
        }
        certificate(&home)?;
        fs::write(home.join("etc/main.cf"), main_cf(&home, mailman))?;
        fs::write(home.join("etc/master.cf"), MASTER)?;
        let place = Place::default()
            .netns(lab.world())
            .cgroup(&lab.cgroups().child("postfix")?);
        let mut command = place.command("/usr/sbin/postfix")?;
        command.arg("-c").arg(home.join("etc")).arg("start-fg");
        let mut master = Job::start(&mut command)?;
        let log = home.join("log");
        let started = master.ready("Postfix to start", PATIENCE, || {
            let log = fs::read_to_string(&log)?;
            ensure!(log.contains("daemon started"), "{log}");
            Ok(())
        });
        started.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self {
            home,
            _master: master,
        })
    }

    /// Its log so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.home.join("log"))?)
    }

    /// Waits until the mailbox holds so many messages, and returns them.
    ///
    /// # Errors
    /// When that does not happen; with the log.
    pub fn expect_messages(&self, count: usize) -> Result<Vec<String>> {
        let mailbox = self.home.join("mail/inbox/new");
        until(&format!("{count} delivered messages"), SOON, || {
            let messages = fs::read_dir(&mailbox)
                .with_context(|| self.log().unwrap_or_default())?
                .map(|entry| Ok(fs::read_to_string(entry?.path())?))
                .collect::<Result<Vec<_>>>()?;
            ensure!(messages.len() == count, "{}", messages.len());
            Ok(messages)
        })
    }
}

/// Sends a message to [`MAILBOX`] with swaks, from `place`. Its exit code tells what happened: 0
/// delivered, 2 no connection.
///
/// # Errors
/// When Debian's package swaks is missing or it does not end in time.
pub fn swaks(place: &Place, body: &str) -> Result<Finished> {
    swaks_to(place, MAILBOX, body, &[])
}

/// The same to any recipient, with more options. Exit code 24: the recipient was refused.
///
/// # Errors
/// As [`swaks`].
pub fn swaks_to(place: &Place, to: &str, body: &str, options: &[&str]) -> Result<Finished> {
    let mut command = place.command("/usr/bin/swaks")?;
    command
        .args(["--server", ADDRESS, "--port", "25", "--to", to])
        .args(["--from", "shop@tenant.test", "--helo", "tenant.test"])
        .args(["--body", body])
        .args(options);
    run(&mut command, PATIENCE).context("is swaks installed?")
}

/// A key and a certificate of its own, for TLS.
fn certificate(home: &Path) -> Result<()> {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=mx.flowguard.test", "-keyout"])
        .arg(home.join("etc/key.pem"))
        .arg("-out")
        .arg(home.join("etc/cert.pem"));
    run(&mut command, PATIENCE)
        .context("is openssl installed?")?
        .expect_code(0)?;
    Ok(())
}

fn main_cf(home: &Path, mailman: User) -> String {
    let home = home.display();
    let User { uid, gid } = mailman;
    format!(
        "compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
myhostname = mx.flowguard.test
mydestination =
inet_interfaces = all
inet_protocols = ipv4
alias_maps =
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {home}/etc/cert.pem
smtpd_tls_key_file = {home}/etc/key.pem
smtpd_tls_session_cache_database =
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = flowguard.test
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
"
    )
}
