//! What the IP headers carry.

use super::{Frame, Kind, Packet, Segment, TCP_SYN, ip::Upper};

// https://www.iana.org/assignments/protocol-numbers
pub(super) const IP_IN_IP: u8 = 4;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const IPV6_IN_IP: u8 = 41;
pub(super) const GRE: u8 = 47;

// https://www.iana.org/assignments/service-names-port-numbers
pub(super) const VXLAN_PORT: u16 = 4789;

/// Without options (RFC 9293, section 3.1).
const TCP_BYTES: u32 = 20;

#[inline(always)]
pub(super) fn packet(frame: &impl Frame, upper: &Upper) -> Result<Packet, Kind> {
    match upper.protocol {
        TCP => tcp(frame, upper),
        UDP => Err(udp(frame, upper)),
        IP_IN_IP | IPV6_IN_IP | GRE => Err(Kind::Encapsulated),
        _ => Err(Kind::Other),
    }
}

#[inline(always)]
fn udp(frame: &impl Frame, upper: &Upper) -> Kind {
    let Some([_, _, high, low]) = upper.load(frame) else {
        return Kind::Unparsed;
    };
    match u16::from_be_bytes([high, low]) {
        VXLAN_PORT => Kind::Encapsulated,
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
