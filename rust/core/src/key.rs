//! Keys of one fixed length and the closed-open bounds made of them.

use std::fmt;

use thiserror::Error;

/// The longest key a keyspace may ask for, in bytes.
pub const MAX_KEY_LENGTH: usize = 1024;

/// What can be wrong with a key or a pair of bounds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// More bytes than the keyspace takes.
    #[error("key {key} is {length} bytes; this keyspace takes {key_length}: shorten it")]
    TooLong {
        /// The key, readable.
        key: String,
        /// Its length in bytes.
        length: usize,
        /// What the keyspace takes, in bytes.
        key_length: usize,
    },
    /// Not exactly as many bytes as the keyspace takes.
    #[error(
        "key {key} is {length} bytes; this keyspace takes exactly {key_length}: pad or shorten it"
    )]
    WrongLength {
        /// The key, readable.
        key: String,
        /// Its length in bytes.
        length: usize,
        /// What the keyspace takes, in bytes.
        key_length: usize,
    },
    /// A key length that no keyspace can have.
    #[error("key length {0} is not in 1..={MAX_KEY_LENGTH}: choose one that is")]
    BadKeyLength(usize),
    /// The two bounds of a range have different lengths.
    #[error(
        "bounds {start} and {end} are {start_length} and {end_length} bytes: pad both to the key length"
    )]
    UnequalBounds {
        /// Lower bound, readable.
        start: String,
        /// Upper bound, readable.
        end: String,
        /// Length of the lower bound in bytes.
        start_length: usize,
        /// Length of the upper bound in bytes.
        end_length: usize,
    },
    /// The lower bound is not below the upper bound.
    #[error("range [{start}, {end}) is empty: start has to be below end")]
    EmptyRange {
        /// Lower bound, readable.
        start: String,
        /// Upper bound, readable.
        end: String,
    },
    /// A split key that leaves one side of the range empty, or lies outside of it.
    #[error(
        "split key {at} is not strictly inside {bounds}: choose one above its start and below its end"
    )]
    NotInside {
        /// The split key, readable.
        at: String,
        /// The range, readable.
        bounds: String,
    },
    /// Two ranges that were to become one have a gap between them or overlap.
    #[error(
        "ranges {left} and {right} are not adjacent: the end of the first has to be the start of the second"
    )]
    NotAdjacent {
        /// The lower range, readable.
        left: String,
        /// The upper range, readable.
        right: String,
    },
}

/// A key as a person reads it: text where it is printable ASCII but for zero padding, `0x…` otherwise.
///
/// The empty key and one of zeros alone read as `0x`.
pub fn readable(key: &[u8]) -> String {
    let used = key.len() - key.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &key[..used];
    if !text.is_empty() && text.iter().all(u8::is_ascii_graphic) {
        return text.iter().map(|byte| char::from(*byte)).collect();
    }
    let mut hex = String::with_capacity(2 + 2 * used);
    hex.push_str("0x");
    for byte in text {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    hex
}

/// Checks that `key_length` (bytes) is one a keyspace can have.
pub fn check_key_length(key_length: usize) -> Result<(), KeyError> {
    if (1..=MAX_KEY_LENGTH).contains(&key_length) {
        Ok(())
    } else {
        Err(KeyError::BadKeyLength(key_length))
    }
}

/// Checks that `key` is exactly `key_length` bytes.
pub fn check_key(key: &[u8], key_length: usize) -> Result<(), KeyError> {
    if key.len() == key_length {
        return Ok(());
    }
    Err(KeyError::WrongLength {
        key: readable(key),
        length: key.len(),
        key_length,
    })
}

/// `bytes` followed by zeros up to `key_length` bytes; an error if it is longer.
///
/// Zero padding keeps order: the padded form of a prefix is the lowest key that starts with it.
pub fn pad(bytes: &[u8], key_length: usize) -> Result<Box<[u8]>, KeyError> {
    check_key_length(key_length)?;
    if bytes.len() > key_length {
        return Err(KeyError::TooLong {
            key: readable(bytes),
            length: bytes.len(),
            key_length,
        });
    }
    let mut padded = vec![0; key_length];
    padded[..bytes.len()].copy_from_slice(bytes);
    Ok(padded.into())
}

/// A closed-open range of keys: from `start` up to and without `end`.
///
/// Both bounds have the keyspace's key length; no `end` means up to the highest key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The lowest key inside.
    pub start: Box<[u8]>,
    /// The lowest key above the range, or none for +∞.
    pub end: Option<Box<[u8]>>,
}

impl Bounds {
    /// Bounds that hold at least one key; both of one length in 1..=[`MAX_KEY_LENGTH`].
    pub fn new(start: Box<[u8]>, end: Option<Box<[u8]>>) -> Result<Self, KeyError> {
        check_key_length(start.len())?;
        if let Some(end) = &end {
            if end.len() != start.len() {
                return Err(KeyError::UnequalBounds {
                    start: readable(&start),
                    end: readable(end),
                    start_length: start.len(),
                    end_length: end.len(),
                });
            }
            if start >= *end {
                return Err(KeyError::EmptyRange {
                    start: readable(&start),
                    end: readable(end),
                });
            }
        }
        Ok(Self { start, end })
    }

    /// Bounds from unpadded bytes; an empty `end` means +∞, as in a Partition's spec.
    pub fn padded(start: &[u8], end: &[u8], key_length: usize) -> Result<Self, KeyError> {
        let end = if end.is_empty() {
            None
        } else {
            Some(pad(end, key_length)?)
        };
        Self::new(pad(start, key_length)?, end)
    }

    /// The whole keyspace.
    pub fn all(key_length: usize) -> Result<Self, KeyError> {
        Self::padded(b"", b"", key_length)
    }

    /// Length of the keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.start.len()
    }

    /// The upper bound as a slice, if there is one.
    pub fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        *key >= *self.start && self.end().is_none_or(|end| key < end)
    }

    /// Whether every key of `other` lies inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start
            && match (self.end(), other.end()) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => theirs <= mine,
            }
    }

    /// Whether any key lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.end().is_none_or(|end| *other.start < *end)
            && other.end().is_none_or(|end| *self.start < *end)
    }

    /// Whether `next` starts exactly where this range ends.
    pub fn is_adjacent_before(&self, next: &Self) -> bool {
        self.end.as_ref() == Some(&next.start)
    }

    /// `[start, at)` and `[at, end)`; `at` has to be strictly inside.
    pub fn split(&self, at: &[u8]) -> Result<(Self, Self), KeyError> {
        check_key(at, self.key_length())?;
        if at == &*self.start || !self.contains(at) {
            return Err(KeyError::NotInside {
                at: readable(at),
                bounds: self.to_string(),
            });
        }
        let left = Self {
            start: self.start.clone(),
            end: Some(at.into()),
        };
        let right = Self {
            start: at.into(),
            end: self.end.clone(),
        };
        Ok((left, right))
    }

    /// One range out of this one and the one that starts where it ends.
    pub fn join(&self, next: &Self) -> Result<Self, KeyError> {
        if !self.is_adjacent_before(next) {
            return Err(KeyError::NotAdjacent {
                left: self.to_string(),
                right: next.to_string(),
            });
        }
        Ok(Self {
            start: self.start.clone(),
            end: next.end.clone(),
        })
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end() {
            Some(end) => write!(f, "[{}, {})", readable(&self.start), readable(end)),
            None => write!(f, "[{}, +∞)", readable(&self.start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(start: &str, end: &str) -> Bounds {
        Bounds::padded(start.as_bytes(), end.as_bytes(), 4).unwrap()
    }

    #[test]
    fn padding_keeps_order_and_refuses_what_is_longer() {
        assert_eq!(&*pad(b"a", 3).unwrap(), b"a\0\0");
        assert!(pad(b"a", 3).unwrap() < pad(b"a\x01", 3).unwrap());
        let error = pad(b"abcd", 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "key abcd is 4 bytes; this keyspace takes 3: shorten it"
        );
        assert_eq!(pad(b"", 0), Err(KeyError::BadKeyLength(0)));
        assert_eq!(pad(b"", 1025), Err(KeyError::BadKeyLength(1025)));
    }

    #[test]
    fn keys_read_as_text_or_hex() {
        assert_eq!(readable(b"user\0\0"), "user");
        assert_eq!(readable(b"\x01\xff\0"), "0x01ff");
        assert_eq!(readable(b"\0\0"), "0x");
        assert_eq!(bounds("a", "").to_string(), "[a, +∞)");
    }

    #[test]
    fn bounds_have_to_hold_a_key() {
        assert!(matches!(
            Bounds::padded(b"b", b"a", 4),
            Err(KeyError::EmptyRange { .. })
        ));
        assert!(matches!(
            Bounds::padded(b"b", b"b", 4),
            Err(KeyError::EmptyRange { .. })
        ));
        let unequal = Bounds::new(b"a".as_slice().into(), Some(b"bb".as_slice().into()));
        assert!(matches!(unequal, Err(KeyError::UnequalBounds { .. })));
    }

    #[test]
    fn bounds_are_closed_open() {
        let range = bounds("b", "d");
        assert!(range.contains(&pad(b"b", 4).unwrap()));
        assert!(range.contains(b"czzz"));
        assert!(!range.contains(&pad(b"d", 4).unwrap()));
        assert!(bounds("b", "").contains(&[255; 4]));
    }

    #[test]
    fn overlap_cover_and_adjacency() {
        let (low, high) = (bounds("a", "c"), bounds("c", ""));
        assert!(!low.overlaps(&high) && !high.overlaps(&low));
        assert!(low.is_adjacent_before(&high) && !high.is_adjacent_before(&low));
        assert!(bounds("b", "d").overlaps(&low) && bounds("b", "d").overlaps(&high));
        assert!(high.covers(&bounds("d", "e")) && !bounds("d", "e").covers(&high));
        assert!(!low.covers(&high));
        assert_eq!(low.join(&high).unwrap(), bounds("a", ""));
        assert!(matches!(high.join(&low), Err(KeyError::NotAdjacent { .. })));
    }

    #[test]
    fn a_split_key_lies_strictly_inside() {
        let range = bounds("b", "d");
        let (left, right) = range.split(&pad(b"c", 4).unwrap()).unwrap();
        assert_eq!((left, right), (bounds("b", "c"), bounds("c", "d")));
        for outside in [b"a", b"b", b"d", b"e"] {
            let at = pad(outside, 4).unwrap();
            assert!(matches!(range.split(&at), Err(KeyError::NotInside { .. })));
        }
        assert!(matches!(
            range.split(b"c"),
            Err(KeyError::WrongLength { .. })
        ));
    }
}
