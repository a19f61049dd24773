//! Names out of the files that engines keep; blocking.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Container, Inspected, NameError, Teller, named, parse};

/// Largest file that is read, bytes: a list of tens of thousands of containers.
const MAX_FILE: u64 = 64 << 20;

pub(super) fn read(teller: &Teller, id: &str) -> Result<Option<Container>, NameError> {
    match teller {
        Teller::DockerState(root) => {
            let path = root.join("containers").join(id).join("config.v2.json");
            with_file(path, Inspected::parse)
        }
        Teller::ContainersStorage(root) => {
            let path = root.join("overlay-containers/containers.json");
            with_file(path, |path, json| stored(path, json, id))
        }
        Teller::OciBundle(template) => {
            let directory = template.to_string_lossy().replace("{id}", id);
            with_file(Path::new(&directory).join("config.json"), bundle)
        }
        // Its files are where another teller looks.
        Teller::DockerSocket(_) => Ok(None),
    }
}

/// Has a file read, if it is there.
fn with_file(
    path: PathBuf,
    read: impl FnOnce(&Path, &[u8]) -> Result<Option<Container>, NameError>,
) -> Result<Option<Container>, NameError> {
    match contents(&path) {
        Ok(json) => read(&path, &json),
        // An engine that is not installed, or a container that is not its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NameError::Unreadable { path, source }),
    }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        let reason = "it is no regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut json = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut json)?;
    if json.len() as u64 > MAX_FILE {
        let reason = "it is larger than 64 MiB";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(json)
}

/// An entry of `containers.json` (containers/storage, `type Container`).
#[derive(Debug, Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON of its own, by whoever made the container.
    #[serde(default)]
    metadata: String,
}

/// What Podman and CRI-O put there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Metadata {
    image_name: Option<String>,
}

fn stored(path: &Path, json: &[u8], id: &str) -> Result<Option<Container>, NameError> {
    let all: Vec<Stored> = parse(path, json)?;
    let Some(found) = all.into_iter().find(|stored| stored.id == id) else {
        return Ok(None);
    };
    let metadata: Metadata = serde_json::from_str(&found.metadata).unwrap_or_default();
    let name = found.names.first().and_then(|name| named(name));
    Ok(name.map(|container| Container {
        image: metadata.image_name,
        ..container
    }))
}

/// What is read of an OCI bundle's `config.json`.
#[derive(Debug, Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Annotations of containerd's CRI plugin (`internal/cri/annotations`), of CRI-O (`pkg/annotations`
/// and the kubelet's labels), and of nerdctl (`pkg/labels`).
const NAMESPACE: [&str; 2] = [
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
];
const POD: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const POD_CONTAINER: [&str; 2] = [
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
];
const IMAGE: [&str; 2] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
];
const NERDCTL: &str = "nerdctl/name";

fn bundle(path: &Path, json: &[u8]) -> Result<Option<Container>, NameError> {
    let Bundle { mut annotations } = parse(path, json)?;
    let mut annotation = |keys: [&str; 2]| keys.iter().find_map(|key| annotations.remove(*key));
    let pod = annotation(NAMESPACE).zip(annotation(POD));
    let (image, pod_container) = (annotation(IMAGE), annotation(POD_CONTAINER));
    let container = match pod {
        Some((namespace, pod)) => named(&format!("{namespace}/{pod}")),
        None => annotations.get(NERDCTL).and_then(|name| named(name)),
    };
    Ok(container.map(|container| Container {
        image,
        pod_container,
        ..container
    }))
}
