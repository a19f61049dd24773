//! `[sending]`: which addresses mail servers see.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    check::{Checker, network},
    raw::RawSending,
};
use crate::identity::sending::Translations;

/// Networks that can be told; they are looked through for every reply that says no.
const MAX: usize = 1_024;

pub(super) fn sending(raw: &RawSending, check: &mut Checker<'_>) -> Option<Translations> {
    const KEY: &str = "sending.translated";
    let list = raw.translated.get_ref();
    if list.len() > MAX {
        let message = format!("{} networks are too many: write up to {MAX}", list.len());
        check.note(KEY, &raw.translated, message);
    }
    let mut seen = HashSet::new();
    let told: Vec<_> = list
        .iter()
        .filter_map(|raw| {
            let key = format!("{KEY}.from");
            let from = check.accept(&key, &raw.from, translated(raw.from.get_ref()));
            let to = to(raw.to.get_ref());
            let to = check.accept(&format!("{KEY}.to"), &raw.to, to);
            let (from, to) = (from?, to?);
            let is_new = seen.insert(from);
            let result = match (is_new, from.addr().is_ipv4() == to.is_ipv4()) {
                (false, _) => Err(format!(
                    "`{from}` is here twice: servers see one address of it"
                )),
                (_, false) => Err(format!(
                    "`{from}` and `{to}` are not of one family: IPv4 becomes IPv4, and IPv6 IPv6"
                )),
                (true, true) => Ok((from, to)),
            };
            check.accept(&key, &raw.from, result)
        })
        .collect();
    Some(Translations::new(told))
}

fn translated(text: &str) -> Result<IpNet, String> {
    let from = network(text)?;
    match from.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(format!(
            "`{text}` is IPv4 in IPv6 form: write it as IPv4, like 172.17.0.0/16"
        )),
        _ => Ok(from),
    }
}

fn to(text: &str) -> Result<IpAddr, String> {
    let to: IpAddr = text.parse().map_err(|_| {
        format!("`{text}` is no address: write the one that mail servers see, like 192.0.2.7")
    })?;
    if to != to.to_canonical() {
        let v4 = to.to_canonical();
        return Err(format!("`{text}` is IPv4 in IPv6 form: write {v4}"));
    }
    if to.is_unspecified() || to.is_multicast() || to.is_loopback() {
        return Err(format!(
            "`{text}` is no address that a mail server could see: write the public one"
        ));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_address_that_servers_see_is_told_by_network() {
        let text = "[sending]\ntranslated = [\n{ from = '172.17.0.0/16', to = '192.0.2.7' },\n\
                    { from = '172.17.0.5', to = '192.0.2.8' },\n{ from = '::/0', to = '2001:db8::7' }]";
        let sending = Config::parse(text, None).unwrap().sending;
        for (client, seen) in [
            ("172.17.0.4", Some("192.0.2.7")),
            ("172.17.0.5", Some("192.0.2.8")),
            ("172.18.0.5", None),
            ("fd00::5", Some("2001:db8::7")),
        ] {
            let sent_from = sending.sent_from(client.parse().unwrap(), false);
            assert_eq!(
                sent_from,
                seen.map(|seen| seen.parse().unwrap()),
                "{client}"
            );
        }
        let nothing = Config::embedded().unwrap().sending;
        assert_eq!(nothing.sent_from([172, 17, 0, 4].into(), false), None);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (from, to, told) in [
            (
                "172.17.0.1/16",
                "192.0.2.7",
                "sending.translated.from: `172.17.0.1/16` has bits set behind its prefix: write \
                 172.17.0.0/16",
            ),
            (
                "docker0",
                "192.0.2.7",
                "sending.translated.from: `docker0` is no address or network",
            ),
            (
                "::ffff:172.17.0.0/112",
                "192.0.2.7",
                "sending.translated.from: `::ffff:172.17.0.0/112` is IPv4 in IPv6 form",
            ),
            (
                "172.17.0.0/16",
                "192.0.2.0/24",
                "sending.translated.to: `192.0.2.0/24` is no address",
            ),
            (
                "172.17.0.0/16",
                "2001:db8::7",
                "sending.translated.from: `172.17.0.0/16` and `2001:db8::7` are not of one family",
            ),
            (
                "172.17.0.0/16",
                "0.0.0.0",
                "sending.translated.to: `0.0.0.0` is no address that a mail server could see",
            ),
            (
                "172.17.0.0/16",
                "::ffff:192.0.2.7",
                "sending.translated.to: `::ffff:192.0.2.7` is IPv4 in IPv6 form: write 192.0.2.7",
            ),
            (
                "10.0.0.0/8",
                "192.0.2.7",
                "2:67: sending.translated.from: `10.0.0.0/8` is here twice",
            ),
        ] {
            let text = format!(
                "[sending]\ntranslated = [{{ from = '10.0.0.0/8', to = '192.0.2.9' }}, \
                 {{ from = '{from}', to = '{to}' }}]"
            );
            let error = Config::parse(&text, None).unwrap_err();
            assert!(error.to_string().contains(told), "{from}: {error}");
        }
        let typo = "[sending]\ntranslated = [{ form = '10.0.0.0/8', to = '192.0.2.9' }]";
        let error = Config::parse(typo, None).unwrap_err().to_string();
        assert!(error.contains("did you mean `from`?"), "{error}");
    }
}
