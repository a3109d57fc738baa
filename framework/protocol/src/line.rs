//! Messages on the wire: JSON, one message a line.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No message is longer than this, in bytes.
pub const MAX_LEN: u64 = 1 << 20;

/// Sends one message.
pub fn send(mut to: impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Receives one message and nothing after it; `None` if the other side is gone.
pub fn receive<T: DeserializeOwned>(from: impl Read) -> Result<Option<T>> {
    // A buffer of one byte, so that what follows the line stays for its own reader.
    receive_buffered(&mut BufReader::with_capacity(1, from))
}

/// Receives the next message of a connection that is read through this buffer alone.
pub fn receive_buffered<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = Vec::new();
    from.take(MAX_LEN).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(Error::new(ErrorKind::UnexpectedEof, "a message is cut off or too long"));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Answer;

    #[test]
    fn messages_are_received_one_by_one() {
        let failed = Answer::Failed { exit: 4, text: "no such directory".to_owned() };
        let mut wire = Vec::new();
        send(&mut wire, &Answer::Done).expect("sent");
        send(&mut wire, &failed).expect("sent");
        let mut from = wire.as_slice();
        assert_eq!(receive(&mut from).expect("received"), Some(Answer::Done));
        assert_eq!(receive(&mut from).expect("received"), Some(failed));
        assert_eq!(receive::<Answer>(&mut from).expect("the end"), None);
    }

    #[test]
    fn a_message_without_an_end_is_refused() {
        assert!(receive::<Answer>(&b"\"Done\""[..]).is_err(), "cut off");
        let endless = std::io::repeat(b' ');
        assert!(receive::<Answer>(endless).is_err(), "too long");
    }
}
