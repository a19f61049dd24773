//! The kernel's part: counts, and carries verdicts out, by the very arithmetic that its programs use.

use std::cell::Cell;

use flowguard::model::{ClassName, Totals};
use flowguard_common::{
    addr,
    fanout::{self, FANOUT_WORDS, Fanout},
    judge::{self, Bucket},
    settings::MODE_ENFORCE,
    verdict::{Decision, Rate, Verdict},
};

use crate::{mail::Millis, world::Server};

/// How long destinations are counted together (`flowguard_common::settings`).
const EPOCH: Millis = 3_600_000;

/// Nanoseconds of simulated time.
pub(crate) fn nanoseconds(at: Millis) -> u64 {
    at * 1_000_000
}

/// What the kernel has of one source in one class.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    totals: Totals,
    fanout: Fanout,
    /// Of the verdict's rate.
    bucket: u64,
    verdict: Option<Verdict>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            fanout: Fanout {
                epoch: 0,
                bits: [0; FANOUT_WORDS],
                before: [0; FANOUT_WORDS],
            },
            bucket: 0,
            verdict: None,
        }
    }
}

impl Account {
    /// Its counters.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Its counters, to be changed by what happens after an attempt.
    pub(crate) fn grow(&mut self, growth: &Totals) {
        self.totals += *growth;
    }

    /// Puts a verdict in force, or none.
    pub(crate) fn judge(&mut self, verdict: Option<Verdict>) {
        self.verdict = verdict;
        self.bucket = 0;
    }

    /// The verdict that is in force.
    pub(crate) fn verdict(&self, now: Millis) -> Option<&Verdict> {
        let verdict = self.verdict.as_ref()?;
        (!verdict.is_expired(nanoseconds(now))).then_some(verdict)
    }

    /// Counts an attempt and decides on it; true: it passes.
    pub(crate) fn attempt(&mut self, server: Server, now: Millis) -> bool {
        let now_ns = nanoseconds(now);
        self.turn_epoch(now / EPOCH);
        let (word, bit) = fanout::position(addr::hash(&server.address(), 0));
        let known = fanout::is_known(0, self.fanout.bits[word], self.fanout.before[word], bit);
        let bucket = Cell::new(self.bucket);
        let charge = |which: Bucket, rate: &Rate| match which {
            Bucket::Ceiling => true,
            Bucket::Limit => match rate.conform(bucket.get(), now_ns) {
                Some(next) => {
                    bucket.set(next);
                    true
                }
                None => false,
            },
        };
        let verdict = self.verdict.as_ref();
        let decision = judge::attempt(
            verdict,
            MODE_ENFORCE,
            now_ns,
            &Rate::UNLIMITED,
            || known,
            charge,
        );
        self.bucket = bucket.get();
        self.totals.attempts += 1;
        let denied = decision == Decision::Deny;
        self.totals.denied += u64::from(denied);
        if judge::makes_known(verdict, now_ns, decision) {
            // A first contact is counted once an epoch.
            self.totals.destinations += u64::from(self.fanout.bits[word] & bit == 0);
            self.fanout.bits[word] |= bit;
        }
        !denied
    }

    fn turn_epoch(&mut self, epoch: u64) {
        let fanout = &mut self.fanout;
        if epoch != fanout.epoch {
            fanout.before = if epoch == fanout.epoch + 1 {
                fanout.bits
            } else {
                [0; FANOUT_WORDS]
            };
            fanout.bits = [0; FANOUT_WORDS];
            fanout.epoch = epoch;
        }
    }
}

/// The three accounts of one source.
pub(crate) type Accounts = [Account; 3];

/// Where a class's account is.
pub(crate) fn index(class: ClassName) -> usize {
    flowguard_common::class::Class::from(class) as usize
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use flowguard_common::verdict::{ACTION_BLOCK, ACTION_NEW_DESTINATIONS, VerdictKey};

    use super::*;

    fn servers(count: usize) -> Vec<Server> {
        let mut rng = Rng::with_seed(1);
        let mut servers: Vec<_> = (0..10 * count).map(|_| Server::small(&mut rng)).collect();
        servers.sort_unstable();
        servers.dedup();
        servers.truncate(count);
        servers
    }

    fn verdict(action: u32, expires_ns: u64) -> Verdict {
        Verdict {
            key: VerdictKey {
                source: 0,
                class: 0,
            },
            action,
            flags: 0,
            expires_ns,
            rate: Rate {
                interval_ns: nanoseconds(EPOCH),
                burst: 2,
            },
            record: 0,
        }
    }

    #[test]
    fn a_server_is_a_first_contact_once_an_hour() {
        let mut account = Account::default();
        for server in servers(20) {
            assert!(account.attempt(server, 0));
            assert!(account.attempt(server, 1));
        }
        let first = account.totals().destinations;
        // Some servers may share a bit.
        assert!((18..=20).contains(&first), "{first}");
        for server in servers(20) {
            account.attempt(server, EPOCH);
        }
        assert_eq!(account.totals().destinations, 2 * first);
        assert_eq!(account.totals().attempts, 60);
    }

    #[test]
    fn verdicts_hold_until_their_time() {
        let mut account = Account::default();
        account.judge(Some(verdict(ACTION_BLOCK, nanoseconds(1_000))));
        let [server] = servers(1)[..] else {
            panic!("no server")
        };
        assert!(!account.attempt(server, 999));
        assert!(account.attempt(server, 1_000));
        assert_eq!(
            (account.totals().denied, account.totals().destinations),
            (1, 1)
        );
    }

    #[test]
    fn known_servers_stay_open() {
        let mut account = Account::default();
        let servers = servers(20);
        assert!(account.attempt(servers[0], 0));
        account.judge(Some(verdict(ACTION_NEW_DESTINATIONS, 0)));
        let passed = servers.iter().filter(|server| account.attempt(**server, 1));
        // The known one, the burst, and perhaps one that shares the known one's bit.
        assert!((3..=4).contains(&passed.count()));
    }
}
