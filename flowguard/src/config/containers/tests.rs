//! Which paths are containers, and which only look like one.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::config::Config;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn patterns(patterns: &[&str]) -> ContainerPatterns {
    let mut all = engine(None);
    for pattern in patterns {
        all.add(pattern).unwrap();
    }
    all
}

fn engine(called: Option<&str>) -> ContainerPatterns {
    let mut all = ContainerPatterns::default();
    all.add_engine(Engine {
        name: "engine".to_owned(),
        tellers: Vec::new(),
        called: called.map(ToOwned::to_owned),
    });
    all
}

#[test]
fn units_are_called_after_themselves() {
    let mut units = engine(Some("{name}.service"));
    units.add("/system.slice/{name}.service").unwrap();
    let found = units.matches("/system.slice/web\\x2dshop.service").unwrap();
    assert_eq!(found.display_name(), "web-shop.service");
    assert_eq!(units.matches("/system.slice/web.service/inner"), None);
}

fn shipped() -> &'static ContainerPatterns {
    static SHIPPED: LazyLock<ContainerPatterns> =
        LazyLock::new(|| Config::embedded().unwrap().containers);
    &SHIPPED
}

#[test]
fn shipped_patterns_know_the_engines() {
    let shipped = shipped();
    let short = &ID[..12];
    for (path, engine, name) in [
        ("/docker/ID", "docker", short),
        ("/system.slice/docker-ID.scope", "docker", short),
        ("/machine.slice/libpod-ID.scope", "podman", short),
        (
            "/machine.slice/machine-libpod_pod_ab12.slice/libpod-ID.scope",
            "podman",
            short,
        ),
        (
            "/system.slice/web.service/libpod-payload-ID",
            "podman",
            short,
        ),
        ("/libpod_parent/libpod-ID", "podman", short),
        ("/system.slice/nerdctl-ID.scope", "nerdctl", short),
        ("/kubepods/besteffort/pod8ac1/ID", "kubernetes", short),
        ("/kubepods/pod8ac1/ID", "kubernetes", short),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-ID.scope",
            "kubernetes",
            short,
        ),
        (
            "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope",
            "kubernetes",
            short,
        ),
        ("/lxc.payload.web", "lxc", "web"),
        ("/lxc/101", "lxc", "101"),
        ("/qemu.slice/102.scope", "proxmox-vm", "102"),
        (
            r"/machine.slice/machine-qemu\x2d7\x2dmy\x2d1\x2dvm.scope",
            "libvirt",
            "my-1-vm",
        ),
        ("/machine/qemu-7-my-vm.libvirt-qemu", "libvirt", "my-vm"),
        (
            "/machine.slice/systemd-nspawn@web-1.service",
            "systemd-nspawn",
            "web-1",
        ),
        (
            r"/machine.slice/machine-web\x2d1.scope",
            "systemd-nspawn",
            "web-1",
        ),
    ] {
        let path = path.replace("ID", ID);
        let found = shipped.matches(&path);
        let found = found
            .as_ref()
            .map(|m| (m.engine.name.as_str(), m.display_name()));
        assert_eq!(found, Some((engine, name.to_owned())), "{path}");
    }
}

#[test]
fn what_is_no_container_does_not_match() {
    let shipped = shipped();
    for path in [
        "",
        "/",
        "docker/ID",
        "/docker",
        "/docker/",
        "/docker/ID/",
        "/docker/ID/init.scope",
        "/docker//ID",
        "/docker/web",
        "/docker/ID\n",
        "/docker/IDx",
        "/lxc/..",
        "/lxc.monitor.web",
        "/system.slice/docker.service",
        "/system.slice/crio-conmon-ID.scope",
        // What a user or a container could make for itself.
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
        "/user.slice/user-1000.slice/user@1000.service/docker/ID",
        "/docker/ID/docker/ID",
        "/lxc.payload.web/docker/ID",
        "/kubepods/pod1/ID/pod2/ID",
    ] {
        let path = path.replace("ID", ID);
        assert_eq!(shipped.matches(&path), None, "{path:?}");
    }
}

#[test]
fn the_outermost_container_counts_whatever_the_order_of_patterns() {
    let patterns = patterns(&["/**/c-{name}", "/a/{name}"]);
    assert_eq!(patterns.matches("/a/c-x").unwrap().id, "x");
    assert_eq!(patterns.matches("/a/b/c-x"), None);
    assert_eq!(patterns.matches("/b/c-x").unwrap().id, "x");
    assert_eq!(patterns.matches("/b/c-x/c-y"), None);
}

#[test]
fn malformed_patterns_are_refused() {
    for bad in [
        "",
        "/",
        "docker/{id}",
        "/docker",
        "/{id}/x",
        "/{id}{name}",
        "/{id}/{name}",
        "//{id}",
        "/../{id}",
        "/a/{ID}/{id}",
        "/a}/{id}",
        "/a**/{id}",
        "/**/a/**/{id}",
        "/**",
    ] {
        let error = ContainerPatterns::default().add(bad).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{bad}` is no")));
    }
    let long = format!("/{}{{id}}", "a".repeat(MAX_PATTERN));
    assert!(ContainerPatterns::default().add(&long).is_err());
}

#[test]
fn display_names_are_readable() {
    for (id, expected) in [
        (ID, "0123456789ab"),
        ("web", "web"),
        (r"a\x2db\x", r"a-b\x"),
        (r"\x0a\xff\xg\x2é", r"\x0a\xff\xg\x2é"),
    ] {
        let id = id.to_owned();
        let engine = Engine {
            name: "engine".to_owned(),
            tellers: Vec::new(),
            called: None,
        };
        let found = ContainerMatch {
            engine: &engine,
            id,
        };
        assert_eq!(found.display_name(), expected);
    }
}

proptest! {
    #[test]
    fn nothing_below_a_container_is_one(
        root in prop::sample::select(vec![
            format!("/docker/{ID}"),
            format!("/kubepods.slice/a.slice/crio-{ID}.scope"),
            "/lxc.payload.web".to_owned(),
        ]),
        below in prop::collection::vec(
            prop_oneof![
                "[^/]{1,20}",
                Just("docker".to_owned()),
                Just("kubepods.slice".to_owned()),
                Just(ID.to_owned()),
                Just(format!("crio-{ID}.scope")),
            ],
            1..5,
        ),
    ) {
        let shipped = shipped();
        prop_assert!(shipped.matches(&root).is_some());
        prop_assert_eq!(shipped.matches(&format!("{root}/{}", below.join("/"))), None);
    }

    #[test]
    fn any_name_is_taken_whole_and_any_path_is_survived(name in "[^/]{1,40}", path in ".{0,80}") {
        let patterns = patterns(&["/t/{name}.scope"]);
        let found = patterns.matches(&format!("/t/{name}.scope")).map(|found| found.id);
        prop_assert_eq!(found, Some(name));
        if let Some(found) = shipped().matches(&path) {
            found.display_name();
        }
    }

    #[test]
    fn any_pattern_compiles_or_is_refused(pattern in r"/([*{}a-z\\.+()\[\]?^$|-]|\{id\}|\{name\}|/){0,40}") {
        // Whatever stands in a pattern besides wildcards means itself.
        let plain = pattern.replace(['*', '{', '}'], "");
        let mut patterns = engine(None);
        if patterns.add(&format!("{plain}/{{name}}")).is_ok() {
            let path = format!("{plain}/x");
            prop_assert_eq!(patterns.matches(&path).map(|found| found.id), Some("x".to_owned()));
        }
        // What is translated is always a regular expression.
        prop_assert!(engine(None).add(&pattern).is_ok()
            == translate(&pattern).is_ok());
    }
}
