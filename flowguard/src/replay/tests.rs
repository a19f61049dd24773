use std::{fmt::Write as _, io::Cursor};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{flows::FlowsError, *};
use crate::{
    config::Config,
    control::api::{ActionName, Hit, Skipped},
    model::{ClassName, Totals},
    store::{Activity, Keeper, Minute, Reader, Retention, Store},
};

/// Fits whoever contacts ten servers within five minutes.
const FANOUT: &str = r#"
[[rule]]
name = "fanout"
sources = ["*"]
class = "direct"
when = [{ within = "5m", what = "destinations", at_least = 10 }]
action = "block"
for = "1h"
"#;

/// Fits whoever fails often; needs to know what came of connections.
const FAILING: &str = r#"
[[rule]]
name = "failing"
sources = ["*"]
class = "direct"
when = [{ within = "10m", what = "failed-ratio", at_least = 0.5, of_at_least = 4 }]
action = "block"
for = "1h"
"#;

/// Fits whoever talks to servers without TLS.
const WITHOUT_TLS: &str = r#"
[[rule]]
name = "without-tls"
sources = ["*"]
class = "direct"
when = [
    { within = "10m", what = "destinations", at_least = 5 },
    { within = "10m", what = "tls-ratio", at_most = 0.1, of_at_least = 5 },
]
action = "block"
for = "1h"
"#;

/// 2024-01-01, the beginning of an hour.
const BEGIN: i64 = 1_704_067_200;

fn config(text: &str) -> Config {
    Config::parse(text, None).unwrap()
}

fn tried(config: &Config, log: &str, format: Format) -> Result<(Vec<Hit>, Skipped), FlowsError> {
    let mut trials = [Trial::new(config)];
    let (_, skipped) = over_flows(Cursor::new(log), format, &[], &mut trials)?;
    let [trial] = trials;
    Ok((trial.into_hits(), skipped))
}

/// Connections of one source to so many servers, one a second.
fn csv(servers: u32, state: &str) -> String {
    let mut log = "ts,src,dst,dport,state,bytes_out,bytes_in,duration\n".to_owned();
    for server in 0..servers {
        let at = BEGIN + i64::from(server);
        writeln!(log, "{at}.25,192.0.2.7,198.51.100.{server},25,{state},,,").unwrap();
    }
    log
}

#[test]
fn a_table_is_read_and_the_rule_fits_when_its_limit_is_reached() {
    let (hits, skipped) = tried(&config(FANOUT), &csv(20, "established"), Format::Csv).unwrap();
    assert_eq!(skipped, Skipped::default());
    let [hit] = hits.as_slice() else {
        panic!("{hits:?}")
    };
    assert_eq!(hit.source, "addr:192.0.2.7");
    assert_eq!((&*hit.rule, hit.action), ("fanout", ActionName::Block));
    // The tenth connection is in the second that begins with the ninth.
    assert_eq!(hit.at.as_second(), BEGIN + 10);
    assert_eq!(hit.observations[0].value, 10.0);
    // Nine servers are no ten.
    let (hits, _) = tried(&config(FANOUT), &csv(9, "established"), Format::Csv).unwrap();
    assert_eq!(hits, []);
}

#[test]
fn what_a_log_does_not_say_is_not_held_against_anybody() {
    for (state, expected) in [
        ("", 0),
        ("refused", 1),
        ("timed-out", 1),
        ("established", 0),
    ] {
        let (hits, _) = tried(&config(FAILING), &csv(8, state), Format::Csv).unwrap();
        assert_eq!(hits.len(), expected, "{state}");
    }
    // What is at most so much must be known, too.
    let mute = FANOUT.replace(
        "}]",
        "}, { within = '5m', what = 'messages', at_most = 0 }]",
    );
    let (hits, _) = tried(&config(&mute), &csv(30, "established"), Format::Csv).unwrap();
    assert_eq!(hits, []);
}

#[test]
fn nobody_answered_counts_when_it_is_sure() {
    let (hits, _) = tried(&config(FAILING), &csv(8, "S0"), Format::Csv).unwrap();
    assert!(hits[0].at.as_second() >= BEGIN + 150, "{hits:?}");
}

#[test]
fn zeek_logs_are_read_with_tabs_and_as_json() {
    let mut tabs = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
                    #path\tconn\n#open\t2024-01-01-00-00-00\n\
                    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\t\
                    duration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\n\
                    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\t\
                    count\tstring\tbool\n"
        .to_owned();
    let mut json = String::new();
    // In the order of their ends, as Zeek writes them: the longest began first.
    for server in 0..12_u32 {
        let at = BEGIN + i64::from(11 - server);
        writeln!(
            tabs,
            "{at}.5\tC{server}\t2001:db8::7\t40000\t2001:db8:1::{server:x}\t25\ttcp\t-\t{server}.5\t\
             100\t-\tSF\tT"
        )
        .unwrap();
        writeln!(
            json,
            r#"{{"ts":{at}.5,"uid":"C{server}","id.orig_h":"2001:db8::7","id.orig_p":40000,"id.resp_h":"2001:db8:1::{server:x}","id.resp_p":25,"proto":"tcp","duration":{server}.5,"orig_bytes":100,"conn_state":"SF","local_orig":true}}"#
        )
        .unwrap();
    }
    let others = [
        // Not guarded, from outside, in the middle of a connection, not TCP.
        "\t192.0.2.1\t1\t198.51.100.1\t80\ttcp\t-\t-\t-\t-\tSF\tT",
        "\t192.0.2.1\t1\t198.51.100.1\t25\ttcp\t-\t-\t-\t-\tSF\tF",
        "\t192.0.2.1\t1\t198.51.100.1\t25\ttcp\t-\t-\t-\t-\tOTH\tT",
        "\t192.0.2.1\t1\t198.51.100.1\t25\tudp\t-\t-\t-\t-\tSF\tT",
    ];
    for other in others {
        writeln!(tabs, "{BEGIN}.0\tX{other}").unwrap();
    }
    tabs.push_str("#close\t2024-01-01-01-00-00\n");
    let config = config(FANOUT);
    let (hits, skipped) = tried(&config, &tabs, Format::Zeek).unwrap();
    assert_eq!(
        (skipped.other_ports, skipped.foreign, skipped.no_attempt),
        (1, 1, 2)
    );
    assert_eq!((skipped.late, skipped.broken), (0, 0));
    let (from_json, _) = tried(&config, &json, Format::Zeek).unwrap();
    assert_eq!(hits, from_json);
    let [hit] = hits.as_slice() else {
        panic!("{hits:?}")
    };
    assert_eq!(hit.source, "addr:2001:db8::/64");
    assert_eq!(hit.at.as_second(), BEGIN + 10);
}

#[test]
fn broken_and_late_lines_are_told_and_the_rest_counts() {
    let mut log = csv(12, "established");
    log.push_str("yesterday,192.0.2.7,198.51.100.1,25,,,,\n1704067200,192.0.2.7\n\u{fffd}\n");
    writeln!(log, "{},192.0.2.8,198.51.100.1,25,,,,", BEGIN + 10_000).unwrap();
    writeln!(log, "{BEGIN},192.0.2.9,198.51.100.1,25,,,,").unwrap();
    let (hits, skipped) = tried(&config(FANOUT), &log, Format::Csv).unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!((skipped.broken, skipped.late), (3, 1));
    assert_eq!(skipped.broken_lines[0].line, 14);
    assert!(
        skipped.broken_lines[0]
            .why
            .contains("`yesterday` is no time")
    );
    assert_eq!(skipped.late_lines, [18]);
}

#[test]
fn a_log_without_anything_usable_is_an_error_that_says_why() {
    let of = |log: &str, format| tried(&config(FANOUT), log, format).unwrap_err().to_string();
    assert!(of("", Format::Csv).contains("no column `ts`"));
    assert!(of("", Format::Zeek).contains("of 0 lines"));
    assert!(of("1.0\tx\n", Format::Zeek).contains("no column `ts`"));
    assert!(of("#fields\tts\tuid\n1.0\tx\n", Format::Zeek).contains("`id.orig_h`"));
    assert!(of("{\"ts\":1}\n", Format::Zeek).contains("line 1: missing field"));
    let nobody = "ts,src,dst,dport\n1,2,3,4\n";
    assert!(of(nobody, Format::Csv).contains("(line 2: `2` is no address)"));
}

#[test]
fn trusted_servers_are_relays_and_exempt_sources_are_left_alone() {
    for more in [
        "guard.trusted = ['198.51.100.0/24']",
        "exempt = [{ name = 'us', sources = ['addr:192.0.2.*'] }]",
    ] {
        let config = config(&format!("{more}\n{FANOUT}"));
        let (hits, _) = tried(&config, &csv(50, "established"), Format::Csv).unwrap();
        assert_eq!(hits, [], "{more}");
    }
}

#[test]
fn a_verdict_holds_in_the_trial_and_then_the_source_is_weighed_again() {
    let mut log = csv(60, "established");
    for server in 0..60 {
        let at = BEGIN + 7_200 + server;
        writeln!(log, "{at},192.0.2.7,198.51.100.{server},25,,,,").unwrap();
    }
    let (hits, _) = tried(&config(FANOUT), &log, Format::Csv).unwrap();
    let at: Vec<_> = hits.iter().map(|hit| hit.at.as_second() - BEGIN).collect();
    assert_eq!(at.len(), 2, "{hits:?}");
    assert!(at[0] == 10 && (7_200..7_260).contains(&at[1]), "{at:?}");
}

#[test]
fn two_policies_are_compared_source_by_source() {
    let (strict, _) = tried(&config(FANOUT), &csv(20, ""), Format::Csv).unwrap();
    let compared = compare(&strict, &[]);
    assert!(compared[0].candidate.is_some() && compared[0].against.is_none());
    assert!(compare(&strict, &strict)[0].same);
    let mut later = strict.clone();
    later[0].rule = "another".to_owned();
    assert!(!compare(&strict, &later)[0].same);
}

/// What one source does in one minute.
fn minute(number: i64, source: &str, attempts: u64, destinations: u64) -> Minute {
    Minute {
        at: BEGIN + number * 60,
        activity: vec![Activity {
            source: source.to_owned(),
            package: None,
            class: ClassName::Direct,
            totals: Totals {
                attempts,
                destinations,
                refused: destinations / 2,
                ..Totals::default()
            },
            knows_plain: true,
        }],
        heard: Vec::new(),
    }
}

/// The hits over a history of these minutes.
fn over(minutes: &[Minute], config: &Config, hours_only: bool) -> Vec<Hit> {
    hits_of(&kept(minutes, hours_only), config)
}

fn hits_of(folder: &TempDir, config: &Config) -> Vec<Hit> {
    let reader = Reader::open(&folder.path().join("state.db")).unwrap();
    let mut trials = [Trial::new(config)];
    over_history(&reader, 0, &mut trials).unwrap();
    let [trial] = trials;
    trial.into_hits()
}

/// A database with these minutes, or most of them as hours.
fn kept(minutes: &[Minute], hours_only: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let keeper = Keeper::start(Store::open(&path).unwrap().0, 1, false).unwrap();
    let retention = Retention {
        minutes: std::time::Duration::from_hours(if hours_only { 1 } else { 48 }),
        hours: std::time::Duration::from_hours(24 * 90),
        records: std::time::Duration::from_hours(24 * 90),
        max_bytes: 1 << 30,
    };
    for minute in minutes {
        let now = jiff::Timestamp::from_second(minute.at + 60).unwrap();
        keeper.note_minute(Some(minute.clone()), now, retention);
    }
    drop(keeper);
    folder
}

#[test]
fn hours_never_find_what_minutes_do_not() {
    // Twelve servers in a minute, once: a burst that an hour cannot show.
    let mut minutes: Vec<_> = (0..400).map(|n| minute(n, "user:quiet", 1, 1)).collect();
    minutes[30] = minute(30, "user:fast", 12, 12);
    let fine = over(&minutes, &config(FANOUT), false);
    assert_eq!(fine.len(), 1);
    assert_eq!(fine[0].at.as_second(), BEGIN + 31 * 60);
    assert_eq!(over(&minutes, &config(FANOUT), true), []);
    // So many that even spread evenly they are too many.
    minutes[30] = minute(30, "user:fast", 150, 150);
    assert_eq!(over(&minutes, &config(FANOUT), true).len(), 1);
}

#[test]
fn where_nobody_counted_connections_without_tls_nobody_is_found_by_them() {
    let mut minutes = [minute(0, "user:a", 9, 9), minute(20, "user:a", 9, 9)];
    for minute in &mut minutes {
        minute.activity[0].totals.plain = 9;
    }
    let config = config(WITHOUT_TLS);
    let found = |minutes: &[Minute]| -> Vec<i64> {
        let hits = over(minutes, &config, false);
        hits.iter().map(|hit| hit.at.as_second() - BEGIN).collect()
    };
    assert_eq!(found(&minutes).len(), 1);
    minutes[0].activity[0].knows_plain = false;
    let [at] = found(&minutes)[..] else {
        panic!("the second minute says enough")
    };
    assert!(at > 20 * 60, "{at}");
    minutes[1].activity[0].knows_plain = false;
    assert!(found(&minutes).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn replaying_a_history_twice_gives_the_same_findings(
        done in proptest::collection::vec((0..300_i64, 0..6_u8, 1..60_u64, 0..40_u64), 1..60),
    ) {
        let mut minutes: Vec<_> = done
            .into_iter()
            .map(|(number, source, attempts, destinations)| {
                minute(number, &format!("user:{source}"), attempts, destinations.min(attempts))
            })
            .collect();
        minutes.sort_by_key(|minute| minute.at);
        let config = config(&format!("{FANOUT}{FAILING}"));
        let history = kept(&minutes, false);
        prop_assert_eq!(hits_of(&history, &config), hits_of(&history, &config));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}", tabs in "(#fields|#separator|ts|[0-9.]{1,9}|-|\t|\n|\\{|\\}|\"|,){0,60}") {
        for log in [&text, &tabs, &format!("#fields\tts\tid.orig_h\tid.resp_h\tid.resp_p\n{tabs}")] {
            for format in [Format::Zeek, Format::Csv] {
                tried(&config(FANOUT), log, format).ok();
            }
        }
    }
}
