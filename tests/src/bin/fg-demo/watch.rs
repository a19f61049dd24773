//! What ends the demo before its time: a signal, or the deadline. Both kill the demo's cgroup, so
//! that whatever it waits for fails at once; its destructors then remove everything.

use std::{
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    task::Poll,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use flowguard_tests::wait::patience;
use nix::sys::signal::Signal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

/// How long the demo may take, whatever happens; longer where everything takes longer.
pub(crate) fn deadline() -> Duration {
    const DEADLINE: Duration = Duration::from_secs(30);
    // Nonsense is complained of by whoever waits for something.
    DEADLINE * patience().unwrap_or(1)
}
/// How long a Ctrl-C that has ended one of our processes may take to get to us as well.
const NEARLY_AT_ONCE: Duration = Duration::from_millis(200);
/// What a person, a service manager or a closed terminal sends.
const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// What ended the demo.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// This signal.
    Signal(Signal),
    /// [`deadline`].
    Deadline,
}

impl Stop {
    /// As a shell has it: 128 plus the signal's number.
    pub(crate) fn exit_code(signal: Signal) -> u8 {
        128 | u8::try_from(signal as i32).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: OnceLock<Stop>,
    cgroup: OnceLock<PathBuf>,
}

impl Shared {
    fn kill(&self) {
        if let Some(cgroup) = self.cgroup.get() {
            // It fails when the demo has just removed it.
            fs::write(cgroup.join("cgroup.kill"), "1").ok();
        }
    }
}

/// Waits for the end on a thread of its own.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    /// Its other end is dropped when the demo is to stop.
    going_on: Receiver<()>,
}

impl Watch {
    /// From now on, signals do not end this process any more, and time is counted.
    pub(crate) fn start() -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let mut signals = Vec::new();
        for which in SIGNALS {
            signals.push((which, signal(SignalKind::from_raw(which as i32))?));
        }
        drop(within);
        let shared = Arc::<Shared>::default();
        let (until_stopped, going_on) = mpsc::channel();
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            let stop = runtime.block_on(async {
                let any = poll_fn(|context| {
                    let first = signals.iter_mut().find_map(|(which, signal)| {
                        signal.poll_recv(context).is_ready().then_some(*which)
                    });
                    first.map_or(Poll::Pending, Poll::Ready)
                });
                timeout(deadline(), any)
                    .await
                    .map_or(Stop::Deadline, Stop::Signal)
            });
            // Only this thread sets it.
            ours.stop.set(stop).ok();
            ours.kill();
            drop(until_stopped);
        });
        Ok(Self { shared, going_on })
    }

    /// Tells what to kill.
    pub(crate) fn over(&self, cgroup: &Path) -> Result<()> {
        // Nobody else sets it. The other thread sets the reason and then looks for the cgroup;
        // here it is the other way round, so one of the two sees both.
        self.shared.cgroup.set(cgroup.to_owned()).ok();
        self.wait(Duration::ZERO)
    }

    /// Lets time pass; an error when the demo is to stop.
    pub(crate) fn wait(&self, time: Duration) -> Result<()> {
        match self.going_on.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => bail!("it is to stop"),
        }
    }

    /// Why the demo was to stop, asked after something failed.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.wait(NEARLY_AT_ONCE).err()?;
        self.shared.stop.get().copied()
    }
}
