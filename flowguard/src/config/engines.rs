//! From `[[container]]` as it is written to patterns, and to those who tell names.

use std::collections::HashSet;

use serde_spanned::Spanned;

use super::{
    check::Checker,
    containers::{ContainerPatterns, Engine, NAME},
    raw::{RawContainer, RawTeller},
};
use crate::identity::names::Teller;

/// The placeholder that only ids fit.
const ID: &str = "{id}";

pub(super) fn containers(raw: &[RawContainer], check: &mut Checker<'_>) -> ContainerPatterns {
    let mut names = HashSet::new();
    let mut patterns = ContainerPatterns::default();
    for container in raw {
        let name = check.name("container.name", &container.name, &mut names);
        patterns.add_engine(Engine {
            name: name.unwrap_or_default(),
            tellers: tellers(container, check),
            called: called(container, check),
        });
        for path in &container.paths {
            if let Err(error) = patterns.add(path.get_ref()) {
                check.note("container.paths", path, error);
            }
        }
    }
    patterns
}

fn tellers(raw: &RawContainer, check: &mut Checker<'_>) -> Vec<Teller> {
    const KEY: &str = "container.names";
    let by_name = raw.paths.iter().find(|path| !path.get_ref().contains(ID));
    if let (Some(path), false) = (by_name, raw.names.is_empty()) {
        let message = "names are asked for by ids, and this path has no `{id}`";
        check.note("container.paths", path, message);
    }
    let mut path = |path: &Spanned<String>| check.path(KEY, path);
    let tellers: Vec<_> = raw
        .names
        .iter()
        .filter_map(|teller| match teller {
            RawTeller::DockerState(root) => path(root).map(Teller::DockerState),
            RawTeller::DockerSocket(socket) => path(socket).map(Teller::DockerSocket),
            RawTeller::ContainersStorage(root) => path(root).map(Teller::ContainersStorage),
            RawTeller::OciBundle(bundle) => path(bundle).map(Teller::OciBundle),
        })
        .collect();
    for teller in &raw.names {
        if let RawTeller::OciBundle(bundle) = teller
            && !bundle.get_ref().contains(ID)
        {
            check.note(
                KEY,
                bundle,
                "it needs `{id}` where the container's id stands",
            );
        }
    }
    tellers
}

fn called(raw: &RawContainer, check: &mut Checker<'_>) -> Option<String> {
    let called = raw.called.as_ref()?;
    let text = called.get_ref();
    if text.matches(NAME).count() != 1 || text.starts_with('/') {
        let message = "write `{name}` once, such as `{name}.service`, and no `/` before it";
        check.note("container.called", called, message);
    }
    Some(text.clone())
}

#[cfg(test)]
mod tests {
    use crate::{config::Config, identity::names::Teller};

    #[test]
    fn engines_come_with_those_who_tell_names() {
        let shipped = Config::embedded().unwrap().containers;
        let id = "0123456789ab";
        let found = shipped.matches(&format!("/docker/{id}")).unwrap();
        assert_eq!(
            found.engine.tellers,
            [
                Teller::DockerState("/var/lib/docker".into()),
                Teller::DockerSocket("/run/docker.sock".into())
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (wrong, told) in [
            (
                "paths = ['/x/{name}']\nnames = [{ docker-state = '/y' }]",
                "3:10: container.paths: names are asked for by ids",
            ),
            (
                "paths = ['/x/{id}']\nnames = [{ docker-socket = 'y' }]",
                "4:28: container.names: `y` is no absolute path",
            ),
            (
                "paths = ['/x/{id}']\nnames = [{ oci-bundle = '/y' }]",
                "4:25: container.names: it needs `{id}`",
            ),
            (
                "paths = ['/x/{id}']\nnames = [{ docker = '/y' }]",
                "unknown value `docker`",
            ),
            (
                "paths = ['/x/{name}']\ncalled = '/{name}'",
                "4:10: container.called: write `{name}` once",
            ),
        ] {
            let text = format!("[[container]]\nname = 'x'\n{wrong}");
            let error = Config::parse(&text, None).unwrap_err();
            assert!(error.to_string().contains(told), "{wrong}: {error}");
        }
    }
}
