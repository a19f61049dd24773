//! What `show` says about who a source is.

use crate::{
    control::api::ContainerInfo,
    identity::{mapping::Tenant, process::Details},
    model::escape,
};

/// Characters of a container's id that are shown, as engines do.
const SHORT_ID: usize = 12;

/// `docker 4f2a9c01b7de, image shop:7, compose alice/web`.
pub(super) fn container(info: &ContainerInfo) -> String {
    let container = &info.container;
    let id = info.id.get(..SHORT_ID).unwrap_or(&info.id);
    let mut text = format!("{} {}", escape(&info.engine), escape(id));
    let compose = container
        .project
        .as_ref()
        .map(|project| match &container.service {
            Some(service) => format!("{project}/{service}"),
            None => project.clone(),
        });
    for (what, value) in [
        ("container", &container.pod_container),
        ("image", &container.image),
        ("compose", &compose),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {}", escape(value)));
        }
    }
    text
}

/// `Alice Ltd, package gold, contact alice@example.com`.
pub(super) fn tenant(tenant: &Tenant) -> String {
    let mut text = escape(&tenant.customer);
    for (what, value) in [("package", &tenant.package), ("contact", &tenant.contact)] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {}", escape(value)));
        }
    }
    text
}

/// ` /usr/bin/php8.2, script /home/alice/www/x.php, started by cron`: what follows a process's name;
/// nothing, if nothing was found out.
pub(super) fn behind(details: &Details) -> String {
    let mut text = String::new();
    let mut add = |what: &str, value: Option<&String>| {
        if let Some(value) = value {
            text.push_str(if text.is_empty() { " " } else { ", " });
            text.push_str(what);
            text.push_str(&escape(value));
        }
    };
    add("", details.program.as_ref());
    add("script ", details.script.as_ref());
    add("in ", details.directory.as_ref());
    let parent = details.parent.as_ref().map(|parent| &parent.command_line);
    add("started by ", parent);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::names::Container;

    #[test]
    fn a_container_is_told_in_one_harmless_line() {
        let info = ContainerInfo {
            engine: "docker".to_owned(),
            id: "4f2a9c01b7de4f2a9c01b7de".to_owned(),
            container: Container {
                name: "shop".to_owned(),
                image: Some("shop\u{1b}[2J:7".to_owned()),
                project: Some("alice".to_owned()),
                service: Some("web".to_owned()),
                pod_container: None,
            },
        };
        assert_eq!(
            container(&info),
            "docker 4f2a9c01b7de, image shop\\u{1b}[2J:7, compose alice/web"
        );
    }
}
