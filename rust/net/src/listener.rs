//! The listening socket of a worker, and which of its connections are followers.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const SETTINGS_FRAME: u8 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;

/// Enough for the preface and a frame of 16 settings.
const FIRST_BYTES: usize = PREFACE.len() + FRAME_HEADER + 16 * 6;

/// How long a new connection may take to say its first bytes.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// New connections that may wait for the servers.
const BACKLOG: usize = 1024;

/// Where accepted connections go.
#[derive(Clone)]
pub struct Sorted {
    /// Clients and workers that pass operations on.
    pub others: mpsc::Sender<io::Result<TcpStream>>,
    /// Followers; off the accepting runtime, so that another can take them over.
    pub followers: mpsc::Sender<io::Result<std::net::TcpStream>>,
}

impl Sorted {
    /// The senders, and the receivers for the two servers.
    pub fn channels() -> (
        Self,
        mpsc::Receiver<io::Result<TcpStream>>,
        mpsc::Receiver<io::Result<std::net::TcpStream>>,
    ) {
        let (others, other_connections) = mpsc::channel(BACKLOG);
        let (followers, follower_connections) = mpsc::channel(BACKLOG);
        (
            Self { others, followers },
            other_connections,
            follower_connections,
        )
    }
}

/// The largest HTTP/2 frame that the peer says it takes, from the first bytes of its connection; none when they do not
/// say so.
pub fn max_frame_size(first: &[u8]) -> Option<u32> {
    let frame = first.strip_prefix(PREFACE)?;
    let (header, payload) = frame.split_at_checked(FRAME_HEADER)?;
    if header[3] != SETTINGS_FRAME {
        return None;
    }
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    let settings = payload.get(..length.min(payload.len()))?.as_chunks::<6>().0;
    let of_size = settings
        .iter()
        .find(|setting| u16::from_be_bytes([setting[0], setting[1]]) == MAX_FRAME_SIZE)?;
    Some(u32::from_be_bytes([
        of_size[2], of_size[3], of_size[4], of_size[5],
    ]))
}

/// Accepts connections until nobody takes them any more, and sorts followers, who ask for frames of at least
/// `follower_frame` bytes, from all others.
pub async fn accept(listener: TcpListener, follower_frame: u32, sorted: Sorted) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = sorted.others.closed() => return,
        };
        let sorted = sorted.clone();
        tokio::spawn(async move {
            let mut first = [0; FIRST_BYTES];
            let Ok(Ok(length)) =
                tokio::time::timeout(FIRST_BYTES_TIMEOUT, stream.peek(&mut first)).await
            else {
                return;
            };
            if stream.set_nodelay(true).is_err() {
                return;
            }
            // A server takes nothing only while the worker stops, and then the connection is to be dropped.
            if max_frame_size(&first[..length]).is_some_and(|size| size >= follower_frame) {
                let _ = sorted.followers.send(stream.into_std()).await;
            } else {
                let _ = sorted.others.send(Ok(stream)).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&(settings.len() as u32 * 6).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[SETTINGS_FRAME, 0, 0, 0, 0, 0]);
        for (name, value) in settings {
            bytes.extend_from_slice(&name.to_be_bytes());
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn a_follower_is_known_by_the_frames_it_asks_for() {
        assert_eq!(
            max_frame_size(&hello(&[(0x2, 0), (MAX_FRAME_SIZE, 1 << 20)])),
            Some(1 << 20)
        );
        assert_eq!(max_frame_size(&hello(&[(0x4, 1 << 20)])), None);
        assert_eq!(max_frame_size(&hello(&[])), None);
    }

    #[test]
    fn what_is_no_http2_or_cut_short_is_no_follower() {
        let whole = hello(&[(0x2, 0), (MAX_FRAME_SIZE, 1 << 20)]);
        for length in 0..whole.len() {
            assert_eq!(max_frame_size(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(max_frame_size(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
