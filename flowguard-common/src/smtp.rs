//! Reading SMTP replies (RFC 5321, section 4.2) byte by byte, as they come past in segments.
//!
//! The reader's state is one word, so that it fits into a flow's entry; nothing is buffered.

/// What the reader knows between two bytes. 0: a line begins.
///
/// Bits 0 to 3: the column, or [`SKIP`]; bits 4 to 15: the digits seen, as a decimal number; bit 16:
/// the line goes on with a reply that began earlier.
pub type State = u32;

/// The column of lines that are not looked at any further.
const SKIP: u32 = 7;
const COLUMN: u32 = 0xf;
const CODE: u32 = 0xfff0;
const CODE_SHIFT: u32 = 4;
const CONTINUED: u32 = 1 << 16;

/// Where a reader is put that has lost a part: it waits for the next line.
pub const LOST: State = SKIP;

/// First byte of a TLS record that a server sends first: a handshake (RFC 8446, section 5.1).
pub const TLS_HANDSHAKE: u8 = 22;

/// The reply code that asks for a message (RFC 5321, section 4.1.1.4).
pub const START_MAIL: u32 = 354;

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state from here on.
    pub state: State,
    /// The code of a reply that this byte ends, 200 to 599; else 0.
    pub reply: u32,
    /// The code of a reply whose first line this byte shows, 200 to 599; else 0. The line began
    /// three bytes before.
    pub begins: u32,
}

/// Goes on by one byte.
#[inline(always)]
pub const fn step(state: State, byte: u8) -> Step {
    let column = state & COLUMN;
    let digit = byte.wrapping_sub(b'0') as u32;
    if byte == b'\n' {
        // A code alone is a whole reply (RFC 5321, section 4.2).
        let code = if column == 3 {
            (state & CODE) >> CODE_SHIFT
        } else {
            0
        };
        return Step {
            state: if code != 0 { 0 } else { state & CONTINUED },
            reply: code,
            begins: if state & CONTINUED == 0 { code } else { 0 },
        };
    }
    if column < 3 {
        let fits = if column == 0 {
            digit >= 2 && digit <= 5
        } else {
            digit <= 9
        };
        let code = ((state & CODE) >> CODE_SHIFT) * 10 + digit;
        let next = if fits {
            (state & CONTINUED) | (code << CODE_SHIFT) | (column + 1)
        } else {
            (state & CONTINUED) | SKIP
        };
        return Step {
            state: next,
            reply: 0,
            begins: 0,
        };
    }
    if column == 3 {
        let code = (state & CODE) >> CODE_SHIFT;
        let goes_on = byte == b'-';
        let begins = if state & CONTINUED == 0 { code } else { 0 };
        return Step {
            state: if goes_on { CONTINUED | SKIP } else { SKIP },
            reply: if goes_on { 0 } else { code },
            begins,
        };
    }
    Step {
        state,
        reply: 0,
        begins: 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes of whole replies, and codes and places of first lines.
    fn read(text: &[u8]) -> (Vec<u32>, Vec<(u32, usize)>) {
        let (mut state, mut replies, mut begins) = (0, Vec::new(), Vec::new());
        for (at, byte) in text.iter().enumerate() {
            let step = step(state, *byte);
            state = step.state;
            replies.extend((step.reply != 0).then_some(step.reply));
            begins.extend((step.begins != 0).then(|| (step.begins, at - 3)));
        }
        (replies, begins)
    }

    #[test]
    fn replies_of_several_lines_are_one() {
        let (replies, begins) = read(b"250-mx.example\r\n250-PIPELINING\r\n250 HELP\r\n354\r\n");
        assert_eq!(replies, [250, 354]);
        assert_eq!(begins, [(250, 0), (354, 42)]);
    }

    #[test]
    fn pipelined_replies_are_told_apart() {
        let (replies, begins) =
            read(b"250 2.1.0 Ok\r\n550 5.1.1 no such user 250 \r\n451\n220 \r\n");
        assert_eq!(replies, [250, 550, 451, 220]);
        assert_eq!(begins[1], (550, 14));
    }

    #[test]
    fn what_is_no_reply_is_none() {
        for text in [
            &b"150 x\r\n"[..],
            b"650 x\r\n",
            b"25\r\n",
            b"2x0 \r\n",
            b" 250 \r\n",
            b"hello 550 \r\n",
            b"550",
            b"\xff\xff\r\n",
        ] {
            assert_eq!(read(text).0, [], "{text:?}");
        }
    }

    #[test]
    fn a_reader_that_lost_its_place_waits_for_a_line() {
        let mut state = LOST;
        for byte in b"550 \r\n" {
            let step = step(state, *byte);
            assert_eq!(step.reply, 0);
            state = step.state;
        }
        assert_eq!(state, 0);
    }

    proptest! {
        #[test]
        fn lines_are_read_as_a_plain_reader_reads_them(
            lines in proptest::collection::vec((200_u32..600, "[ -~]{0,20}"), 0..20),
        ) {
            let text: String = lines.iter().map(|(code, text)| format!("{code} {text}\r\n")).collect();
            let expected: Vec<u32> = lines.iter().map(|(code, _)| *code).collect();
            prop_assert_eq!(read(text.as_bytes()).0, expected);
        }

        #[test]
        fn no_state_and_byte_makes_it_panic(state: u32, byte: u8) {
            step(state, byte);
        }
    }
}
