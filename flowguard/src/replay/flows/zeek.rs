//! Zeek's `conn.log`: columns between tabs under a head of `#` lines, or an object of JSON a line.

use std::{
    io::{self, BufRead, Read as _},
    net::IpAddr,
};

use serde::Deserialize;

use super::{End, Flow, FlowsError, Line, field};

/// Longest line that is read, bytes.
const LINE: u64 = 1 << 20;

const HINT: &str =
    "a conn.log of Zeek has a head with `#fields`, or is JSON with one object a line";

/// Hands over every line.
pub(super) fn read(
    mut log: impl BufRead,
    take: &mut impl FnMut(u64, Line),
) -> Result<(), FlowsError> {
    let mut head = Head::default();
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(is_whole) = next(&mut log, &mut line)? {
        number += 1;
        if !is_whole {
            take(number, Line::Broken("it is longer than 1 MiB".to_owned()));
            continue;
        }
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        let read = match (text.first(), std::str::from_utf8(text)) {
            (_, Err(_)) => Line::Broken("it is no text".to_owned()),
            (Some(b'#'), Ok(text)) => {
                head.read(text);
                continue;
            }
            (Some(b'{'), Ok(text)) => json(text).unwrap_or_else(Line::Broken),
            // With tabs at its end that are empty fields.
            (_, Ok(_)) => {
                let whole = std::str::from_utf8(&line).unwrap_or_default();
                let whole = whole.trim_end_matches(['\n', '\r']);
                head.columns()?
                    .read(whole, &head)
                    .unwrap_or_else(Line::Broken)
            }
        };
        take(number, read);
    }
    Ok(())
}

/// Reads the next line; whether it is whole. None: there is no more.
fn next(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if log.by_ref().take(LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE;
    if !is_whole {
        // The rest of it, in pieces.
        let mut rest = Vec::new();
        while log.by_ref().take(LINE).read_until(b'\n', &mut rest)? > 0 && !rest.ends_with(b"\n") {
            rest.clear();
        }
    }
    Ok(Some(is_whole))
}

/// What the `#` lines say.
struct Head {
    separator: String,
    unset: String,
    empty: String,
    columns: Option<Result<Columns, &'static str>>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            separator: "\t".to_owned(),
            unset: "-".to_owned(),
            empty: "(empty)".to_owned(),
            columns: None,
        }
    }
}

impl Head {
    fn read(&mut self, text: &str) {
        // The first line is `#separator \x09`, with a space whatever the separator is.
        if let Some(separator) = text.strip_prefix("#separator ") {
            self.separator = unescaped(separator);
            return;
        }
        let mut words = text.split(self.separator.as_str());
        let (key, value) = (words.next(), words.next());
        match (key, value) {
            (Some("#unset_field"), Some(value)) => self.unset = value.to_owned(),
            (Some("#empty_field"), Some(value)) => self.empty = value.to_owned(),
            (Some("#fields"), Some(_)) => {
                let names = text.split(self.separator.as_str()).skip(1);
                self.columns = Some(Columns::of(&names.collect::<Vec<_>>()));
            }
            _ => {}
        }
    }

    fn columns(&self) -> Result<&Columns, FlowsError> {
        let missing = |column| FlowsError::Columns { column, hint: HINT };
        match &self.columns {
            Some(Ok(columns)) => Ok(columns),
            Some(Err(column)) => Err(missing(column)),
            None => Err(missing("ts")),
        }
    }
}

/// `\x09` is a tab.
fn unescaped(text: &str) -> String {
    let code = text.strip_prefix("\\x");
    let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
    code.map_or_else(|| text.to_owned(), |code| char::from(code).to_string())
}

/// Where the columns are.
struct Columns {
    ts: usize,
    src: usize,
    dst: usize,
    dport: usize,
    state: Option<usize>,
    proto: Option<usize>,
    bytes: Option<usize>,
    duration: Option<usize>,
    is_local: Option<usize>,
}

impl Columns {
    /// Of the names in `#fields`; or which one is missing.
    fn of(names: &[&str]) -> Result<Self, &'static str> {
        let place = |name: &str| names.iter().position(|known| *known == name);
        Ok(Self {
            ts: place("ts").ok_or("ts")?,
            src: place("id.orig_h").ok_or("id.orig_h")?,
            dst: place("id.resp_h").ok_or("id.resp_h")?,
            dport: place("id.resp_p").ok_or("id.resp_p")?,
            state: place("conn_state"),
            proto: place("proto"),
            bytes: place("orig_bytes"),
            duration: place("duration"),
            is_local: place("local_orig"),
        })
    }

    fn read(&self, text: &str, head: &Head) -> Result<Line, String> {
        let fields: Vec<&str> = text.split(head.separator.as_str()).collect();
        let set = |place: Option<usize>| {
            let field = fields.get(place?).copied()?;
            (field != head.unset && field != head.empty).then_some(field)
        };
        let needed = |place: usize, name: &str| {
            set(Some(place)).ok_or_else(|| format!("it has no `{name}`"))
        };
        if set(self.proto).is_some_and(|proto| proto != "tcp") {
            return Ok(Line::NoAttempt);
        }
        let end = set(self.state).map(field::zeek_state).transpose()?;
        let Some(end) = end.unwrap_or(Some(End::Unknown)) else {
            return Ok(Line::NoAttempt);
        };
        Ok(Line::Flow(Flow {
            at: field::time(needed(self.ts, "ts")?)?,
            src: field::address(needed(self.src, "id.orig_h")?)?,
            dst: field::address(needed(self.dst, "id.resp_h")?)?,
            dport: field::port(needed(self.dport, "id.resp_p")?)?,
            end,
            bytes: set(self.bytes).map(field::bytes).transpose()?,
            duration: set(self.duration).map(field::duration).transpose()?,
            is_local: set(self.is_local).map(|local| local == "T"),
        }))
    }
}

/// A line of JSON. What is unset is left out.
#[derive(Deserialize)]
struct Object {
    ts: Time,
    #[serde(rename = "id.orig_h")]
    src: IpAddr,
    #[serde(rename = "id.resp_h")]
    dst: IpAddr,
    #[serde(rename = "id.resp_p")]
    dport: u16,
    proto: Option<String>,
    conn_state: Option<String>,
    orig_bytes: Option<u64>,
    duration: Option<f64>,
    local_orig: Option<bool>,
}

/// Seconds since 1970, or ISO 8601 with `LogAscii::json_timestamps`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(f64),
    Text(String),
}

fn json(text: &str) -> Result<Line, String> {
    let object: Object = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if object.proto.is_some_and(|proto| proto != "tcp") {
        return Ok(Line::NoAttempt);
    }
    let end = object
        .conn_state
        .as_deref()
        .map(field::zeek_state)
        .transpose()?;
    let Some(end) = end.unwrap_or(Some(End::Unknown)) else {
        return Ok(Line::NoAttempt);
    };
    let at = match object.ts {
        Time::Seconds(seconds) => field::time(&seconds.to_string())?,
        Time::Text(text) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| format!("`{text}` is no time"))?
            .as_millisecond(),
    };
    let duration = object
        .duration
        .map(|seconds| field::duration(&seconds.to_string()));
    Ok(Line::Flow(Flow {
        at,
        src: object.src.to_canonical(),
        dst: object.dst.to_canonical(),
        dport: object.dport,
        end,
        bytes: object.orig_bytes,
        duration: duration.transpose()?,
        is_local: object.local_orig,
    }))
}
