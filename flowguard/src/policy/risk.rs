//! Blast radius: how much danger a sending address is in of being blacklisted, which would hit
//! everybody who sends from it.
//!
//! Risk never makes anybody suspect. It only decides how soon somebody whom a rule fits climbs a
//! ladder, and only those who brought a good part of it about, at an address that is in danger.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    clock::{Fading, Tenths, tenths},
    evidence::Origin,
    settings::RiskSettings,
    words::Meaning,
};
use crate::control::api::RiskLevel;

/// Sending addresses that are remembered; beyond, the calmest is forgotten.
const ADDRESSES: usize = 4_096;

/// Sending addresses that are remembered of one source; beyond, that where it did least is
/// forgotten.
const OF_SOURCE: usize = 8;

/// Below this nothing is left worth remembering.
const NEGLIGIBLE: f64 = 0.01;

/// Below this part of what is danger an address is calm.
const CALM: f64 = 0.5;

/// Why a reply adds to a risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Rejection,
    Words,
}

/// What a reply adds to the risk of the address that was sent from; none: nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight {
    reason: Reason,
    points: f64,
}

impl Weight {
    /// Of a reply that means this.
    pub(super) fn of(settings: &RiskSettings, meaning: Option<Meaning>) -> Option<Self> {
        let (reason, points) = match meaning {
            Some(Meaning::Greylist) => return None,
            Some(meaning) if meaning.is_accusation() => (Reason::Words, settings.words),
            _ => (Reason::Rejection, settings.rejection),
        };
        (points > 0.0).then_some(Self { reason, points })
    }
}

/// The risk of one sending address, and what it comes from, in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risk {
    /// The address; none: all those that are not known together.
    pub sent_from: Option<Origin>,
    /// Of replies that said no.
    pub rejections: f64,
    /// Of providers' words for a spammer.
    pub words: f64,
    /// Of a blacklist.
    pub listing: f64,
    /// Whether it is on a blacklist.
    pub listed: bool,
    /// How grave that is.
    pub level: RiskLevel,
}

impl Risk {
    /// All of it.
    pub fn points(&self) -> f64 {
        self.brought_about() + self.listing
    }

    /// What sources brought about.
    fn brought_about(&self) -> f64 {
        self.rejections + self.words
    }
}

/// What was brought about at one address.
#[derive(Clone, Copy, Debug, Default)]
struct Replies {
    rejections: Fading,
    words: Fading,
}

impl Replies {
    fn points(self, now: Tenths, half_life: Tenths) -> f64 {
        self.rejections.at(now, half_life) + self.words.at(now, half_life)
    }

    /// Whether nothing is left worth remembering. Then it counts for nothing, forgotten or not: when
    /// it is forgotten hangs on how many sources there are.
    fn has_faded(self, now: Tenths, half_life: Tenths) -> bool {
        self.points(now, half_life) < NEGLIGIBLE
    }
}

/// The risks of all sending addresses. Those that nobody knows count as one.
#[derive(Debug, Default)]
pub(super) struct Risks {
    replies: BTreeMap<Option<Origin>, Replies>,
    listed: BTreeSet<Origin>,
}

impl Risks {
    pub(super) fn add(
        &mut self,
        settings: &RiskSettings,
        sent_from: Option<Origin>,
        weight: Weight,
        now: Tenths,
    ) {
        let half_life = tenths(settings.half_life);
        if self.replies.len() >= ADDRESSES && !self.replies.contains_key(&sent_from) {
            self.forget_the_calmest(now, half_life);
        }
        let replies = self.replies.entry(sent_from).or_default();
        if replies.has_faded(now, half_life) {
            *replies = Replies::default();
        }
        let points = match weight.reason {
            Reason::Rejection => &mut replies.rejections,
            Reason::Words => &mut replies.words,
        };
        points.add(weight.points, now, half_life);
    }

    fn forget_the_calmest(&mut self, now: Tenths, half_life: Tenths) {
        let points = |replies: &Replies| replies.points(now, half_life);
        let calmest = self
            .replies
            .iter()
            .min_by(|(_, a), (_, b)| points(a).total_cmp(&points(b)));
        if let Some(calmest) = calmest.map(|(sent_from, _)| *sent_from) {
            self.replies.remove(&calmest);
        }
    }

    pub(super) fn set_listed(&mut self, origin: Origin, listed: bool) {
        if listed {
            self.listed.insert(origin);
        } else {
            self.listed.remove(&origin);
        }
    }

    /// The risk of an address.
    fn of(&self, settings: &RiskSettings, sent_from: Option<Origin>, now: Tenths) -> Risk {
        let half_life = tenths(settings.half_life);
        let known = self.replies.get(&sent_from).copied();
        let replies = known
            .filter(|replies| !replies.has_faded(now, half_life))
            .unwrap_or_default();
        let listed = sent_from.is_some_and(|origin| self.listed.contains(&origin));
        let risk = Risk {
            sent_from,
            rejections: replies.rejections.at(now, half_life),
            words: replies.words.at(now, half_life),
            listing: if listed { settings.listing } else { 0.0 },
            listed,
            level: RiskLevel::Calm,
        };
        let level = match risk.points() {
            points if points >= settings.danger => RiskLevel::Danger,
            points if points >= CALM * settings.danger || listed => RiskLevel::Raised,
            _ => RiskLevel::Calm,
        };
        Risk { level, ..risk }
    }

    /// The risks of all addresses that anything is known of, unknown ones first, then in order.
    pub(super) fn all(&self, settings: &RiskSettings, now: Tenths) -> Vec<Risk> {
        let listed = self.listed.iter().copied().map(Some);
        let known: BTreeSet<_> = self.replies.keys().copied().chain(listed).collect();
        known
            .into_iter()
            .map(|sent_from| self.of(settings, sent_from, now))
            .filter(|risk| risk.listed || risk.points() >= NEGLIGIBLE)
            .collect()
    }

    /// Forgets what has faded.
    pub(super) fn forget(&mut self, settings: &RiskSettings, now: Tenths) {
        let half_life = tenths(settings.half_life);
        self.replies
            .retain(|_, replies| !replies.has_faded(now, half_life));
    }
}

/// What one source brought about, by the address that it sent from.
#[derive(Debug, Default)]
pub(super) struct Share(Vec<(Option<Origin>, Fading)>);

impl Share {
    pub(super) fn add(
        &mut self,
        settings: &RiskSettings,
        sent_from: Option<Origin>,
        weight: Weight,
        now: Tenths,
    ) {
        let half_life = tenths(settings.half_life);
        let known = self.0.iter_mut().find(|(origin, _)| *origin == sent_from);
        if let Some((_, own)) = known {
            own.add(weight.points, now, half_life);
            return;
        }
        self.0
            .retain(|(_, own)| own.at(now, half_life) >= NEGLIGIBLE);
        if self.0.len() >= OF_SOURCE {
            let points = |own: &Fading| own.at(now, half_life);
            let places = self.0.iter().enumerate();
            let least = places.min_by(|(_, (_, a)), (_, (_, b))| points(a).total_cmp(&points(b)));
            if let Some((place, _)) = least {
                self.0.swap_remove(place);
            }
        }
        let mut own = Fading::default();
        own.add(weight.points, now, half_life);
        self.0.push((sent_from, own));
    }

    /// Whether one of the addresses it sent from is in danger and it has its good part in that.
    pub(super) fn is_felt(&self, settings: &RiskSettings, risks: &Risks, now: Tenths) -> bool {
        let half_life = tenths(settings.half_life);
        self.0.iter().any(|(sent_from, own)| {
            let own = own.at(now, half_life);
            if own < NEGLIGIBLE {
                return false;
            }
            let risk = risks.of(settings, *sent_from, now);
            // A listing is nobody's share: it raises the risk, not what a share is measured by.
            risk.level == RiskLevel::Danger && own >= settings.share * risk.brought_about()
        })
    }
}

#[cfg(test)]
mod tests;
