//! From counters that only grow to what was done within a minute. Pure.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{
    history::{Activity, MINUTE, Minute, floor},
    replies::{Heard, Said},
};
use crate::model::{ClassName, SourceName, Totals};

/// Different replies that are kept of those to one source in one class within a minute. The kernel
/// hands over few of them a second, so that more are rare.
const REPLIES: usize = 32;

/// Sources whose replies are kept within a minute.
const HEARERS: usize = 4_096;

/// Where the counters of a source stand in a class.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Source id in the kernel.
    pub id: u32,
    /// Who that is.
    pub name: &'a SourceName,
    /// Its hosting package, where that is known.
    pub package: Option<&'a str>,
    /// In which class.
    pub class: ClassName,
    /// Its counters, cumulative.
    pub totals: Totals,
}

/// What was known of a source in a class when it was last looked at.
#[derive(Debug)]
struct Known {
    name: SourceName,
    totals: Totals,
}

/// Remembers the counters of a minute ago.
///
/// What was counted before its first look is nobody knows how old, and is in no minute. So is what
/// a counter says that went backwards, and what stood under the id of a source whose name is another
/// one now.
#[derive(Debug, Default)]
pub struct Recorder {
    known: HashMap<(u32, ClassName), Known>,
    heard: BTreeMap<(String, ClassName), BTreeMap<Said, u32>>,
    /// The minute that has begun; none: never looked.
    minute: Option<i64>,
}

impl Recorder {
    /// Whether a minute is over, and the counters should be looked at.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.minute != Some(floor(now.as_second(), MINUTE))
    }

    /// Keeps what a mail server said to a source.
    pub fn hear(&mut self, source: &str, class: ClassName, said: Said) {
        let key = (source.to_owned(), class);
        if self.heard.len() >= HEARERS && !self.heard.contains_key(&key) {
            return;
        }
        let replies = self.heard.entry(key).or_default();
        if replies.len() < REPLIES || replies.contains_key(&said) {
            let count = replies.entry(said).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Takes the counters, and tells what was done since they were last taken: in the minute that
    /// had begun then. None: nothing was, or nobody knows.
    #[expect(
        single_use_lifetimes,
        reason = "an anonymous lifetime in `impl Trait` is not stable yet"
    )]
    pub fn look<'a>(
        &mut self,
        now: Timestamp,
        standings: impl IntoIterator<Item = Standing<'a>>,
    ) -> Option<Minute> {
        let begun = self.minute.replace(floor(now.as_second(), MINUTE));
        let mut activity = Vec::new();
        for standing in standings {
            let grown = self.grown(&standing, begun.is_none());
            if let Some(totals) = grown.filter(|grown| *grown != Totals::default()) {
                activity.push(Activity {
                    source: crate::kernel::offline::full_name(standing.name),
                    package: standing.package.map(str::to_owned),
                    class: standing.class,
                    totals,
                    knows_plain: true,
                });
            }
        }
        let heard: Vec<Heard> = std::mem::take(&mut self.heard)
            .into_iter()
            .flat_map(|((source, class), replies)| {
                replies.into_iter().map(move |(said, count)| Heard {
                    source: source.clone(),
                    class,
                    said,
                    count,
                })
            })
            .collect();
        let minute = Minute {
            at: begun?,
            activity,
            heard,
        };
        (!minute.activity.is_empty() || !minute.heard.is_empty()).then_some(minute)
    }

    /// Growth since the last look; none: it is not known.
    fn grown(&mut self, standing: &Standing<'_>, is_first_look: bool) -> Option<Totals> {
        let key = (standing.id, standing.class);
        let Some(known) = self.known.get_mut(&key) else {
            let known = Known {
                name: standing.name.clone(),
                totals: standing.totals,
            };
            self.known.insert(key, known);
            return (!is_first_look).then_some(standing.totals);
        };
        let before = std::mem::replace(&mut known.totals, standing.totals);
        if known.name != *standing.name {
            known.name = standing.name.clone();
            return None;
        }
        growth(&before, &standing.totals)
    }
}

/// None: a counter went backwards.
fn growth(before: &Totals, now: &Totals) -> Option<Totals> {
    let (before, mut grown) = (before.to_array(), now.to_array());
    for (grown, before) in grown.iter_mut().zip(before) {
        *grown = grown.checked_sub(before)?;
    }
    Some(Totals::from_array(grown))
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn look(recorder: &mut Recorder, second: i64, sources: &[(u32, &str, u64)]) -> Option<Minute> {
        let names: Vec<_> = sources
            .iter()
            .map(|(_, name, _)| SourceName::user(*name))
            .collect();
        let standings = sources
            .iter()
            .zip(&names)
            .map(|((id, _, attempts), name)| Standing {
                id: *id,
                name,
                package: None,
                class: ClassName::Direct,
                totals: testing::totals(*attempts),
            });
        recorder.look(Timestamp::from_second(second).unwrap(), standings)
    }

    #[test]
    fn growth_belongs_to_the_minute_that_had_begun() {
        let mut recorder = Recorder::default();
        assert_eq!(look(&mut recorder, 65, &[(1, "a", 100)]), None);
        assert!(!recorder.is_due(Timestamp::from_second(119).unwrap()));
        assert!(recorder.is_due(Timestamp::from_second(120).unwrap()));
        let seen = look(&mut recorder, 121, &[(1, "a", 103), (2, "b", 7)]).unwrap();
        assert_eq!(seen, testing::minute(60, &[("user:a", 3), ("user:b", 7)]));
        assert_eq!(
            look(&mut recorder, 181, &[(1, "a", 103), (2, "b", 7)]),
            None
        );
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut recorder = Recorder::default();
        look(&mut recorder, 0, &[(1, "a", 100), (2, "b", 100)]);
        // The guard was detached; the id went to somebody else.
        assert_eq!(look(&mut recorder, 60, &[(1, "a", 5), (2, "c", 900)]), None);
        let seen = look(&mut recorder, 120, &[(1, "a", 6), (2, "c", 902)]).unwrap();
        assert_eq!(seen, testing::minute(60, &[("user:a", 1), ("user:c", 2)]));
    }

    #[test]
    fn replies_are_counted_and_few_different_ones_are_kept() {
        let mut recorder = Recorder::default();
        look(&mut recorder, 0, &[]);
        for number in 0..100 {
            for text in ["550 no".to_owned(), format!("421 {number}")] {
                let said = Said {
                    server: [192, 0, 2, 1].into(),
                    text,
                    sent_from: None,
                };
                recorder.hear("user:a", ClassName::Direct, said);
            }
        }
        let heard = look(&mut recorder, 60, &[]).unwrap().heard;
        assert_eq!(heard.len(), REPLIES);
        let no = heard
            .iter()
            .find(|heard| heard.said.text == "550 no")
            .unwrap();
        assert_eq!(no.count, 100);
    }
}
