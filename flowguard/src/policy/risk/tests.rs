use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn origin(address: &str) -> Option<Origin> {
    Some(address.parse::<IpAddr>().unwrap().into())
}

const fn points(points: f64) -> Weight {
    Weight {
        reason: Reason::Words,
        points,
    }
}

fn told(
    (risks, share): (&mut Risks, &mut Share),
    sent_from: Option<Origin>,
    weight: f64,
    now: Tenths,
) {
    let settings = RiskSettings::default();
    risks.add(&settings, sent_from, points(weight), now);
    share.add(&settings, sent_from, points(weight), now);
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_origin() {
    assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
    assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
    assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    let shown = |address| origin(address).unwrap().to_string();
    assert_eq!(shown("2001:db8::ffff:1"), "2001:db8::/64");
    assert_eq!(shown("192.0.2.1"), "192.0.2.1");
}

#[test]
fn only_those_with_a_good_part_in_a_danger_feel_it() {
    let settings = RiskSettings::default();
    let (mut risks, shared) = (Risks::default(), origin("192.0.2.1"));
    let (mut worst, mut small, none) = (Share::default(), Share::default(), Share::default());
    told((&mut risks, &mut worst), shared, settings.danger - 1.0, 0);
    told((&mut risks, &mut small), shared, 0.9, 0);
    assert!(!worst.is_felt(&settings, &risks, 0));
    told((&mut risks, &mut worst), shared, 1.0, 0);
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
    told((&mut risks, &mut small), shared, 0.9, 0);
    risks.set_listed(origin("192.0.2.1").unwrap(), true);
    assert!(small.is_felt(&settings, &risks, 0));
    assert!(!Share::default().is_felt(&settings, &risks, 0));
    risks.set_listed(origin("192.0.2.1").unwrap(), false);
    assert!(!small.is_felt(&settings, &risks, 0));
}

#[test]
fn a_source_feels_the_worst_of_the_addresses_it_sends_from_and_no_other() {
    let settings = RiskSettings::default();
    let mut risks = Risks::default();
    let (mut both, mut other) = (Share::default(), Share::default());
    let (first, second) = (origin("192.0.2.1"), origin("192.0.2.2"));
    told((&mut risks, &mut both), first, settings.danger, 0);
    told((&mut risks, &mut both), second, 1.0, 0);
    told((&mut risks, &mut other), second, 1.0, 0);
    // Wherever it sent from last.
    assert!(both.is_felt(&settings, &risks, 0));
    assert!(!other.is_felt(&settings, &risks, 0));
    // What it did at one address is no part in what others did at another.
    let mut many = Share::default();
    told((&mut risks, &mut many), second, settings.danger * 9.0, 0);
    assert!(!other.is_felt(&settings, &risks, 0));
    risks.set_listed(first.unwrap(), true);
    assert!(!other.is_felt(&settings, &risks, 0));
}

#[test]
fn what_has_faded_adds_nothing_whether_it_was_forgotten_or_not() {
    let settings = RiskSettings::default();
    let address = origin("192.0.2.1");
    let later = tenths(settings.half_life) * 20;
    let risk_of = |forgets: bool| {
        let mut risks = Risks::default();
        risks.add(&settings, address, points(settings.danger), 0);
        if forgets {
            risks.forget(&settings, later);
        }
        risks.add(&settings, address, points(settings.danger / 2.0), later);
        risks.of(&settings, address, later)
    };
    assert_eq!(risk_of(true), risk_of(false));
    assert_eq!(risk_of(false).points(), settings.danger / 2.0);
}

#[test]
fn a_risk_tells_what_it_comes_from_and_how_grave_it_is() {
    let settings = RiskSettings::default();
    let mut risks = Risks::default();
    let (calm, raised, danger) = (
        origin("192.0.2.1"),
        origin("192.0.2.2"),
        origin("2001:db8::1"),
    );
    let mut add = |sent_from, meaning, times| {
        for _ in 0..times {
            if let Some(weight) = Weight::of(&settings, meaning) {
                risks.add(&settings, sent_from, weight, 0);
            }
        }
    };
    add(calm, Some(Meaning::UnknownUser), 10);
    add(raised, Some(Meaning::Listing), 6);
    add(danger, None, 10);
    add(danger, Some(Meaning::Content), 9);
    add(None, Some(Meaning::Greylist), 1_000);
    risks.set_listed(origin("192.0.2.9").unwrap(), true);
    let all = risks.all(&settings, 0);
    let told: Vec<_> = all
        .iter()
        .map(|risk| {
            let rounded = |points: f64| (points * 10.0).round() / 10.0;
            (
                risk.sent_from.map(|origin| origin.to_string()),
                rounded(risk.rejections),
                risk.words,
                risk.listing,
                risk.level,
            )
        })
        .collect();
    let address = |text: &str| Some(text.to_owned());
    assert_eq!(
        told,
        [
            (address("192.0.2.1"), 1.0, 0.0, 0.0, RiskLevel::Calm),
            (address("192.0.2.2"), 0.0, 6.0, 0.0, RiskLevel::Raised),
            (address("192.0.2.9"), 0.0, 0.0, 10.0, RiskLevel::Danger),
            (address("2001:db8::/64"), 1.0, 9.0, 0.0, RiskLevel::Danger),
        ]
    );
    // What has faded is neither told nor kept.
    let later = 20 * tenths(settings.half_life);
    risks.forget(&settings, later);
    assert_eq!(risks.replies.len(), 0);
    assert_eq!(risks.all(&settings, later).len(), 1);
}

#[test]
fn whoever_sends_from_ever_more_addresses_makes_none_in_danger_forgotten() {
    let settings = RiskSettings::default();
    let (mut risks, mut share) = (Risks::default(), Share::default());
    let bad = origin("192.0.2.1");
    told((&mut risks, &mut share), bad, settings.danger, 0);
    for number in 0..2 * ADDRESSES as u32 {
        let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number));
        told((&mut risks, &mut share), Some(address.into()), 0.1, 0);
    }
    assert_eq!(risks.replies.len(), ADDRESSES);
    assert_eq!(share.0.len(), OF_SOURCE);
    assert!(share.is_felt(&settings, &risks, 0));
}
