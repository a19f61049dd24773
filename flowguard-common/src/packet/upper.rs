//! What the IP headers carry.

use super::{Frame, Kind, Packet, Segment, TCP_SYN, ip::Upper};

// https://www.iana.org/assignments/protocol-numbers
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// RFC 2003.
const IP_IN_IP: u8 = 4;
/// RFC 4213, section 3.
const IPV6_IN_IP: u8 = 41;
/// RFC 2784.
const GRE: u8 = 47;
/// RFC 4303; what is in it cannot be read, whether that is a tunnel or not.
const ESP: u8 = 50;
/// RFC 3378.
const ETHERNET_IN_IP: u8 = 97;
/// RFC 3931, section 4.1.1.
const L2TP: u8 = 115;
/// RFC 4023, section 3.
const MPLS_IN_IP: u8 = 137;
/// RFC 8986, section 10.1.
const ETHERNET: u8 = 143;

// https://www.iana.org/assignments/service-names-port-numbers
/// RFC 2661, section 8.1; RFC 3931, section 4.1.2.
const L2TP_PORT: u16 = 1701;
/// RFC 4380, section 2.7.
const TEREDO_PORT: u16 = 3544;
/// RFC 3948, section 2: ESP.
const IPSEC_PORT: u16 = 4500;
/// RFC 8086, section 8.3.
const GRE_PORT: u16 = 4754;
/// RFC 7348, section 5.
const VXLAN_PORT: u16 = 4789;
/// RFC 8926, section 3.3.
const GENEVE_PORT: u16 = 6081;
/// What Linux takes for VXLAN unless told otherwise (drivers/net/vxlan/vxlan_core.c), and with it
/// some container networks.
const LINUX_VXLAN_PORT: u16 = 8472;

/// Without options (RFC 9293, section 3.1).
const TCP_BYTES: u32 = 20;

#[inline(always)]
pub(super) fn packet(frame: &impl Frame, upper: &Upper) -> Result<Packet, Kind> {
    match upper.protocol {
        TCP => tcp(frame, upper),
        UDP => Err(udp(frame, upper)),
        IP_IN_IP | IPV6_IN_IP | GRE | ESP | ETHERNET_IN_IP | L2TP | MPLS_IN_IP | ETHERNET => {
            Err(Kind::Encapsulated)
        }
        _ => Err(Kind::Other),
    }
}

#[inline(always)]
fn udp(frame: &impl Frame, upper: &Upper) -> Kind {
    let Some([_, _, high, low]) = upper.load(frame) else {
        return Kind::Unparsed;
    };
    match u16::from_be_bytes([high, low]) {
        L2TP_PORT | TEREDO_PORT | IPSEC_PORT | GRE_PORT | VXLAN_PORT | GENEVE_PORT
        | LINUX_VXLAN_PORT => Kind::Encapsulated,
        _ => Kind::Other,
    }
}

/// RFC 9293, section 3.1.
#[inline(always)]
fn tcp(frame: &impl Frame, upper: &Upper) -> Result<Packet, Kind> {
    let whole: Option<[u8; TCP_BYTES as usize]> = upper.load(frame);
    let (kind, header) = match whole {
        Some(header) => (Kind::Tcp, header),
        None if upper.is_fragment => {
            let start: [u8; 8] = upper.load(frame).ok_or(Kind::HiddenPort)?;
            let mut header = [0; TCP_BYTES as usize];
            header[..8].copy_from_slice(&start);
            header[13] = TCP_SYN;
            (Kind::HiddenFlags, header)
        }
        None => return Err(Kind::Unparsed),
    };
    let [
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        words,
        flags,
        ..,
    ] = header;
    let (src, dst) = upper.addresses(frame).ok_or(Kind::Unparsed)?;
    let bytes = u32::from(words >> 4) * 4;
    let payload = (upper.at + bytes.max(TCP_BYTES)).min(upper.end);
    Ok(Packet {
        kind,
        segment: Segment {
            src,
            dst,
            sport: u16::from_be_bytes([s0, s1]),
            dport: u16::from_be_bytes([d0, d1]),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            payload,
            bytes: upper.end - payload,
            flags,
            pad: [0; 3],
        },
    })
}
