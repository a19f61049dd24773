use std::{fs, os::unix::fs::symlink, time::Instant};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::*;

const ID: &str = "4f2a9c01b7de4f2a9c01b7de4f2a9c01b7de4f2a9c01b7de4f2a9c01b7de0000";
const LIMIT: Duration = Duration::from_millis(500);

/// Some files below a directory.
fn files(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.replace("{id}", ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const DOCKER: &str = r#"{"ID":"4f2a","Name":"/shop","State":{"Running":true},"Config":{
    "Image":"registry.example/shop:7",
    "Labels":{"com.docker.compose.project":"alice","com.docker.compose.service":"web","x":"y"}}}"#;

fn shop() -> Container {
    Container {
        name: "shop".to_owned(),
        image: Some("registry.example/shop:7".to_owned()),
        project: Some("alice".to_owned()),
        service: Some("web".to_owned()),
        pod_container: None,
    }
}

#[tokio::test]
async fn docker_keeps_names_in_its_files() {
    let dir = files(&[("containers/{id}/config.v2.json", DOCKER)]);
    let tellers = [Teller::DockerState(dir.path().to_owned())];
    let told = name_of(&tellers, ID, LIMIT).await.unwrap();
    assert_eq!(told, Some(shop()));
    let other = name_of(&tellers, "0123456789ab", LIMIT).await.unwrap();
    assert_eq!(other, None);
    for odd in ["", "../../etc", "x/y", "."] {
        assert_eq!(name_of(&tellers, odd, LIMIT).await.unwrap(), None, "{odd}");
    }
}

#[tokio::test]
async fn podman_keeps_names_in_one_list() {
    let list = format!(
        r#"[{{"id":"ff","names":["other"]}},
            {{"id":"{ID}","names":["shop"],"layer":"l","metadata":"{{\"image-name\":\"docker.io/shop:7\"}}"}}]"#
    );
    let dir = files(&[("overlay-containers/containers.json", &list)]);
    let tellers = [Teller::ContainersStorage(dir.path().to_owned())];
    let told = name_of(&tellers, ID, LIMIT).await.unwrap().unwrap();
    assert_eq!(told.name, "shop");
    assert_eq!(told.image.as_deref(), Some("docker.io/shop:7"));
}

#[tokio::test]
async fn kubernetes_pods_go_by_namespace_and_pod() {
    let containerd = r#"{"ociVersion":"1.1.0","annotations":{
        "io.kubernetes.cri.container-name":"php","io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.image-name":"registry.example/php:8",
        "io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"alice"}}"#;
    let crio = r#"{"annotations":{"io.kubernetes.container.name":"php","io.kubernetes.pod.name":"web-0",
        "io.kubernetes.pod.namespace":"alice","io.kubernetes.cri-o.ImageName":"registry.example/php:8"}}"#;
    for config in [containerd, crio] {
        let dir = files(&[("k8s.io/{id}/config.json", config)]);
        let tellers = [Teller::OciBundle(dir.path().join("k8s.io/{id}"))];
        let told = name_of(&tellers, ID, LIMIT).await.unwrap().unwrap();
        assert_eq!(told.name, "alice/web-0");
        assert_eq!(told.pod_container.as_deref(), Some("php"));
        assert_eq!(told.image.as_deref(), Some("registry.example/php:8"));
    }
    let nerdctl = r#"{"annotations":{"nerdctl/name":"shop"}}"#;
    let dir = files(&[("{id}/config.json", nerdctl)]);
    let tellers = [Teller::OciBundle(dir.path().join("{id}"))];
    let told = name_of(&tellers, ID, LIMIT).await.unwrap().unwrap();
    assert_eq!(told.name, "shop");
}

/// An engine that answers each question with this text.
fn engine(dir: &TempDir, answer: &'static str) -> Teller {
    let path = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(request.starts_with(&format!("GET /containers/{ID}/json HTTP/1.1")));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Teller::DockerSocket(path)
}

#[tokio::test]
async fn an_engine_is_asked_over_its_socket() {
    let dir = TempDir::new().unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{DOCKER}",
        DOCKER.len()
    );
    let teller = engine(&dir, answer.leak());
    // After one that does not know, and one that is not there.
    let nowhere = dir.path().join("nowhere");
    let tellers = [
        Teller::DockerState(nowhere.clone()),
        Teller::DockerSocket(nowhere),
        teller,
    ];
    assert_eq!(name_of(&tellers, ID, LIMIT).await.unwrap(), Some(shop()));
}

#[tokio::test]
async fn an_engine_that_knows_nobody_is_no_failure() {
    let dir = TempDir::new().unwrap();
    let teller = engine(&dir, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(name_of(&[teller], ID, LIMIT).await.unwrap(), None);
}

#[tokio::test]
async fn an_engine_that_is_silent_or_odd_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let silent = dir.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let begun = Instant::now();
    let limit = Duration::from_millis(50);
    let error = name_of(&[Teller::DockerSocket(silent)], ID, limit)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("silent did not answer within 50ms"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));

    let dir = TempDir::new().unwrap();
    let odd = engine(&dir, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
    let error = name_of(&[odd], ID, LIMIT).await.unwrap_err();
    assert!(
        error.to_string().contains("does not answer as expected"),
        "{error}"
    );

    let dir = files(&[("containers/{id}/config.v2.json", "{\"Name\": 7}")]);
    let broken = Teller::DockerState(dir.path().to_owned());
    assert!(name_of(&[broken], ID, LIMIT).await.is_err());
}

#[tokio::test]
async fn a_file_that_never_ends_is_not_read() {
    let dir = files(&[("containers/{id}/other", "")]);
    let config = dir.path().join(format!("containers/{ID}/config.v2.json"));
    symlink("/dev/zero", config).unwrap();
    let tellers = [Teller::DockerState(dir.path().to_owned())];
    let error = name_of(&tellers, ID, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

proptest! {
    #[test]
    fn no_name_looks_like_a_cgroup_or_is_empty(name: String) {
        if let Some(container) = named(&name) {
            prop_assert!(!container.name.is_empty() && !container.name.starts_with('/'));
        }
    }
}
