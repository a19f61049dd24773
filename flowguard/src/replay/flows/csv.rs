//! `ts,src,dst,dport,state,bytes_out,bytes_in,duration`: connections as a table.

use std::io::BufRead;

use csv::{ByteRecord, ReaderBuilder};

use super::{End, Flow, FlowsError, Line, field};

const HINT: &str = "its first line has to name the columns \
                    ts,src,dst,dport,state,bytes_out,bytes_in,duration";

/// Where the columns are.
struct Columns {
    ts: usize,
    src: usize,
    dst: usize,
    dport: usize,
    state: Option<usize>,
    bytes_out: Option<usize>,
    duration: Option<usize>,
}

/// Hands over every line.
pub(super) fn read(log: impl BufRead, take: &mut impl FnMut(u64, Line)) -> Result<(), FlowsError> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(log);
    let headers = reader.byte_headers().map_err(of_csv)?.clone();
    let place = |name: &'static str| {
        let named = |field: &[u8]| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        headers.iter().position(named)
    };
    let needed = |name| {
        place(name).ok_or(FlowsError::Columns {
            column: name,
            hint: HINT,
        })
    };
    let columns = Columns {
        ts: needed("ts")?,
        src: needed("src")?,
        dst: needed("dst")?,
        dport: needed("dport")?,
        state: place("state"),
        bytes_out: place("bytes_out"),
        duration: place("duration"),
    };
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(of_csv)? {
        let line = record.position().map_or(0, csv::Position::line);
        let read = flow(&columns, &record).map_or_else(Line::Broken, |flow| {
            flow.map_or(Line::NoAttempt, Line::Flow)
        });
        take(line, read);
    }
    Ok(())
}

/// `flexible` leaves nothing that is wrong with a line but what the disk says.
fn of_csv(error: csv::Error) -> FlowsError {
    FlowsError::Read(std::io::Error::other(error))
}

fn flow(columns: &Columns, record: &ByteRecord) -> Result<Option<Flow>, String> {
    let text = |place: usize| {
        let field = record.get(place).unwrap_or_default();
        std::str::from_utf8(field.trim_ascii()).map_err(|_| "it is no text".to_owned())
    };
    let optional = |place: Option<usize>| match place {
        Some(place) => text(place).map(|text| Some(text).filter(|text| !matches!(*text, "" | "-"))),
        None => Ok(None),
    };
    let end = match optional(columns.state)? {
        None => Some(End::Unknown),
        Some("established") => Some(End::Established),
        Some("refused") => Some(End::Refused),
        Some("timed-out") => Some(End::Unanswered),
        Some(state) => field::zeek_state(state).map_err(|_| {
            format!("`{state}` is no state: established, refused, timed-out, or one of Zeek's")
        })?,
    };
    let flow = Flow {
        at: field::time(text(columns.ts)?)?,
        src: field::address(text(columns.src)?)?,
        dst: field::address(text(columns.dst)?)?,
        dport: field::port(text(columns.dport)?)?,
        end: end.unwrap_or(End::Unknown),
        bytes: optional(columns.bytes_out)?.map(field::bytes).transpose()?,
        duration: optional(columns.duration)?
            .map(field::duration)
            .transpose()?,
        is_local: None,
    };
    Ok(end.map(|_| flow))
}
