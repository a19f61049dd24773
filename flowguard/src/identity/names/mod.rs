//! What container engines call their containers.
//!
//! A cgroup's path tells an engine and an id, and the id is another one after the next `docker compose
//! up`. The name is what stays, so it is what counters, verdicts and history belong to. It is asked
//! for before a container is registered: by then its engine has written it down.
//!
//! - [`state`]: the engines' own files, which answer in microseconds and while the engine is busy or
//!   down;
//! - [`socket`]: the engines' API, for whoever keeps those files elsewhere.
//!
//! Only what the engine itself decides makes a name. Labels can come from an image, so whoever
//! builds one could pose as another tenant: they are told, and identify nobody.

mod socket;
mod state;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Where names are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Docker's directory, `/var/lib/docker`: `containers/ID/config.v2.json` below it.
    DockerState(PathBuf),
    /// A socket that speaks Docker's API: Docker's own, or Podman's.
    DockerSocket(PathBuf),
    /// The storage of Podman, Buildah and CRI-O, `/var/lib/containers/storage`:
    /// `overlay-containers/containers.json` below it.
    ContainersStorage(PathBuf),
    /// The directory of an OCI bundle, with `{id}` in place of the container's id: its `config.json` has
    /// what containerd's and CRI-O's Kubernetes side and nerdctl noted down.
    OciBundle(PathBuf),
}

impl fmt::Display for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::DockerState(path)
        | Self::DockerSocket(path)
        | Self::ContainersStorage(path)
        | Self::OciBundle(path)) = self;
        write!(f, "{}", path.display())
    }
}

/// A container, as its engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The stable name; of a Kubernetes pod `NAMESPACE/POD`, whichever of its containers it is: they
    /// share one network, and are one tenant. Unescaped, like all of these.
    pub name: String,
    /// The image it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its service in that project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which container of its pod it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_container: Option<String>,
}

/// Why an engine did not tell.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// What was asked cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or socket.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("{} does not answer as expected: {reason}", path.display())]
    Unexpected {
        /// The file or socket.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// There was no answer in time.
    #[error("{} did not answer within {}", path.display(), humantime::format_duration(*limit))]
    Late {
        /// The file or socket.
        path: PathBuf,
        /// The time there was.
        limit: Duration,
    },
}

/// Asks one after the other what a container is called; none: they know no such container. Each gets
/// `limit` for its answer. `id` is in hexadecimal digits; anything else is nobody.
///
/// # Errors
/// None of them told, and one failed: the last failure.
pub async fn name_of(
    tellers: &[Teller],
    id: &str,
    limit: Duration,
) -> Result<Option<Container>, NameError> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut failure = None;
    for teller in tellers {
        let told = tokio::time::timeout(limit, ask(teller, id))
            .await
            .unwrap_or_else(|_| {
                Err(NameError::Late {
                    path: PathBuf::from(teller.to_string()),
                    limit,
                })
            });
        match told {
            Ok(Some(container)) => return Ok(Some(container)),
            Ok(None) => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(None), Err)
}

async fn ask(teller: &Teller, id: &str) -> Result<Option<Container>, NameError> {
    match teller {
        Teller::DockerSocket(socket) => socket::inspect(socket, id).await,
        Teller::DockerState(_) | Teller::ContainersStorage(_) | Teller::OciBundle(_) => {
            let (teller, id) = (teller.clone(), id.to_owned());
            let path = PathBuf::from(teller.to_string());
            // The files may be on a disk that is busy.
            tokio::task::spawn_blocking(move || state::read(&teller, &id))
                .await
                .unwrap_or_else(|error| {
                    Err(NameError::Unreadable {
                        path,
                        source: error.into(),
                    })
                })
        }
    }
}

/// What Docker's API tells of a container, and what its state file says: both have these fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    name: String,
    #[serde(default)]
    config: Configured,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Configured {
    image: Option<String>,
    labels: Option<HashMap<String, String>>,
}

/// Labels of compose projects, by Docker's and by Podman's tool.
const PROJECT: [&str; 2] = ["com.docker.compose.project", "io.podman.compose.project"];
const SERVICE: [&str; 2] = ["com.docker.compose.service", "io.podman.compose.service"];

impl Inspected {
    fn parse(path: &Path, json: &[u8]) -> Result<Option<Container>, NameError> {
        let inspected: Self = parse(path, json)?;
        let Configured { image, labels } = inspected.config;
        let mut labels = labels.unwrap_or_default();
        let mut label = |keys: [&str; 2]| keys.iter().find_map(|key| labels.remove(*key));
        Ok(named(&inspected.name).map(|container| Container {
            image,
            project: label(PROJECT),
            service: label(SERVICE),
            ..container
        }))
    }
}

/// A container of that name. Docker's names begin with a slash, and no name of ours may: it would be
/// taken for the path of a cgroup.
fn named(name: &str) -> Option<Container> {
    let name = name.trim_start_matches('/');
    (!name.is_empty()).then(|| Container {
        name: name.to_owned(),
        ..Container::default()
    })
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, json: &[u8]) -> Result<T, NameError> {
    serde_json::from_slice(json).map_err(|error| NameError::Unexpected {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
