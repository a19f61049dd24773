//! What the exit code says.

use std::process::ExitCode;

use super::output::OutputError;
use crate::{
    config::ConfigError,
    control::{client::ClientError, server::BindError},
    daemon::RunError,
    kernel::KernelError,
};

/// What `--help` says of exit codes.
pub(super) const HELP: &str = "Exit codes: 0 done, 1 unexpected failure, 2 bad usage or configuration, \
     3 daemon not reachable, 4 no such source, 5 privilege or kernel support missing.";

/// What was asked makes no sense, though clap could not know.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct UsageError {
    /// What was asked, and what would make sense.
    pub(super) message: String,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    NoSuchSource = 4,
    Unsupported = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The one place where errors become exit codes. The outermost cause that says anything
    /// decides.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(Self::of_cause)
            .unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return Some(match error {
                ClientError::Unreachable { .. } => Self::Unreachable,
                ClientError::PermissionDenied { .. } => Self::Unsupported,
                ClientError::NoSuchSource { .. } => Self::NoSuchSource,
                ClientError::BadRequest { .. } => Self::Usage,
                ClientError::Other { .. } => Self::Failed,
            });
        }
        if let Some(error) = cause.downcast_ref::<OutputError>() {
            return Some(match error {
                // `flowguard sources | head` has what it wanted.
                OutputError::Closed => Self::Done,
                OutputError::Failed(_) | OutputError::Json(_) => Self::Failed,
            });
        }
        if let Some(ConfigError::Read { source, .. }) = cause.downcast_ref::<ConfigError>()
            && source.kind() == std::io::ErrorKind::PermissionDenied
        {
            return Some(Self::Unsupported);
        }
        if cause.is::<ConfigError>() || cause.is::<UsageError>() {
            return Some(Self::Usage);
        }
        if let Some(error) = cause.downcast_ref::<RunError>() {
            return match error {
                RunError::Privilege(_) | RunError::Cgroup(_) => Some(Self::Unsupported),
                RunError::CgroupRoot { .. } | RunError::Bind(BindError::NotASocket { .. }) => {
                    Some(Self::Usage)
                }
                RunError::Kernel(error) => of_kernel(error),
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<KernelError>() {
            return of_kernel(error);
        }
        let io = cause.downcast_ref::<std::io::Error>();
        let denied = io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        denied.then_some(Self::Unsupported)
    }
}

/// What the kernel lacks or forbids; other failures of it are decided by what caused them.
fn of_kernel(error: &KernelError) -> Option<Exit> {
    match error {
        KernelError::NotBpfFs { .. } => Some(Exit::Usage),
        KernelError::BpfFs { .. } | KernelError::Load(_) | KernelError::Program { .. } => {
            Some(Exit::Unsupported)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_error_has_its_exit_code() {
        let message = String::new;
        let cases = [
            (
                ClientError::Unreachable {
                    socket: "/x".into(),
                    source: std::io::ErrorKind::NotFound.into(),
                },
                Exit::Unreachable,
                3,
            ),
            (
                ClientError::PermissionDenied { message: message() },
                Exit::Unsupported,
                5,
            ),
            (
                ClientError::NoSuchSource { message: message() },
                Exit::NoSuchSource,
                4,
            ),
            (
                ClientError::BadRequest { message: message() },
                Exit::Usage,
                2,
            ),
            (ClientError::Other { message: message() }, Exit::Failed, 1),
        ];
        for (error, expected, code) in cases {
            let error = Err::<(), _>(error).context("what was tried").unwrap_err();
            assert_eq!(Exit::of(&error), expected);
            assert_eq!(expected as u8, code);
        }
        assert_eq!(Exit::of(&OutputError::Closed.into()), Exit::Done);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything")), Exit::Failed);
        let config = crate::config::Config::load("/no/such/file".as_ref()).unwrap_err();
        assert_eq!(Exit::of(&config.into()), Exit::Usage);
    }
}
