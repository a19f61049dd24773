//! What is behind a connection: the process that made it, looked at while it lives; blocking.
//!
//! Everything is read through one open directory of `/proc`, which stays that of one process: an id
//! that is used again must not put the blame on somebody else. A process that was started after the
//! attempt did not make it.
//!
//! What a process says about itself (arguments, environment) is its own claim, and shown as such. Its
//! program and its folder come from the kernel.

mod script;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    sync::Arc,
};

use nix::{
    fcntl::{OFlag, openat, readlinkat},
    sys::stat::Mode,
    unistd::{SysconfVar, sysconf},
};
use serde::{Deserialize, Serialize};

/// Longest text that is kept, bytes. Longer ones are cut, with an ellipsis at the end.
const MAX_TEXT: usize = 512;
/// Most that is read of a command line or an environment, bytes.
const MAX_READ: u64 = 32 << 10;
/// Processes that are remembered. Beyond that all are forgotten, and looked at again.
const REMEMBERED: usize = 4096;

/// What was found out about a process. All of it is unescaped; what could not be read is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The program's file, as the process sees it: in a container, a path of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The command line, its words separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// The working directory: of PHP behind a web server, the folder of the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The script that an interpreter runs, where the process tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The process that started it, or adopted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// A process's parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Its command line; of one without any, its name.
    pub command_line: String,
}

/// Looks at processes, and remembers what does not change.
#[derive(Debug)]
pub struct Observer {
    known: HashMap<u32, Known>,
    /// Length of a tick of the kernel's clock for processes, nanoseconds.
    tick_ns: u64,
}

#[derive(Debug)]
struct Known {
    started: u64,
    details: Arc<Details>,
}

impl Default for Observer {
    fn default() -> Self {
        // USER_HZ, which is 100 on all architectures that Linux has left (proc_pid_stat(5)).
        let hz = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let hz = hz.and_then(|hz| u64::try_from(hz).ok()).unwrap_or(100);
        Self {
            known: HashMap::new(),
            tick_ns: 1_000_000_000 / hz.max(1),
        }
    }
}

impl Observer {
    /// What the process is that did something at this time of the boot clock; none: it is gone.
    pub fn look_at(&mut self, pid: u32, time_ns: u64) -> Option<Arc<Details>> {
        let process = File::open(format!("/proc/{pid}")).ok()?;
        let Stat { parent, started } = Stat::parse(&read(&process, "stat").ok()?)?;
        if started.checked_mul(self.tick_ns)? > time_ns {
            return None;
        }
        let directory = link(&process, "cwd");
        let known = self.known.get(&pid);
        let known = known.filter(|known| known.started == started);
        // A server's worker goes from script to script, each in its folder; and whoever runs another
        // program by now has another one.
        let program = link(&process, "exe");
        if let Some(known) = known
            && known.details.directory == directory
            && known.details.program == program
        {
            return Some(known.details.clone());
        }
        let words = words(&read(&process, "cmdline").unwrap_or_default());
        let environment = read(&process, "environ").unwrap_or_default();
        let details = Arc::new(Details {
            script: script::of(&words, &environment).map(bounded),
            program,
            command_line: sentence(&words),
            directory,
            parent: parent_of(parent),
        });
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let known = Known {
            started,
            details: details.clone(),
        };
        self.known.insert(pid, known);
        Some(details)
    }
}

/// What is needed of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// In ticks since boot.
    started: u64,
}

impl Stat {
    /// The name of the process is in brackets, and may contain some.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        // The third field is the first behind the name.
        let mut fields = rest.split_ascii_whitespace();
        let parent = fields.nth(4 - 3)?.parse().ok()?;
        let started = fields.nth(22 - 5)?.parse().ok()?;
        Some(Self { parent, started })
    }
}

fn parent_of(pid: u32) -> Option<Parent> {
    let process = File::open(format!("/proc/{pid}")).ok()?;
    let command_line = sentence(&words(&read(&process, "cmdline").ok()?));
    let name = || {
        read(&process, "comm")
            .ok()
            .map(|name| text(name.trim_ascii_end()))
    };
    Some(Parent {
        pid,
        command_line: command_line.or_else(name)?,
    })
}

/// The beginning of a file of a process.
fn read(process: &File, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = File::from(openat(process, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where a link of a process leads.
fn link(process: &File, name: &str) -> Option<String> {
    let target = readlinkat(process, name).ok()?;
    Some(text(target.as_encoded_bytes()))
}

/// The words of a command line, each of which ends with a zero byte.
fn words(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let words = bytes.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The words as they are kept; none: there are none, as of the kernel's own threads.
fn sentence(words: &[String]) -> Option<String> {
    let sentence = words.join(" ");
    // A server that renames itself fills the rest of its old command line with blanks.
    let sentence = sentence.trim_end();
    (!sentence.is_empty()).then(|| bounded(sentence.to_owned()))
}

fn text(bytes: &[u8]) -> String {
    bounded(String::from_utf8_lossy(bytes).into_owned())
}

/// At most [`MAX_TEXT`] bytes of a text.
fn bounded(mut text: String) -> String {
    const CUT: &str = "…";
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - CUT.len()));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests;
