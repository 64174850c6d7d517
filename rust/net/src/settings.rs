//! Every bound of the network layer, with its unit and default. Each can be set by name.

use std::time::Duration;

use dstk_core::snapshot::Compression;
use thiserror::Error;

/// A setting that does not exist, or a value it cannot have.
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

fn error(setting: &str, value: f64, expected: impl Into<String>) -> SettingError {
    SettingError {
        setting: setting.into(),
        value,
        expected: expected.into(),
    }
}

fn count(setting: &str, value: f64, lowest: u64, highest: u64) -> Result<u64, SettingError> {
    if value.fract() == 0.0 && value >= lowest as f64 && value <= highest as f64 {
        Ok(value as u64)
    } else {
        Err(error(
            setting,
            value,
            format!("takes a whole number from {lowest} to {highest}"),
        ))
    }
}

fn seconds(setting: &str, value: f64) -> Result<Duration, SettingError> {
    if (0.001..=86_400.0).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(error(setting, value, "takes seconds from 0.001 to 86400"))
    }
}

/// What both ends of a connection share.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionSettings {
    /// `connect_seconds`: how long a connection may take to be made.
    pub connect_timeout: Duration,
    /// `batch_operations`: operations a message takes while few wait.
    pub batch_operations: usize,
    /// `open_operations`: operations that may wait for their answer on one connection.
    pub open_operations: usize,
    /// `open_bytes`: keys and values of those operations; one operation is taken whatever its size.
    pub open_bytes: usize,
    /// `batch_limit_bytes`: keys and values of one message, before slack for its other columns.
    pub batch_limit: usize,
    /// `value_limit_bytes`: the longest value.
    pub value_limit: usize,
    /// `keepalive_seconds`: how long a silent connection with open operations is believed to live.
    pub keepalive: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            batch_operations: 16,
            open_operations: 65_536,
            open_bytes: 1 << 30,
            batch_limit: 4 << 20,
            value_limit: 1 << 20,
            keepalive: Duration::from_secs(5),
        }
    }
}

impl ConnectionSettings {
    /// The largest message that is decoded, in bytes: keys and values, and slack for the other columns.
    pub fn message_bytes(&self) -> usize {
        self.batch_limit + self.batch_limit / 4 + (64 << 10)
    }

    /// Sets one bound by name; false when there is none of that name.
    pub fn set(&mut self, setting: &str, value: f64) -> Result<bool, SettingError> {
        match setting {
            "connect_seconds" => self.connect_timeout = seconds(setting, value)?,
            "batch_operations" => {
                self.batch_operations = count(setting, value, 1, 65_536)? as usize
            }
            "open_operations" => self.open_operations = count(setting, value, 1, 1 << 24)? as usize,
            "open_bytes" => self.open_bytes = count(setting, value, 1 << 10, 1 << 40)? as usize,
            "batch_limit_bytes" => {
                self.batch_limit = count(setting, value, 1 << 10, 64 << 20)? as usize
            }
            "value_limit_bytes" => self.value_limit = count(setting, value, 1, 64 << 20)? as usize,
            "keepalive_seconds" => self.keepalive = seconds(setting, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A client's bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSettings {
    /// Those of its connections.
    pub connection: ConnectionSettings,
    /// `timeout_seconds`: deadline of a call that gives none.
    pub timeout: Duration,
    /// `close_seconds`: how long a client that is closed waits for the answers to what was sent.
    pub close_timeout: Duration,
    /// `backoff_seconds`: wait before the first repetition; doubles with each.
    pub backoff: Duration,
    /// `backoff_limit_seconds`: the longest wait before a repetition.
    pub backoff_limit: Duration,
    /// `many_operations`: operations of one many-call that are under way at a time.
    pub many_operations: usize,
    /// `scan_rows`: the most rows one scan may ask for.
    pub scan_rows: usize,
    /// The cluster that is meant, by its identity; empty: that of the first worker that answers.
    pub cluster: String,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings::default(),
            timeout: Duration::from_secs(30),
            close_timeout: Duration::from_millis(500),
            backoff: Duration::from_millis(2),
            backoff_limit: Duration::from_millis(200),
            many_operations: 4096,
            scan_rows: 1_000_000,
            cluster: String::new(),
        }
    }
}

impl ClientSettings {
    /// Sets one bound by name; an error names those that exist.
    pub fn set(&mut self, setting: &str, value: f64) -> Result<(), SettingError> {
        match setting {
            "timeout_seconds" => self.timeout = seconds(setting, value)?,
            "close_seconds" => self.close_timeout = seconds(setting, value)?,
            "backoff_seconds" => self.backoff = seconds(setting, value)?,
            "backoff_limit_seconds" => self.backoff_limit = seconds(setting, value)?,
            "many_operations" => self.many_operations = count(setting, value, 1, 1 << 20)? as usize,
            "scan_rows" => self.scan_rows = count(setting, value, 1, 1 << 30)? as usize,
            _ if self.connection.set(setting, value)? => {}
            _ => {
                return Err(error(
                    setting,
                    value,
                    "no such setting; there are timeout_seconds, close_seconds, backoff_seconds, backoff_limit_seconds, \
                     many_operations, scan_rows, connect_seconds, batch_operations, open_operations, open_bytes, \
                     batch_limit_bytes, value_limit_bytes, keepalive_seconds",
                ));
            }
        }
        Ok(())
    }
}

/// A worker's bounds on the network; those of requests (value, batch, scan, hold) are
/// [the node's](dstk_core::node::Settings).
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSettings {
    /// Those of its connections to other workers; the node's limits take the place of its `batch_limit` and
    /// `value_limit`.
    pub connection: ConnectionSettings,
    /// `server_threads`: threads that serve clients.
    pub server_threads: usize,
    /// `replication_threads`: threads that send and take copies of partitions.
    pub replication_threads: usize,
    /// `replication_nice`: how much lower the priority of those threads is (0 to 19).
    pub replication_nice: i32,
    /// `forward_hops`: workers an operation may be passed on by.
    pub forward_hops: u32,
    /// `forward_seconds`: how long an operation passed on may take.
    pub forward_timeout: Duration,
    /// `held_check_seconds`: how often it is looked whether held operations have waited too long.
    pub held_check: Duration,
    /// `replication_window_bytes`: what a follower may be sent before it has to acknowledge.
    pub replication_window: usize,
    /// `replication_lz4`: whether snapshots are sent compressed (0 no, 1 by lz4). Worth it where the network is slower
    /// than a core compresses; loopback is not.
    pub replication_compression: Compression,
    /// `replication_state_seconds`: how often a source tells its followers where it is.
    pub replication_state: Duration,
    /// `follow_retry_seconds`: wait before the first resumption of a broken follow stream; doubles with each.
    pub follow_retry: Duration,
    /// `follow_retry_limit_seconds`: the longest such wait.
    pub follow_retry_limit: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings {
                open_bytes: 256 << 20,
                ..ConnectionSettings::default()
            },
            server_threads: 2,
            replication_threads: 2,
            replication_nice: 10,
            forward_hops: 4,
            forward_timeout: Duration::from_secs(30),
            held_check: Duration::from_millis(50),
            replication_window: 8 << 20,
            replication_compression: Compression::None,
            replication_state: Duration::from_millis(100),
            follow_retry: Duration::from_millis(50),
            follow_retry_limit: Duration::from_secs(2),
        }
    }
}

impl WorkerSettings {
    /// The settings that [`WorkerSettings::set`] knows, but for those that are the node's as well.
    pub const NAMES: [&str; 16] = [
        "server_threads",
        "replication_threads",
        "replication_nice",
        "forward_hops",
        "forward_seconds",
        "held_check_seconds",
        "replication_window_bytes",
        "replication_lz4",
        "replication_state_seconds",
        "follow_retry_seconds",
        "follow_retry_limit_seconds",
        "connect_seconds",
        "batch_operations",
        "open_operations",
        "open_bytes",
        "keepalive_seconds",
    ];

    /// Sets one bound by name; false when there is none of that name.
    pub fn set(&mut self, setting: &str, value: f64) -> Result<bool, SettingError> {
        match setting {
            "server_threads" => self.server_threads = count(setting, value, 1, 256)? as usize,
            "replication_threads" => {
                self.replication_threads = count(setting, value, 1, 256)? as usize
            }
            "replication_nice" => self.replication_nice = count(setting, value, 0, 19)? as i32,
            "forward_hops" => self.forward_hops = count(setting, value, 0, 64)? as u32,
            "forward_seconds" => self.forward_timeout = seconds(setting, value)?,
            "held_check_seconds" => self.held_check = seconds(setting, value)?,
            "replication_window_bytes" => {
                self.replication_window = count(setting, value, 64 << 10, 1 << 30)? as usize;
            }
            "replication_lz4" => {
                self.replication_compression = match count(setting, value, 0, 1)? {
                    0 => Compression::None,
                    _ => Compression::Lz4,
                };
            }
            "replication_state_seconds" => self.replication_state = seconds(setting, value)?,
            "follow_retry_seconds" => self.follow_retry = seconds(setting, value)?,
            "follow_retry_limit_seconds" => self.follow_retry_limit = seconds(setting, value)?,
            _ => return self.connection.set(setting, value),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_worker_sets_something() {
        for name in WorkerSettings::NAMES {
            let value = match name {
                "replication_nice" | "replication_lz4" => 1.0,
                "replication_window_bytes" | "open_bytes" => 100_000.0,
                _ => 7.0,
            };
            let mut settings = WorkerSettings::default();
            assert!(settings.set(name, value).is_ok_and(|known| known), "{name}");
            assert_ne!(settings, WorkerSettings::default(), "{name}");
        }
    }
}
