//! What every command starts from: where the configuration, the daemon and the output are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{args::Globals, output::Output, view::View};
use crate::{
    config::{self, Config},
    control::client::Client,
};

/// Where the configuration is looked for unless `--config` says otherwise.
const DEFAULT_CONFIG: &str = "/etc/flowguard/flowguard.toml";

/// The surroundings of a command.
#[derive(Debug)]
pub(super) struct Context {
    globals: Globals,
    pub(super) output: Output,
}

impl Context {
    pub(super) fn new(globals: Globals, output: Output) -> Self {
        Self { globals, output }
    }

    /// The configuration: the named file, else the file in the usual place, else the defaults.
    /// `--socket` has the last word.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let usual = Path::new(DEFAULT_CONFIG);
        let config = match &self.globals.config {
            Some(path) => Config::load(path)?,
            // What cannot be looked at is not taken for absent: loading it tells why.
            None if !matches!(usual.try_exists(), Ok(false)) => Config::load(usual)?,
            None => Config::embedded()?,
        };
        Ok(config.with_socket(self.globals.socket.as_deref()))
    }

    /// The daemon. A broken file is no reason not to reach it: it may be what has to be repaired,
    /// and the daemon runs with what it read before.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.socket()?))
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.globals.socket {
            return Ok(socket.clone());
        }
        let broken = match self.config() {
            Ok(config) => return Ok(config.paths.control_socket),
            Err(error) => error,
        };
        let named = self.globals.config.as_deref();
        let socket = match config::socket_of(named.unwrap_or(Path::new(DEFAULT_CONFIG))) {
            Some(socket) => socket,
            None if named.is_none() => Config::embedded()?.paths.control_socket,
            // Whose socket is the usual one? An order must not go to another daemon.
            None => {
                return Err(broken.context(
                    "the file does not tell where its daemon is: repair it, or say where with \
                     `--socket PATH`",
                ));
            }
        };
        self.output.note(&format!(
            "flowguard: {broken:#}\nflowguard: trying the daemon at {} all the same",
            socket.display()
        ));
        Ok(socket)
    }

    /// Waits for an answer.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> anyhow::Result<T> {
        Ok(tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot set up asynchronous input and output")?
            .block_on(future))
    }

    /// How to show things now.
    pub(super) fn view(&self) -> View {
        View::now(self.output.color)
    }
}
