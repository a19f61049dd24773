//! What tests wait for and check in a daemon's reports.

use anyhow::{Context as _, Result, ensure};

use crate::{
    guard::Guard,
    report::{Source, Totals},
    wait::{SOON, until},
};

impl Guard<'_> {
    /// The counters of one source in one class; zero if nobody knows it.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn totals(&self, source: &str, class: &str) -> Result<Totals> {
        Ok(totals(&self.sources()?, source, class))
    }

    /// Waits until a source has so many attempts in a class, and checks that it has no more.
    ///
    /// # Errors
    /// When they are fewer or more; with everything that was counted.
    pub fn expect_attempts(&self, source: &str, class: &str, attempts: u64) -> Result<Totals> {
        let what = format!("{attempts} {class} attempts of {source}");
        let found = until(&what, SOON, || {
            let sources = self.sources()?;
            let found = totals(&sources, source, class);
            ensure!(found.attempts >= attempts, "{sources:#?}");
            Ok(found)
        })?;
        ensure!(
            found.attempts == attempts,
            "expected {what}, got {found:?} among {:#?}",
            self.sources()
        );
        Ok(found)
    }

    /// Waits until a source's counters in a class are as they should be, all of them at once.
    ///
    /// # Errors
    /// When that does not happen in time; with what was counted instead.
    pub fn await_totals(
        &self,
        source: &str,
        class: &str,
        what: &str,
        fits: impl Fn(&Totals) -> bool,
    ) -> Result<Totals> {
        until(&format!("{source} {class}: {what}"), SOON, || {
            let found = self.totals(source, class)?;
            ensure!(fits(&found), "{found:#?}");
            Ok(found)
        })
    }

    /// Waits until an uplink is attached.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_uplink(&self, interface: &str) -> Result<()> {
        let hook = format!("uplink {interface}");
        until(&format!("the hook `{hook}`"), SOON, || {
            let hooks = self.status()?.hooks;
            ensure!(hooks.contains(&hook), "{hooks:?}");
            Ok(())
        })
    }

    /// Checks how many attempts were counted in all, over all sources and classes.
    ///
    /// # Errors
    /// When they are fewer or more.
    pub fn expect_sum(&self, attempts: u64) -> Result<()> {
        let sources = self.sources()?;
        let totals = sources.iter().flat_map(|source| source.classes.values());
        let sum: u64 = totals.map(|totals| totals.attempts).sum();
        ensure!(
            sum == attempts,
            "expected {attempts} attempts in all, got {sum}: {sources:#?}"
        );
        Ok(())
    }

    /// Waits until an edge device is attached.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_edge(&self, interface: &str) -> Result<()> {
        self.await_hook(&format!("edge {interface}"))
    }

    /// Waits until a hook is attached, by its name in `status`.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_hook(&self, hook: &str) -> Result<()> {
        until(&format!("the hook `{hook}`"), SOON, || {
            let hooks = self.status()?.hooks;
            ensure!(hooks.iter().any(|attached| attached == hook), "{hooks:?}");
            Ok(())
        })
    }

    /// Waits until an edge device is no longer attached.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_no_edge(&self, interface: &str) -> Result<()> {
        let hook = format!("edge {interface}");
        until(&format!("no hook `{hook}`"), SOON, || {
            let hooks = self.status()?.hooks;
            ensure!(!hooks.contains(&hook), "{hooks:?}");
            Ok(())
        })
    }

    /// Waits until a kernel identity, such as `edge veth0`, leads to a source.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_identity(&self, source: &str, identity: &str) -> Result<()> {
        let what = format!("`{identity}` among the identities of {source}");
        until(&what, SOON, || {
            let identities = self.show(source)?.identities;
            let found = identities.iter().any(|i| i.starts_with(identity));
            ensure!(found, "{identities:?}");
            Ok(())
        })
    }

    /// Waits until a source has an id in the kernel: only then ceilings and orders reach it.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_registered(&self, source: &str) -> Result<()> {
        until(&format!("an id for {source}"), SOON, || {
            let sources = self.sources()?;
            let found = sources.iter().find(|s| s.source == source);
            found
                .and_then(|s| s.id)
                .with_context(|| format!("{sources:?}"))
        })?;
        Ok(())
    }

    /// Waits until a source has this verdict.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_verdict(&self, source: &str, verdict: Option<&str>) -> Result<()> {
        until(&format!("verdict {verdict:?} on {source}"), SOON, || {
            let sources = self.sources()?;
            let found = sources.iter().find(|s| s.source == source);
            let found = found.with_context(|| format!("{sources:#?}"))?;
            ensure!(found.verdict.as_deref() == verdict, "{found:?}");
            Ok(())
        })
    }
}

/// The counters of one source in one class; zero if it is not in the list.
pub fn totals(sources: &[Source], source: &str, class: &str) -> Totals {
    let found = sources.iter().find(|s| s.source == source);
    let found = found.and_then(|source| source.classes.get(class));
    found.copied().unwrap_or_default()
}
