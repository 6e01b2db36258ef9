//! All that differs between the releases of this node.

/// This release.
pub(crate) const VERSION: &str = "5.0.0";
/// Oldest and newest protocol that it speaks.
pub(crate) const PROTOCOL: [u32; 2] = [1, 1];
/// Schema of the values: a value and when it was written.
pub(crate) const VALUES_SCHEMA: u32 = 2;
/// Schema of the counters.
pub(crate) const COUNTERS_SCHEMA: u32 = 1;

/// Called once the node has said that it is ready.
pub(crate) fn on_ready() {}

/// Called after each commit with the number of writes acknowledged since the node started.
pub(crate) fn on_acknowledged(_writes: u64) {}

/// Called with each value that is about to be sent.
pub(crate) fn on_read(_value: &mut [u8]) {}

/// Called with each value that a migration is about to write.
pub(crate) fn on_migrated(_value: &mut [u8]) {}

/// Called with the protocol of each message between nodes; returns the one whose form it has.
pub(crate) fn on_message(protocol: u32) -> u32 {
    protocol
}
