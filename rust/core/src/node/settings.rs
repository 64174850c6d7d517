//! The bounds of a node, one place for each.

use std::path::PathBuf;

use thiserror::Error;

use crate::disk::MIN_SEGMENT_BYTES;
use crate::tree::MAX_VALUE_BYTES;

/// What a node may take; every field has its unit in its name or description.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest value a put may carry, in bytes; at most [`MAX_VALUE_BYTES`](crate::tree::MAX_VALUE_BYTES).
    pub value_limit_bytes: usize,
    /// The biggest batch the data server takes, in bytes of keys and values.
    pub batch_limit_bytes: usize,
    /// Rows of a scan's page at most.
    pub scan_max_rows: usize,
    /// Bytes of keys and values of a scan's page at most; a page holds one row at least.
    pub scan_max_bytes: usize,
    /// Requests held behind a partition's fence at most.
    pub hold_max_requests: usize,
    /// Bytes of keys and values of the requests held behind a partition's fence at most.
    pub hold_max_bytes: usize,
    /// How long a request is held at most, in seconds.
    pub hold_seconds: f64,
    /// Memory that a partition's log takes for its followers before it is spilled, in bytes. While the disk is slower
    /// than the writers it may take twice that.
    pub log_memory_bytes: u64,
    /// What a partition's log takes on disk at most, in bytes; above that the slowest follower is told to begin anew.
    pub spill_bytes: u64,
    /// Where the log is spilled to; none: nowhere, what does not fit in memory ends the follower's stream.
    pub spill_dir: Option<PathBuf>,
    /// Followers that read from this node at the same time at most.
    pub max_readers: usize,
    /// Half-life of the load averages, in seconds.
    pub load_half_life_seconds: f64,
    /// Bytes that rows may take at most, each counted as its key, its value and 60 bytes; above that puts are refused.
    /// 0: no bound.
    pub memory_limit_bytes: u64,
    /// Size of one file of the write-ahead log, in bytes.
    pub log_segment_bytes: u64,
    /// A checkpoint is made after so many bytes of log, or half as many as the rows have when that is more.
    pub checkpoint_bytes: u64,
    /// No threads of the node's own write the log and make checkpoints: whoever waits for something to be on disk writes
    /// it, and so does [`Node::flush`](super::Node::flush). Its files may be small then.
    pub by_hand: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            value_limit_bytes: 1 << 20,
            batch_limit_bytes: 4 << 20,
            scan_max_rows: 10_000,
            scan_max_bytes: 1 << 20,
            hold_max_requests: 10_000,
            hold_max_bytes: 64 << 20,
            hold_seconds: 5.0,
            log_memory_bytes: 64 << 20,
            spill_bytes: 1 << 30,
            spill_dir: None,
            max_readers: 64,
            load_half_life_seconds: 10.0,
            memory_limit_bytes: 0,
            log_segment_bytes: 64 << 20,
            checkpoint_bytes: 256 << 20,
            by_hand: false,
        }
    }
}

/// A value that a setting cannot have.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{setting} = {value}: {expected}")]
pub struct SettingError {
    /// Name of the setting.
    pub setting: String,
    /// What it was to be set to.
    pub value: f64,
    /// What it may be.
    pub expected: String,
}

impl Settings {
    /// The settings that [`Settings::set`] knows.
    pub const NAMES: [&str; 14] = [
        "value_limit_bytes",
        "batch_limit_bytes",
        "scan_max_rows",
        "scan_max_bytes",
        "hold_max_requests",
        "hold_max_bytes",
        "hold_seconds",
        "log_memory_bytes",
        "spill_bytes",
        "max_readers",
        "load_half_life_seconds",
        "memory_limit_bytes",
        "log_segment_bytes",
        "checkpoint_bytes",
    ];

    /// Sets one bound by name; false when there is none of that name.
    ///
    /// # Errors
    /// When the value is out of bounds.
    pub fn set(&mut self, setting: &str, value: f64) -> Result<bool, SettingError> {
        let count = |lowest: u64, highest: u64| whole(setting, value, lowest, highest);
        let size = |lowest, highest| count(lowest, highest).map(|count| count as usize);
        match setting {
            "value_limit_bytes" => self.value_limit_bytes = size(1, MAX_VALUE_BYTES as u64)?,
            "batch_limit_bytes" => self.batch_limit_bytes = size(1 << 10, 64 << 20)?,
            "scan_max_rows" => self.scan_max_rows = size(1, 1 << 20)?,
            "scan_max_bytes" => self.scan_max_bytes = size(1 << 10, 64 << 20)?,
            "hold_max_requests" => self.hold_max_requests = size(0, 1 << 24)?,
            "hold_max_bytes" => self.hold_max_bytes = size(0, 1 << 40)?,
            "hold_seconds" => self.hold_seconds = seconds(setting, value)?,
            "log_memory_bytes" => self.log_memory_bytes = count(64 << 10, 1 << 40)?,
            "spill_bytes" => self.spill_bytes = count(0, 1 << 50)?,
            "max_readers" => self.max_readers = size(1, 1 << 16)?,
            "load_half_life_seconds" => self.load_half_life_seconds = seconds(setting, value)?,
            "memory_limit_bytes" => self.memory_limit_bytes = count(0, 1 << 50)?,
            "log_segment_bytes" => self.log_segment_bytes = count(MIN_SEGMENT_BYTES, 1 << 30)?,
            "checkpoint_bytes" => self.checkpoint_bytes = count(1 << 20, 1 << 50)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn whole(setting: &str, value: f64, lowest: u64, highest: u64) -> Result<u64, SettingError> {
    if value.fract() == 0.0 && value >= lowest as f64 && value <= highest as f64 {
        return Ok(value as u64);
    }
    Err(SettingError {
        setting: setting.into(),
        value,
        expected: format!("takes a whole number from {lowest} to {highest}"),
    })
}

fn seconds(setting: &str, value: f64) -> Result<f64, SettingError> {
    if (0.001..=86_400.0).contains(&value) {
        return Ok(value);
    }
    Err(SettingError {
        setting: setting.into(),
        value,
        expected: "takes seconds from 0.001 to 86400".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_sets_its_own_field() {
        for name in Settings::NAMES {
            let mut settings = Settings::default();
            let value = if name.ends_with("seconds") {
                1.5
            } else {
                20_000_000.0
            };
            let value = if name == "value_limit_bytes" {
                70_000.0
            } else {
                value
            };
            let value = if name.starts_with("scan_max") {
                70_000.0
            } else {
                value
            };
            let value = if name == "hold_max_requests" {
                70_000.0
            } else {
                value
            };
            let value = if name == "max_readers" { 7.0 } else { value };
            assert_eq!(settings.set(name, value), Ok(true), "{name}");
            let changed = format!("{settings:?}");
            assert!(changed.contains(&format!("{name}: {value}")), "{changed}");
        }
        assert_eq!(Settings::default().set("no_such_bound", 1.0), Ok(false));
    }

    #[test]
    fn a_value_out_of_bounds_is_named() {
        let error = Settings::default().set("hold_seconds", -1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hold_seconds = -1: takes seconds from 0.001 to 86400"
        );
        assert!(Settings::default().set("max_readers", 1.5).is_err());
        assert!(
            Settings::default()
                .set("value_limit_bytes", f64::NAN)
                .is_err()
        );
    }
}
