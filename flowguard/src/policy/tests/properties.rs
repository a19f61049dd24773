//! What holds whatever happens, with a policy that uses all there is.

use std::{net::IpAddr, sync::LazyLock};

use proptest::prelude::*;

use super::*;
use crate::{config::Config, policy::plan::Gates};

const SOURCES: usize = 4;
const ORIGIN: [u8; 4] = [192, 0, 2, 7];

/// What a source does before a tick.
#[derive(Clone, Debug)]
struct Act {
    growth: Totals,
    reply: Option<(&'static str, u8)>,
    exempt: bool,
    verdict: Option<ActionName>,
}

fn acts() -> impl Strategy<Value = Act> {
    let small = 0_u64..12;
    (
        (small.clone(), small.clone(), small.clone(), small.clone()),
        (small.clone(), small),
        proptest::option::weighted(0.3, (0_usize..REPLIES.len(), 0_u8..20)),
        0_u8..25,
    )
        .prop_map(|(counts, (messages, rejected), reply, how)| {
            let (attempts, destinations, refused, established) = counts;
            let mut growth = Totals {
                attempts,
                destinations: destinations.min(attempts),
                refused,
                established,
                messages,
                ..Totals::default()
            };
            growth.replies.never = rejected;
            Act {
                growth,
                reply: reply.map(|(text, server)| (REPLIES[text], server)),
                exempt: how == 0,
                verdict: match how {
                    1 => Some(ActionName::Block),
                    2 => Some(ActionName::NewDestinations),
                    _ => None,
                },
            }
        })
}

const REPLIES: [&str; 4] = [
    "554 blocked using zen.spamhaus.org",
    "421 unusual rate",
    "450 greylisted",
    "550 user unknown",
];

type Story = Vec<(u64, [Act; SOURCES])>;

fn stories() -> impl Strategy<Value = Story> {
    let of_all = [acts(), acts(), acts(), acts()];
    proptest::collection::vec((prop_oneof![1_u64..30, 1_u64..40_000], of_all), 1..60)
}

/// What is found, tick by tick; `order` is that of the samples, `take_part` tells who acts.
fn play(
    story: &Story,
    policy: Policy,
    order: [usize; SOURCES],
    take_part: impl Fn(usize) -> bool,
) -> (Engine, Vec<Vec<Finding>>) {
    play_from(story, policy, order, take_part, |_| one_address())
}

fn one_address() -> Option<Origin> {
    Some(IpAddr::from(ORIGIN).into())
}

/// The same, each source sending from an address of its own.
fn play_from(
    story: &Story,
    policy: Policy,
    order: [usize; SOURCES],
    take_part: impl Fn(usize) -> bool,
    sent_from: impl Fn(usize) -> Option<Origin>,
) -> (Engine, Vec<Vec<Finding>>) {
    let names = ["a", "b", "c", "d"].map(SourceName::user);
    let mut engine = Engine::new(policy);
    engine.tick(Duration::ZERO, []);
    let mut totals = [Totals::default(); SOURCES];
    let mut now = Duration::ZERO;
    let mut found = Vec::new();
    for (pause, acts) in story {
        now += secs(*pause);
        for source in 0..SOURCES {
            if !take_part(source) {
                continue;
            }
            totals[source] += acts[source].growth;
            if let Some((text, server)) = acts[source].reply {
                engine.hear(Heard {
                    source: source as u32,
                    class: ClassName::Direct,
                    server: IpAddr::from([198, 51, 100, server]),
                    text,
                    sent_from: sent_from(source),
                });
            }
        }
        let samples = order.into_iter().filter(|n| take_part(*n)).map(|n| Sample {
            source: n as u32,
            totals: totals[n],
            exempt: acts[n].exempt,
            verdict: acts[n].verdict.map(|action| Standing {
                action,
                by_hand: false,
            }),
            ..sample(&names[n], Totals::default())
        });
        let mut findings = engine.tick(now, samples);
        findings.sort_by_key(|finding| finding.source);
        found.push(findings);
    }
    (engine, found)
}

/// The shipped rules, stricter, so that small stories fulfil them.
fn strict() -> Policy {
    static STRICT: LazyLock<Policy> = LazyLock::new(stricter);
    STRICT.clone()
}

fn stricter() -> Policy {
    let mut policy = Config::embedded().unwrap().judgement;
    for rule in &mut policy.rules {
        rule.class = ClassName::Direct;
        for condition in &mut rule.when {
            condition.of_at_least = condition.of_at_least.min(3);
            if let Bound::AtLeast(limit) = &mut condition.bound
                && *limit > 1.0
            {
                *limit = (*limit / 4.0).max(1.0);
            }
        }
    }
    policy.risk.danger = 3.0;
    policy
}

/// The same, of which every rule is looked at in every tick: so many stand before them that none has a
/// gate, and none of those ever fits.
fn without_gates() -> Policy {
    let mut policy = strict();
    let never = |n| {
        rule_when(
            &format!("never {n}"),
            vec![at_least("destinations", secs(600), 1e18)],
        )
    };
    policy.rules.splice(0..0, (0..Gates::BITS).map(never));
    policy
}

const IN_ORDER: [usize; SOURCES] = [0, 1, 2, 3];

proptest! {
    #[test]
    fn the_same_happens_every_time_in_whatever_order_sources_come(
        story in stories(),
        order in Just(IN_ORDER.to_vec()).prop_shuffle(),
    ) {
        let (first, found) = play(&story, strict(), IN_ORDER, |_| true);
        let order = [order[0], order[1], order[2], order[3]];
        let (second, again) = play(&story, strict(), order, |_| true);
        prop_assert_eq!(found, again);
        prop_assert_eq!(first.conduct(), second.conduct());
    }

    #[test]
    fn rules_that_are_shut_would_have_found_nobody(story in stories()) {
        let (_, found) = play(&story, strict(), IN_ORDER, |_| true);
        let (_, looked_at) = play(&story, without_gates(), IN_ORDER, |_| true);
        prop_assert_eq!(found, looked_at);
    }

    #[test]
    fn nobody_is_found_without_having_done_it(story in stories()) {
        let policy = strict();
        let (_, found) = play(&story, policy.clone(), IN_ORDER, |_| true);
        for ((_, acts), findings) in story.iter().zip(&found) {
            for finding in findings {
                let act = &acts[finding.source as usize];
                prop_assert!(!act.exempt);
                prop_assert!(act.verdict.is_none_or(|verdict| verdict == ActionName::NewDestinations));
                // Something was done just now, and every condition holds of what is on record.
                prop_assert!(act.growth != Totals::default() || act.reply.is_some());
                let rule = policy.rules.iter().find(|rule| rule.name == finding.rule).unwrap();
                let asked = rule.when.iter().filter(|condition| !condition.what.is_likelihood());
                prop_assert_eq!(asked.clone().count(), finding.observations.len());
                for (condition, seen) in asked.zip(&finding.observations) {
                    let holds = match condition.bound {
                        Bound::AtLeast(limit) => seen.value >= limit,
                        Bound::AtMost(limit) => seen.value <= limit,
                    };
                    prop_assert!(holds, "{finding:?}");
                    prop_assert!(seen.of.is_none_or(|of| of >= condition.of_at_least));
                }
                if rule.when.iter().any(|condition| condition.what.is_likelihood()) {
                    let likelihood = finding.likelihood.unwrap();
                    prop_assert!(likelihood.log_ratio >= likelihood.limit && likelihood.bad > 0);
                }
            }
        }
    }

    #[test]
    fn whoever_is_exempt_is_never_found(story in stories()) {
        let exempt: Story = story
            .into_iter()
            .map(|(pause, acts)| (pause, acts.map(|act| Act { exempt: true, ..act })))
            .collect();
        let (engine, found) = play(&exempt, strict(), IN_ORDER, |_| true);
        prop_assert!(found.iter().all(Vec::is_empty));
        prop_assert_eq!(engine.conduct(), []);
    }

    #[test]
    fn whoever_falls_silent_is_released_and_forgiven(story in stories()) {
        let quiet = Act {
            growth: Totals::default(),
            reply: None,
            exempt: false,
            verdict: None,
        };
        let mut longer = story.clone();
        // A verdict lasts a week at most, and then one offence a day is forgiven.
        let days = 8 + story.len() as u64;
        longer.extend((0..days).map(|_| (86_400, [(); SOURCES].map(|()| quiet.clone()))));
        let (engine, found) = play(&longer, strict(), IN_ORDER, |_| true);
        prop_assert!(found[story.len()..].iter().all(Vec::is_empty));
        prop_assert_eq!(engine.conduct(), []);
        prop_assert_eq!(engine.active(), 0);
    }

    #[test]
    fn others_change_nothing_but_how_soon_the_guilty_climb(story in stories()) {
        let (_, together) = play(&story, strict(), IN_ORDER, |_| true);
        let (_, alone) = play(&story, strict(), IN_ORDER, |source| source == 0);
        // Without risk, all that the others do makes no difference at all.
        let mut careless = strict();
        careless.risk.danger = f64::INFINITY;
        let (_, apart) = play(&story, careless.clone(), IN_ORDER, |_| true);
        let (_, single) = play(&story, careless, IN_ORDER, |source| source == 0);
        let of_first = |found: &[Vec<Finding>]| -> Vec<Vec<Finding>> {
            let first = |findings: &Vec<Finding>| {
                findings.iter().filter(|finding| finding.source == 0).cloned().collect()
            };
            found.iter().map(first).collect()
        };
        prop_assert_eq!(of_first(&apart), of_first(&single));
        // With it, whoever was told nothing by any server is treated the same.
        if story.iter().all(|(_, acts)| acts[0].reply.is_none()) {
            prop_assert_eq!(of_first(&together), of_first(&alone));
        }
    }

    #[test]
    fn complaints_about_one_address_change_nothing_for_those_who_send_from_another(
        story in stories(),
    ) {
        let other = Some(Origin::from(IpAddr::from([192, 0, 2, 8])));
        let sent_from = |source| if source < 2 { one_address() } else { other };
        let (_, all) = play_from(&story, strict(), IN_ORDER, |_| true, sent_from);
        for (first, last) in [(0, 1), (2, 3)] {
            let takes_part = |source| (first..=last).contains(&source);
            let (_, alone) = play_from(&story, strict(), IN_ORDER, takes_part, sent_from);
            for (all, alone) in all.iter().zip(alone) {
                let of_these = all.iter().filter(|finding| takes_part(finding.source as usize));
                prop_assert_eq!(of_these.cloned().collect::<Vec<_>>(), alone);
            }
        }
    }

    #[test]
    fn addresses_that_nobody_knows_are_as_one_and_so_is_a_network_of_64_bits(story in stories()) {
        let (_, one) = play(&story, strict(), IN_ORDER, |_| true);
        let (_, unknown) = play_from(&story, strict(), IN_ORDER, |_| true, |_| None);
        prop_assert_eq!(&one, &unknown);
        let (_, network) = play_from(&story, strict(), IN_ORDER, |_| true, |source| {
            Some(IpAddr::from([0x2001, 0xdb8, 0, 0, source as u16, 0, 0, 1]).into())
        });
        prop_assert_eq!(&one, &network);
    }

    #[test]
    fn the_guiltless_never_climb_sooner(story in stories()) {
        let guiltless: Story = story
            .into_iter()
            .map(|(pause, mut acts)| {
                acts[0].reply = None;
                (pause, acts)
            })
            .collect();
        let (_, together) = play(&guiltless, strict(), IN_ORDER, |_| true);
        let (_, alone) = play(&guiltless, strict(), IN_ORDER, |source| source == 0);
        for (all, single) in together.iter().zip(&alone) {
            let first: Vec<_> = all.iter().filter(|finding| finding.source == 0).collect();
            prop_assert_eq!(first, single.iter().collect::<Vec<_>>());
            prop_assert!(single.iter().all(|finding| !finding.step.sooner));
        }
    }
}
