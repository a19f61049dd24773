//! What came of it, as three witnesses have it: the tenants' own programs, the mail servers, and
//! flowguard.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{client::Outcome, report::Totals};

use crate::cast::Role;

/// What is known of one tenant at the end.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Who it is.
    pub(crate) role: Role,
    /// What its program says.
    pub(crate) outcome: Outcome,
    /// What flowguard says.
    pub(crate) counted: Totals,
    /// The verdict in force.
    pub(crate) verdict: Option<String>,
}

/// Checks every account, and that the servers took as many connections as got through; then
/// tells it in a paragraph.
pub(crate) fn summary(accounts: &[Account], accepted: u64) -> Result<String> {
    for account in accounts {
        account
            .check()
            .with_context(|| format!("{}: {account:?}", account.role.source()))?;
    }
    let through: u64 = accounts.iter().map(|a| a.outcome.connected).sum();
    ensure!(
        accepted == through,
        "{through} connections were made, but the mail servers took {accepted}"
    );
    let (innocent, hacked): (Vec<_>, Vec<_>) = accounts.iter().partition(|a| a.role.innocent);
    let [hacked] = &*hacked else {
        anyhow::bail!("there is one hacked site: {hacked:?}");
    };
    let denied = hacked.counted.denied;
    let others: Vec<_> = innocent
        .iter()
        .map(|a| format!("{} of {}", a.counted.attempts, a.role.name))
        .collect();
    Ok(format!(
        "Of the {} connections of {}, {} got through before it was stopped;\n\
         the {denied} after that were refused. In the same time all connections of the\n\
         other two got through, {}: 0 were refused.\n\
         The mail servers took {accepted} connections, and flowguard counted {} attempts,\n\
         {denied} of them denied: not one is missing, and not one was counted twice.",
        hacked.counted.attempts,
        hacked.role.name,
        hacked.outcome.connected,
        others.join(" and "),
        accepted + denied,
    ))
}

impl Account {
    fn check(&self) -> Result<()> {
        let Self {
            role,
            outcome,
            counted,
            verdict,
        } = self;
        // Not yet refused when it asked, but when its packet came: that shows as time passing.
        let refused = outcome.refused + outcome.not_permitted + outcome.timed_out;
        ensure!(
            outcome.connected + refused == role.count,
            "something else happened than connections made and refused"
        );
        ensure!(
            (counted.attempts, counted.denied) == (role.count, refused),
            "flowguard has other numbers than the tenant itself"
        );
        if role.innocent {
            ensure!(
                refused == 0 && verdict.is_none(),
                "it is innocent, and was not left alone"
            );
        } else {
            ensure!(
                refused > 0 && verdict.as_deref() == Some("block"),
                "it was not stopped"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::CAST;

    fn account(role: Role, refused: u64) -> Account {
        Account {
            role,
            outcome: Outcome {
                connected: role.count - refused,
                refused,
                ..Outcome::default()
            },
            counted: Totals {
                attempts: role.count,
                denied: refused,
                ..Totals::default()
            },
            verdict: (refused > 0).then(|| "block".to_owned()),
        }
    }

    fn good() -> [Account; 3] {
        let [form, newsletter, hacked] = CAST;
        [
            account(form, 0),
            account(newsletter, 0),
            account(hacked, 140),
        ]
    }

    #[test]
    fn what_went_well_is_told_in_numbers() {
        assert_eq!(
            summary(&good(), 972).unwrap(),
            "\
Of the 200 connections of hacked-site, 60 got through before it was stopped;
the 140 after that were refused. In the same time all connections of the
other two got through, 12 of contact-form and 900 of newsletter: 0 were refused.
The mail servers took 972 connections, and flowguard counted 1112 attempts,
140 of them denied: not one is missing, and not one was counted twice."
        );
    }

    #[test]
    fn an_innocent_that_was_touched_is_a_failure() {
        let [form, newsletter, hacked] = good();
        let refused = [account(form.role, 1), newsletter.clone(), hacked.clone()];
        assert!(summary(&refused, 971).is_err());
        let judged = Account {
            verdict: Some("limit".to_owned()),
            ..form
        };
        assert!(summary(&[judged, newsletter, hacked], 972).is_err());
    }

    #[test]
    fn a_hacked_site_that_was_not_stopped_is_a_failure() {
        let [form, newsletter, hacked] = good();
        let free = account(hacked.role, 0);
        assert!(summary(&[form, newsletter, free], 1_112).is_err());
    }

    #[test]
    fn numbers_that_differ_are_a_failure() {
        assert!(summary(&good(), 971).is_err());
        let [form, newsletter, mut hacked] = good();
        hacked.counted.denied += 1;
        assert!(summary(&[form, newsletter, hacked], 972).is_err());
    }
}
