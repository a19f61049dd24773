//! Blast radius: how much danger a sending address is in of being blacklisted, which would hit
//! everybody who sends from it.
//!
//! Risk never makes anybody suspect. It only decides how soon somebody whom a rule fits climbs a
//! ladder, and only those who brought a good part of it about.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    clock::{Fading, Tenths, tenths},
    evidence::Origin,
    settings::RiskSettings,
    words::Meaning,
};

/// What a reply adds to the risk of the address that it was sent to.
pub(super) fn weight(settings: &RiskSettings, meaning: Option<Meaning>) -> f64 {
    match meaning {
        Some(Meaning::Greylist) => 0.0,
        Some(meaning) if meaning.is_accusation() => settings.words,
        _ => settings.rejection,
    }
}

/// The risk of all sending addresses. Those that nobody told apart count as one.
#[derive(Debug, Default)]
pub(super) struct Risks {
    by_origin: BTreeMap<Option<Origin>, Fading>,
    listed: BTreeSet<Origin>,
}

/// Below this nothing is left worth remembering.
const NEGLIGIBLE: f64 = 0.01;

impl Risks {
    pub(super) fn add(
        &mut self,
        settings: &RiskSettings,
        origin: Option<Origin>,
        weight: f64,
        now: Tenths,
    ) {
        let risk = self.by_origin.entry(origin).or_default();
        risk.set(risk.at(now, tenths(settings.half_life)) + weight, now);
    }

    pub(super) fn set_listed(&mut self, origin: Origin, listed: bool) {
        if listed {
            self.listed.insert(origin);
        } else {
            self.listed.remove(&origin);
        }
    }

    /// What sources brought about, as far as it has not faded.
    fn brought_about(&self, settings: &RiskSettings, origin: Option<Origin>, now: Tenths) -> f64 {
        let risk = self.by_origin.get(&origin).copied().unwrap_or_default();
        risk.at(now, tenths(settings.half_life))
    }

    fn is_listed(&self, origin: Option<Origin>) -> bool {
        origin.is_some_and(|origin| self.listed.contains(&origin))
    }

    /// Forgets what has faded.
    pub(super) fn forget(&mut self, settings: &RiskSettings, now: Tenths) {
        self.by_origin
            .retain(|_, risk| risk.at(now, tenths(settings.half_life)) >= NEGLIGIBLE);
    }
}

/// What one source brought about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    own: Fading,
    /// The address it was last heard of at.
    origin: Option<Origin>,
}

impl Share {
    pub(super) fn add(
        &mut self,
        settings: &RiskSettings,
        origin: Option<Origin>,
        weight: f64,
        now: Tenths,
    ) {
        self.origin = origin;
        let own = self.own.at(now, tenths(settings.half_life));
        self.own.set(own + weight, now);
    }

    /// Whether the address is in danger and this source has its good part in it.
    pub(super) fn is_felt(&self, settings: &RiskSettings, risks: &Risks, now: Tenths) -> bool {
        let own = self.own.at(now, tenths(settings.half_life));
        if own < NEGLIGIBLE {
            return false;
        }
        let mut risk = risks.brought_about(settings, self.origin, now);
        // A listing is nobody's share: it raises the risk, not what a share is measured by.
        let part = settings.share * risk;
        if risks.is_listed(self.origin) {
            risk += settings.listing;
        }
        risk >= settings.danger && own >= part
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn origin(address: &str) -> Option<Origin> {
        Some(address.parse::<IpAddr>().unwrap().into())
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_origin() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[test]
    fn only_those_with_a_good_part_in_a_danger_feel_it() {
        let settings = RiskSettings::default();
        let (mut risks, shared) = (Risks::default(), origin("192.0.2.1"));
        let (mut worst, mut small, none) = (Share::default(), Share::default(), Share::default());
        let told = |risks: &mut Risks, share: &mut Share, weight| {
            risks.add(&settings, shared, weight, 0);
            share.add(&settings, shared, weight, 0);
        };
        told(&mut risks, &mut worst, settings.danger - 1.0);
        told(&mut risks, &mut small, 0.9);
        assert!(!worst.is_felt(&settings, &risks, 0));
        told(&mut risks, &mut worst, 1.0);
        assert!(worst.is_felt(&settings, &risks, 0));
        assert!(!small.is_felt(&settings, &risks, 0));
        assert!(!none.is_felt(&settings, &risks, 0));
        // It fades.
        assert!(!worst.is_felt(&settings, &risks, tenths(settings.half_life)));
    }

    #[test]
    fn a_listing_is_danger_for_those_who_did_something() {
        let settings = RiskSettings::default();
        let (mut risks, shared) = (Risks::default(), origin("192.0.2.1"));
        let mut small = Share::default();
        risks.add(&settings, shared, 0.9, 0);
        small.add(&settings, shared, 0.9, 0);
        risks.set_listed(origin("192.0.2.1").unwrap(), true);
        assert!(small.is_felt(&settings, &risks, 0));
        assert!(!Share::default().is_felt(&settings, &risks, 0));
        risks.set_listed(origin("192.0.2.1").unwrap(), false);
        assert!(!small.is_felt(&settings, &risks, 0));
    }
}
