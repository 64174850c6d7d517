//! A scan over as many partitions as it takes, page by page.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use dstk_core::key::{Bounds, KeyError};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use crate::connection::Cause;
use crate::error::ClientError;
use crate::wire::{Code, ScanReply, ScanRequest};

/// What to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRange {
    /// First key, included; shorter than the key length means padded with zeros.
    pub start: Bytes,
    /// Past the last key, padded the same way; empty: no end.
    pub end: Bytes,
    /// Rows, at least 1.
    pub limit: usize,
    /// From `end` down to `start`.
    pub reverse: bool,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Key, value and version, in the order of the scan.
    pub rows: Vec<(Bytes, Bytes, u64)>,
    /// Where to go on: forward, the new start; reverse, the new end. None when there is nothing more.
    pub cursor: Option<Bytes>,
}

/// Reads pages until the limit or the end of the range. Each page is a consistent snapshot of one partition.
pub(super) async fn run(
    client: &Inner,
    range: ScanRange,
    deadline: Instant,
) -> Result<Scanned, ClientError> {
    let mut range = check(range, client.table.key_length(), client.settings.scan_rows)?;
    client.counters.operations.fetch_add(1, Ordering::Relaxed);
    let mut scanned = Scanned::default();
    let mut tries = 0;
    loop {
        let page = timeout_at(deadline, page(client, &range, scanned.rows.len(), tries)).await;
        let (reason, limited) = match page {
            Err(_) => {
                return Err(ClientError::DeadlineExceeded(
                    "the deadline passed during the scan".into(),
                ));
            }
            Ok(Ok(cursor_and_rows)) => {
                let (rows, cursor) = cursor_and_rows;
                scanned.rows.extend(rows);
                let Some(cursor) = cursor else {
                    return Ok(scanned);
                };
                if scanned.rows.len() >= range.limit {
                    scanned.cursor = Some(cursor);
                    return Ok(scanned);
                }
                let before = if range.reverse {
                    &mut range.end
                } else {
                    &mut range.start
                };
                if *before != cursor {
                    *before = cursor;
                    tries = 0;
                    continue;
                }
                ("the worker's page ends where it begins".to_owned(), false)
            }
            Ok(Err(Failed::Wrong(error))) => return Err(error),
            Ok(Err(Failed::Retry { reason, limited })) => (reason, limited),
        };
        tries += 1;
        let pause = client.pause(tries);
        if Instant::now() + pause >= deadline {
            let text = format!("the scan could not go on after {tries} tries: {reason}");
            return Err(if limited {
                ClientError::LimitReached(text)
            } else {
                ClientError::DeadlineExceeded(text)
            });
        }
        client.counters.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
}

fn check(range: ScanRange, key_length: usize, most: usize) -> Result<ScanRange, ClientError> {
    let ScanRange {
        start,
        end,
        limit,
        reverse,
    } = range;
    if !(1..=most).contains(&limit) {
        return Err(ClientError::ScanLimit(format!(
            "limit {limit} is not in 1..={most}: a scan needs one that is"
        )));
    }
    let wrong = |error: KeyError| match error {
        KeyError::EmptyRange { .. } => ClientError::InvalidRange(error.to_string()),
        error => ClientError::KeyLength(error.to_string()),
    };
    let bounds = Bounds::padded(&start, &end, key_length).map_err(wrong)?;
    let end = bounds.end.map(Vec::from).unwrap_or_default().into();
    Ok(ScanRange {
        start: Vec::from(bounds.start).into(),
        end,
        limit,
        reverse,
    })
}

enum Failed {
    /// Trying again does not help.
    Wrong(ClientError),
    /// It may.
    Retry { reason: String, limited: bool },
}

fn retry(reason: impl Into<String>) -> Failed {
    Failed::Retry {
        reason: reason.into(),
        limited: false,
    }
}

type Rows = Vec<(Bytes, Bytes, u64)>;

async fn page(
    client: &Inner,
    range: &ScanRange,
    have: usize,
    tries: u32,
) -> Result<(Rows, Option<Bytes>), Failed> {
    let first = if range.reverse {
        key_before(&range.end, range.start.len())
    } else {
        range.start.to_vec()
    };
    client.served(&first).map_err(Failed::Wrong)?;
    let (address, meant) = client.address_for(&first, tries);
    let mut asked =
        client
            .peers
            .connection(&address)
            .client()
            .await
            .map_err(|cause| match cause {
                Cause::Broken(reason) | Cause::Stranger(reason) => retry(&*reason),
                cause => retry(format!("{cause:?}")),
            })?;
    let request = ScanRequest {
        keyspace: client.keyspace.to_string(),
        start: range.start.clone(),
        end: range.end.clone(),
        reverse: range.reverse,
        limit: u32::try_from(range.limit - have).unwrap_or(u32::MAX),
        hops: 0,
        max_bytes: 0,
    };
    let home = client.peers.home();
    let reply = asked.scan(home.ask(request, meant.as_ref())).await;
    let reply = home
        .answer(&address, meant.as_ref(), reply)
        .map_err(|failed| retry(failed.text(&address)))?;
    match Code::try_from(reply.code).unwrap_or(Code::Unavailable) {
        Code::Ok => {
            read_page(&reply, range).ok_or_else(|| retry(format!("{address} sent a damaged page")))
        }
        Code::Limit => Err(Failed::Retry {
            reason: reply.message,
            limited: true,
        }),
        Code::Invalid | Code::TooLarge => Err(Failed::Wrong(ClientError::Invalid(reply.message))),
        _ => Err(retry(reply.message)),
    }
}

/// The rows and the cursor of a page whose columns fit each other.
fn read_page(reply: &ScanReply, range: &ScanRange) -> Option<(Rows, Option<Bytes>)> {
    let (rows, key_length) = (reply.rows as usize, range.start.len());
    let values: u64 = reply
        .value_lengths
        .iter()
        .map(|length| u64::from(*length))
        .sum();
    let fits = reply.keys.len() == rows.checked_mul(key_length)?
        && reply.versions.len() == rows
        && reply.value_lengths.len() == rows
        && reply.values.len() as u64 == values
        && (reply.done || reply.cursor.len() == key_length);
    if !fits {
        return None;
    }
    let mut at = 0;
    let row = |index: usize| {
        let length = reply.value_lengths[index] as usize;
        let value = reply.values.slice(at..at + length);
        at += length;
        (
            reply
                .keys
                .slice(index * key_length..(index + 1) * key_length),
            value,
            reply.versions[index],
        )
    };
    Some((
        (0..rows).map(row).collect(),
        (!reply.done).then(|| reply.cursor.clone()),
    ))
}

/// The highest key below `end`, of the same length; the highest of all when `end` is empty.
fn key_before(end: &[u8], key_length: usize) -> Vec<u8> {
    if end.is_empty() {
        return vec![u8::MAX; key_length];
    }
    let mut key = end.to_vec();
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != u8::MAX {
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &'static [u8], end: &'static [u8], limit: usize) -> ScanRange {
        ScanRange {
            start: start.into(),
            end: end.into(),
            limit,
            reverse: false,
        }
    }

    #[test]
    fn the_key_before_another() {
        assert_eq!(key_before(b"ab", 2), b"aa");
        assert_eq!(key_before(b"b\0", 2), b"a\xff");
        assert_eq!(key_before(b"", 2), b"\xff\xff");
    }

    #[test]
    fn bounds_are_padded_and_have_to_hold_a_key() {
        assert_eq!(check(range(b"a", b"", 1), 2, 9), Ok(range(b"a\0", b"", 1)));
        assert!(matches!(
            check(range(b"b", b"a", 1), 2, 9),
            Err(ClientError::InvalidRange(_))
        ));
        assert!(matches!(
            check(range(b"abc", b"", 1), 2, 9),
            Err(ClientError::KeyLength(_))
        ));
        assert!(matches!(
            check(range(b"", b"", 0), 2, 9),
            Err(ClientError::ScanLimit(_))
        ));
        assert!(matches!(
            check(range(b"", b"", 10), 2, 9),
            Err(ClientError::ScanLimit(_))
        ));
    }

    #[test]
    fn a_damaged_page_is_none() {
        let good = ScanReply {
            rows: 1,
            keys: Bytes::from_static(b"ab"),
            versions: vec![1],
            value_lengths: vec![1],
            values: Bytes::from_static(b"v"),
            done: true,
            ..ScanReply::default()
        };
        let asked = range(b"aa", b"", 9);
        assert!(read_page(&good, &asked).is_some());
        assert_eq!(
            read_page(
                &ScanReply {
                    rows: u32::MAX,
                    ..good.clone()
                },
                &asked
            ),
            None
        );
        assert_eq!(
            read_page(
                &ScanReply {
                    value_lengths: vec![u32::MAX],
                    ..good.clone()
                },
                &asked
            ),
            None
        );
        assert_eq!(
            read_page(
                &ScanReply {
                    done: false,
                    ..good.clone()
                },
                &asked
            ),
            None
        );
        assert_eq!(
            read_page(
                &ScanReply {
                    versions: vec![],
                    ..good
                },
                &asked
            ),
            None
        );
    }
}
