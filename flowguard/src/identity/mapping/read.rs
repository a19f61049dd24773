//! Where the table comes from: a file, or what a command prints.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, User},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use super::{
    Mapping,
    table::{self, BadLine, TableError},
};
use crate::model::escape;

/// Largest table, bytes.
pub const MAX_TABLE: u64 = 32 << 20;
/// How much of what a command says to its standard error is told, bytes.
const MAX_COMPLAINT: u64 = 1_000;
/// Where a command finds others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the table of tenants comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The standard output of a program.
    Command {
        /// The program, by its path.
        program: PathBuf,
        /// Its arguments; no shell looks at them.
        arguments: Vec<String>,
        /// The user it runs as.
        user: String,
        /// How long it may take.
        timeout: Duration,
    },
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", escape(&path.to_string_lossy()))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("{} cannot be run: {source}", escape(&program.to_string_lossy()))]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such user.
    #[error("there is no user `{}` to run it as: set mapping.user", escape(user))]
    NoUser {
        /// Who.
        user: String,
    },
    /// It took too long, and was killed.
    #[error("the command did not end within {}", humantime::format_duration(*limit))]
    Late {
        /// The time there was.
        limit: Duration,
    },
    /// It failed.
    #[error("the command failed ({status}): {}", escape(complaint))]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        complaint: String,
    },
    /// The table makes no sense.
    #[error("the table makes no sense: {0}")]
    Table(#[from] TableError),
}

/// Reads the table. Beside it the first line that was left out, and how many were.
///
/// # Errors
/// There is none, or it makes no sense.
pub async fn read(origin: &Origin) -> Result<(Mapping, Option<(BadLine, usize)>), ReadError> {
    let text = match origin {
        Origin::File(path) => {
            let owned = path.clone();
            blocking(move || of_file(&owned))
                .await
                .map_err(|source| ReadError::File {
                    path: path.clone(),
                    source,
                })?
        }
        Origin::Command {
            program,
            arguments,
            user,
            timeout,
        } => run(program, arguments, user, *timeout).await?,
    };
    let parsed = blocking(move || Ok(table::parse(&text))).await;
    let broken = |source| ReadError::File {
        path: PathBuf::from("the table"),
        source,
    };
    Ok(parsed.map_err(broken)??)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    let refuse = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return refuse("it is no regular file");
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return refuse("everybody may write it, and with it give himself a package: chmod o-w");
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_TABLE + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_TABLE {
        return refuse("it is larger than 32 MiB");
    }
    Ok(text)
}

async fn run(
    program: &Path,
    arguments: &[String],
    user: &str,
    limit: Duration,
) -> Result<Vec<u8>, ReadError> {
    let broken = |source| ReadError::Run {
        program: program.to_owned(),
        source,
    };
    let name = user.to_owned();
    let account = blocking(move || User::from_name(&name).map_err(io::Error::from)).await;
    let account = account.map_err(broken)?.ok_or_else(|| ReadError::NoUser {
        user: user.to_owned(),
    })?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", &account.dir)
        .current_dir("/")
        // The supplementary groups go with it.
        .uid(account.uid.as_raw())
        .gid(account.gid.as_raw())
        // So that its children can be killed with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let group = child.id().map(|id| Pid::from_raw(id.cast_signed()));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (table, complaint) = tokio::join!(at_most(stdout, MAX_TABLE), complaint(stderr));
        let status = child.wait().await?;
        io::Result::Ok((table?, complaint?, status))
    };
    let ended = tokio::time::timeout(limit, all).await;
    if ended.is_err()
        && let Some(group) = group
    {
        // They may have ended just now.
        killpg(group, Signal::SIGKILL).ok();
    }
    let (table, complaint, status) = ended
        .map_err(|_| ReadError::Late { limit })?
        .map_err(broken)?;
    if !status.success() {
        return Err(ReadError::Failed {
            status,
            complaint: String::from_utf8_lossy(&complaint).trim().to_owned(),
        });
    }
    Ok(table)
}

/// The beginning of what is written there. Who writes more finds the pipe closed.
async fn at_most(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut read).await?;
    }
    Ok(read)
}

/// The beginning of what is written there; the rest is read and lost, as talk may be long.
async fn complaint(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let Some(mut from) = from else {
        return Ok(Vec::new());
    };
    let begun = at_most(Some(&mut from), MAX_COMPLAINT).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(line: &str, timeout: Duration) -> Origin {
        Origin::Command {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), line.to_owned()],
            user: User::from_uid(nix::unistd::geteuid())
                .unwrap()
                .unwrap()
                .name,
            timeout,
        }
    }

    #[tokio::test]
    async fn a_command_prints_the_table() {
        let origin = shell(
            "echo source,customer; echo \"user:$(id -u)$#$LD_PRELOAD,Alice\"",
            LIMIT,
        );
        let (mapping, left_out) = read(&origin).await.unwrap();
        assert_eq!((mapping.len(), left_out), (1, None));
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_words() {
        let failed = read(&shell("echo 'no \u{1b}[1mdatabase' >&2; exit 3", LIMIT)).await;
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no \\u{1b}[1mdatabase"),
            "{text}"
        );
        let missing = Origin::Command {
            program: PathBuf::from("/nowhere"),
            arguments: Vec::new(),
            user: "no-such-user-here".to_owned(),
            timeout: LIMIT,
        };
        assert!(matches!(
            read(&missing).await,
            Err(ReadError::NoUser { .. })
        ));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::TempDir::new().unwrap();
        let pid = dir.path().join("pid");
        let line = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let begun = Instant::now();
        let late = read(&shell(&line, Duration::from_secs(1))).await;
        assert!(matches!(late, Err(ReadError::Late { .. })), "{late:?}");
        assert!(begun.elapsed() < LIMIT);
        let child = fs::read_to_string(pid).unwrap();
        let deadline = Instant::now() + LIMIT;
        let state = format!("/proc/{}/stat", child.trim());
        // Dead, or a zombie that nobody has waited for.
        while fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "the child lives");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn endless_output_ends() {
        let error = read(&shell("yes source,customer", LIMIT))
            .await
            .unwrap_err();
        assert!(matches!(error, ReadError::Failed { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_everybody_may_write_is_not_believed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "source,customer\nuser:a,A\n").unwrap();
        let origin = Origin::File(file.path().to_owned());
        assert_eq!(read(&origin).await.unwrap().0.len(), 1);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        let error = read(&origin).await.unwrap_err().to_string();
        assert!(error.contains("everybody may write it"), "{error}");
        let odd = Origin::File(PathBuf::from("/dev/zero"));
        assert!(
            read(&odd)
                .await
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
    }
}
