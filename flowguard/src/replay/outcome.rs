//! How two policies differ.

use std::collections::BTreeMap;

use crate::{
    control::api::{Comparison, Hit, Judged},
    model::ClassName,
};

type Key<'h> = (&'h str, ClassName);

/// Whom at least one of two policies hits, by source and class.
pub fn compare(candidate: &[Hit], against: &[Hit]) -> Vec<Comparison> {
    let (ours, theirs) = (by_source(candidate), by_source(against));
    let mut keys: Vec<Key<'_>> = ours.keys().chain(theirs.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            let (ours, theirs) = (ours.get(&key), theirs.get(&key));
            Comparison {
                source: key.0.to_owned(),
                class: key.1,
                same: is_same(ours, theirs),
                candidate: ours.and_then(|hits| judged(hits)),
                against: theirs.and_then(|hits| judged(hits)),
            }
        })
        .collect()
}

fn by_source(hits: &[Hit]) -> BTreeMap<Key<'_>, Vec<&Hit>> {
    let mut sources: BTreeMap<Key<'_>, Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        sources
            .entry((&hit.source, hit.class))
            .or_default()
            .push(hit);
    }
    sources
}

/// What is done, not what it rests on, is compared.
fn is_same(ours: Option<&Vec<&Hit>>, theirs: Option<&Vec<&Hit>>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return false;
    };
    let done = |hits: &[&Hit]| -> Vec<_> {
        let done = hits.iter();
        done.map(|hit| (hit.at, hit.rule.clone(), hit.action, hit.seconds))
            .collect()
    };
    done(ours) == done(theirs)
}

fn judged(hits: &[&Hit]) -> Option<Judged> {
    let first = hits.first()?;
    Some(Judged {
        first: first.at,
        rule: first.rule.clone(),
        hits: hits.len() as u64,
        gravest: hits.iter().map(|hit| hit.action).max()?,
    })
}
