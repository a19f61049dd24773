//! One mail over one connection, in the clear: what RFC 5321 asks of both sides, and no more.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

/// What the sender says, and which reply lets it go on.
const SAID: [(&str, &str); 6] = [
    ("EHLO client.example", "250"),
    ("MAIL FROM:<sender@client.example>", "250"),
    ("RCPT TO:<recipient@server.example>", "250"),
    ("DATA", "354"),
    ("Subject: a mail\r\n\r\nIts text.\r\n.", "250"),
    ("QUIT", "221"),
];

/// Hands one mail over.
///
/// # Errors
/// When the server says anything but yes, hangs up, or takes longer than the stream's read timeout.
pub fn send(mut stream: &TcpStream) -> io::Result<()> {
    let mut heard = BufReader::new(stream);
    expect(&mut heard, "220")?;
    for (line, answer) in SAID {
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        expect(&mut heard, answer)?;
    }
    Ok(())
}

fn expect(heard: &mut BufReader<&TcpStream>, answer: &str) -> io::Result<()> {
    let mut line = String::new();
    heard.read_line(&mut line)?;
    if line.starts_with(answer) {
        return Ok(());
    }
    let said = line.trim_end();
    Err(io::Error::other(format!("not {answer} but `{said}`")))
}

/// Takes every mail that comes over a connection, until the client says goodbye or hangs up.
///
/// # Errors
/// When the connection breaks, or the client takes longer than the stream's read timeout.
pub fn take(mut stream: &TcpStream) -> io::Result<()> {
    let lines = BufReader::new(stream).lines();
    let mut say = |reply: &str| stream.write_all(format!("{reply}\r\n").as_bytes());
    say("220 server.example ESMTP")?;
    let mut is_text = false;
    for line in lines {
        match &*line? {
            "." if is_text => {
                is_text = false;
                say("250 taken")?;
            }
            _ if is_text => {}
            "DATA" => {
                is_text = true;
                say("354 go on")?;
            }
            "QUIT" => return say("221 goodbye"),
            _ => say("250 fine")?,
        }
    }
    Ok(())
}
