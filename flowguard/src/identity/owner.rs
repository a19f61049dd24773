//! Whose an edge device is: pure.

use crate::model::SourceName;

/// The name of an interface's owner, given the cgroups of the processes at its other end.
/// `container_of` tells the name of the container that a cgroup is, if it is one.
///
/// A process belongs to the *outermost* container around it: whoever is root in a container can
/// make cgroups inside that look like containers, and must not change names by it. Processes in
/// no container (somebody who entered the namespace to look around) say nothing. If containers
/// share the namespace and none is around all of them, blaming one for another would be wrong:
/// the interface itself is the owner then, as it is if no container claims it.
pub fn edge_owner(
    ifname: &str,
    cgroups: &[String],
    container_of: impl Fn(&str) -> Option<String>,
) -> SourceName {
    let mut containers = cgroups
        .iter()
        .filter_map(|cgroup| ancestors(cgroup).find_map(&container_of));
    match containers.next() {
        Some(name) if containers.all(|other| other == name) => SourceName::container(name),
        _ => SourceName::iface(ifname),
    }
}

/// A cgroup's ancestors and itself, outermost first, without the root.
pub fn ancestors(cgroup: &str) -> impl Iterator<Item = &str> {
    let inner_slashes = cgroup.match_indices('/').map(|(at, _)| at).skip(1);
    inner_slashes
        .chain([cgroup.len()])
        .map(|end| &cgroup[..end])
        .filter(|path| path.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the patterns `/docker/*`, `/lxc.payload.*` and `*/docker/*` would do.
    fn container_of(path: &str) -> Option<String> {
        if let Some(name) = path.strip_prefix("/lxc.payload.") {
            return (!name.contains('/')).then(|| name.to_owned());
        }
        let (parent, name) = path.rsplit_once('/')?;
        parent.ends_with("/docker").then(|| name.to_owned())
    }

    fn owner(cgroups: &[&str]) -> SourceName {
        let cgroups: Vec<String> = cgroups.iter().map(ToString::to_string).collect();
        edge_owner("veth7", &cgroups, container_of)
    }

    #[test]
    fn one_container_owns_its_edge() {
        let web = SourceName::container("web");
        assert_eq!(owner(&["/docker/web"]), web);
        assert_eq!(owner(&["/docker/web/init", "/docker/web/a/b"]), web);
        assert_eq!(owner(&["/user.slice/a", "/", "/docker/web"]), web);
    }

    #[test]
    fn a_container_within_a_container_is_the_outer_ones() {
        let web = SourceName::container("web");
        assert_eq!(owner(&["/lxc.payload.web/docker/inner"]), web);
        assert_eq!(
            owner(&["/lxc.payload.web/docker/inner", "/lxc.payload.web/init"]),
            web
        );
    }

    #[test]
    fn without_one_owner_it_is_the_interface() {
        let veth = SourceName::iface("veth7");
        assert_eq!(owner(&[]), veth);
        assert_eq!(owner(&["/", "", "/system.slice/a.service"]), veth);
        assert_eq!(owner(&["/docker/one", "/docker/two"]), veth);
    }

    proptest! {
        #[test]
        fn nothing_made_inside_a_container_changes_its_name(
            inside in proptest::collection::vec("(/(docker|lxc.payload.x|[a-z]{1,3})){0,4}", 1..5)
        ) {
            let cgroups: Vec<String> = inside.iter().map(|path| format!("/docker/web{path}")).collect();
            prop_assert_eq!(
                edge_owner("veth7", &cgroups, container_of),
                SourceName::container("web")
            );
        }

        #[test]
        fn no_path_upsets_it(path in "\\PC{0,40}") {
            let own = edge_owner("veth7", &[path], |_| None);
            prop_assert_eq!(own, SourceName::iface("veth7"));
        }
    }
}
