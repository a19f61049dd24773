//! Sends SYNs past the sockets of its network namespace, and prints as JSON what became of them.
//! How that is known: `flowguard_tests::bypass_raw`.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    process, thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use flowguard_tests::{
    bypass_raw::{Answers, Flow, Report, Sender, Shape, Via},
    container::GATEWAY_MAC,
    lab::UNGUARDED_PORT,
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

/// Everybody on the link.
const BROADCAST: [u8; 6] = [0xff; 6];
/// Pause between two looks for a device.
const RETRY: Duration = Duration::from_micros(100);

/// Sends SYNs past the sockets of its network namespace, and prints as JSON what became of them.
#[derive(Parser)]
struct Options {
    /// How they get out.
    #[arg(long)]
    via: Via,
    /// The device, where the way is one of a device.
    #[arg(long, default_value = "eth0")]
    device: String,
    /// Hardware address of the gateway, for frames.
    #[arg(long, value_parser = parse_mac, default_value = GATEWAY_MAC)]
    gateway: [u8; 6],
    /// Where they go.
    #[arg(long)]
    to: IpAddr,
    /// The port they go to.
    #[arg(long, default_value_t = 25)]
    port: u16,
    /// Where they come from, if not from the namespace's own address.
    #[arg(long)]
    from: Option<IpAddr>,
    /// The destination that the kernel is told, if it is not the packets'.
    #[arg(long)]
    aside: Option<IpAddr>,
    /// VLAN ids of the frames, the outermost first; they go to everybody on the link.
    #[arg(long, value_delimiter = ',')]
    tags: Vec<u16>,
    /// Different SYNs to send.
    #[arg(long, default_value_t = 10)]
    count: u16,
    /// How often each is sent.
    #[arg(long, default_value_t = 1)]
    copies: u16,
    /// Pause between those that begin at once, microseconds.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// Begins as soon as the device takes frames, and waits for no answers.
    #[arg(long)]
    at_once: bool,
    #[command(subcommand)]
    shape: Shape,
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    bytes
        .try_into()
        .ok()
        .context("six bytes, as in 02:00:00:00:00:01")
}

fn main() -> Result<()> {
    let options = Options::parse();
    on_one_cpu()?;
    let report = run(&options)?;
    serde_json::to_writer(io::stdout(), &report)?;
    io::stdout().write_all(b"\n").context("cannot print")
}

/// Packets that one CPU sends over virtual devices arrive in their order.
fn on_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

fn run(options: &Options) -> Result<Report> {
    let to = options.to;
    let src = match options.from {
        Some(src) => src,
        None => own_address(to)?,
    };
    let flow = |n: u16, dport| {
        let unique = process::id().wrapping_mul(1 << 10) + u32::from(n);
        Flow {
            src,
            dst: to,
            sport: 1024 + (unique % 60_000) as u16,
            dport,
            seq: unique,
        }
    };
    if options.at_once {
        return at_once(options, &flow);
    }
    let mut exchange = Exchange {
        answers: Answers::listen(to)?,
        sender: options.sender(options.gateway)?,
        sent: HashMap::new(),
        answered: HashSet::new(),
    };
    let tagged = match options.tags.is_empty() {
        true => None,
        false => Some(options.sender(BROADCAST)?),
    };
    exchange.mark(&flow(0, UNGUARDED_PORT))?;
    for n in 1..=options.count {
        let flow = flow(n, options.port);
        exchange.sent.insert((flow.sport, flow.seq), flow);
        options.send(tagged.as_ref().unwrap_or(&exchange.sender), &flow)?;
    }
    exchange.mark(&flow(options.count + 1, UNGUARDED_PORT))?;
    Ok(Report {
        sent: u64::from(options.count),
        answered: exchange.answered.len() as u64,
    })
}

/// The first SYN is tried until the device takes it; it is there, up, and has a carrier then.
fn at_once(options: &Options, flow: &impl Fn(u16, u16) -> Flow) -> Result<Report> {
    let first = flow(0, options.port);
    let sender = loop {
        let sender = options.sender(options.gateway);
        let sent = sender.and_then(|sender| options.send(&sender, &first).map(|()| sender));
        if let Ok(sender) = sent {
            break sender;
        }
        thread::sleep(RETRY);
    };
    for n in 1..options.count {
        thread::sleep(Duration::from_micros(options.pause_us));
        options.send(&sender, &flow(n, options.port))?;
    }
    Ok(Report {
        sent: u64::from(options.count),
        answered: 0,
    })
}

impl Options {
    fn sender(&self, mac: [u8; 6]) -> Result<Sender> {
        Sender::open(self.via, self.to, &self.device, mac)
    }

    /// Sends one SYN, as often and in as many packets as it takes.
    fn send(&self, sender: &Sender, flow: &Flow) -> Result<()> {
        for _ in 0..self.copies {
            for packet in self.shape.packets(flow)? {
                sender.send(&packet, self.aside.unwrap_or(self.to), &self.tags)?;
            }
        }
        Ok(())
    }
}

/// SYNs by what their answers say of them.
struct Exchange {
    answers: Answers,
    sender: Sender,
    sent: HashMap<(u16, u32), Flow>,
    answered: HashSet<(u16, u32)>,
}

impl Exchange {
    /// Sends a SYN that nobody guards, and notes all answers up to that to it.
    fn mark(&mut self, marker: &Flow) -> Result<()> {
        for packet in Shape::Plain.packets(marker)? {
            self.sender.send(&packet, marker.dst, &[])?;
        }
        loop {
            let answer = self.answers.next(&self.sender)?;
            let key = (answer.sport, answer.seq);
            if key == (marker.sport, marker.seq) {
                return Ok(());
            }
            let Some(flow) = self.sent.get(&key) else {
                continue;
            };
            if self.answered.insert(key) && self.sender.tun().is_some() {
                let packet = flow.acknowledgement(answer.peer_seq)?;
                self.sender.send(&packet, flow.dst, &[])?;
            }
        }
    }
}

/// The address that the namespace's kernel would use; nothing is sent.
fn own_address(to: IpAddr) -> Result<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}
