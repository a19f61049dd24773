//! The cookies of network namespaces where the kernel tells them to programs only: from Linux 5.7
//! to 5.13, before `SO_NETNS_COOKIE`.
//!
//! A program at the cgroup that this process is in notes the cookie of the namespace in which one
//! of its threads calls `connect()` on a UDP socket, which sends nothing.

use std::{
    fs::File,
    net::{Ipv4Addr, UdpSocket},
    process,
    sync::{Mutex, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{CgroupSockAddr, ProgramError},
};
use flowguard_common::{
    names::{MAP_NETNS_PROBE, PROG_NETNS_PROBE},
    netns::NetnsProbe as Question,
};
use nix::unistd::gettid;

use super::{KernelError, attach::CGROUP_MODE, programs, replace};
use crate::identity::cgroup;

/// Nobody needs to listen there: connecting a UDP socket only looks up a route, and the program is
/// asked before that.
const NOWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9);

/// A program that can be asked.
pub struct NetnsProbe {
    question: Mutex<Array<MapData, Question>>,
    /// Detaches the program when it is dropped.
    _object: Ebpf,
}

impl NetnsProbe {
    /// Attaches it.
    ///
    /// # Errors
    ///
    /// The kernel refuses it, or this process's cgroup is not to be found.
    pub fn attach() -> Result<Self, KernelError> {
        let refused = programs::refused(PROG_NETNS_PROBE);
        let mut object = replace::trial_object()?;
        let map = object.take_map(MAP_NETNS_PROBE);
        let question = map
            .ok_or_else(|| aya::maps::MapError::InvalidName {
                name: MAP_NETNS_PROBE.to_owned(),
            })
            .and_then(Array::try_from)
            .map_err(KernelError::map(MAP_NETNS_PROBE))?;
        let program: &mut CgroupSockAddr = programs::program(&mut object, PROG_NETNS_PROBE)?
            .try_into()
            .map_err(refused)?;
        program.load().map_err(refused)?;
        let cgroup = own_cgroup().map_err(ProgramError::IOError);
        cgroup
            .and_then(|cgroup| program.attach(cgroup, CGROUP_MODE))
            .map_err(refused)?;
        Ok(Self {
            question: Mutex::new(question),
            _object: object,
        })
    }

    /// The cookie of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// There is no socket to be had, or the program was not asked.
    pub fn cookie(&self) -> Result<u64, KernelError> {
        let mut map = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        let question = Question {
            thread: u64::from(gettid().as_raw().cast_unsigned()),
            cookie: 0,
        };
        map.set(0, question, 0)
            .map_err(KernelError::map(MAP_NETNS_PROBE))?;
        // The answer is there even if there is no route.
        let connected =
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map(|socket| socket.connect(NOWHERE));
        let answer = map
            .get(&0, 0)
            .map_err(KernelError::map(MAP_NETNS_PROBE))?
            .cookie;
        if answer == 0 {
            let error = match connected {
                Ok(Ok(())) | Ok(Err(_)) => std::io::Error::other("the program was not asked"),
                Err(error) => error,
            };
            return Err(programs::refused(PROG_NETNS_PROBE)(ProgramError::IOError(
                error,
            )));
        }
        Ok(answer)
    }
}

fn own_cgroup() -> std::io::Result<File> {
    let root = cgroup::find_cgroup2_root().map_err(std::io::Error::other)?;
    let path = cgroup::cgroup_of_pid(process::id())
        .ok_or_else(|| std::io::Error::other("this process is in no cgroup"))?;
    File::open(cgroup::directory(&root, &path))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::identity::{netns, testing::TestNetns};

    #[test]
    fn the_program_tells_what_the_kernel_tells_by_itself() {
        let probe = NetnsProbe::attach().unwrap();
        let here = netns::own_cookie().unwrap();
        assert!(here.is_some());
        assert_eq!(Some(probe.cookie().unwrap()), here);
        let elsewhere = TestNetns::new();
        let told = elsewhere.run(|| (probe.cookie().unwrap(), netns::own_cookie().unwrap()));
        assert_eq!(Some(told.0), told.1);
        assert_ne!(told.1, here);
        let of_another_thread =
            thread::scope(|scope| scope.spawn(|| probe.cookie().unwrap()).join());
        assert_eq!(of_another_thread.ok(), here);
    }
}
