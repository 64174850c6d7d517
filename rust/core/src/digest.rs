//! Row hashes.

/// Hash of a row.
pub fn row_hash(key: &[u8], version: u64, value: &[u8]) -> u64 {
    use xxhash_rust::xxh3::xxh3_64_with_seed;
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, version))
}
