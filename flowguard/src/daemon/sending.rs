//! The addresses that mail servers see, and what is told of their risk.

use std::net::IpAddr;

use super::state::State;
use crate::{control::api::SendingAddress, policy::Risk};

impl State {
    /// What a mail server sees of an address that a hook saw, if that is known.
    pub(super) fn sent_from(&self, client: IpAddr) -> Option<IpAddr> {
        let is_own = self.addresses.own.binary_search(&client).is_ok();
        self.config.sending.sent_from(client, is_own)
    }
}

/// Risks as the status has them.
pub(super) fn told(risks: Vec<Risk>) -> Vec<SendingAddress> {
    let told = |risk: Risk| SendingAddress {
        sent_from: risk.sent_from.map(|origin| origin.to_string()),
        level: risk.level,
        risk: risk.points(),
        rejections: risk.rejections,
        words: risk.words,
        listing: risk.listing,
        listed: risk.listed,
    };
    risks.into_iter().map(told).collect()
}
