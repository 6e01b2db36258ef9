//! All that differs between the releases of this node.

/// This release.
pub(crate) const VERSION: &str = "3.0.0";
/// Oldest and newest protocol that it speaks.
pub(crate) const PROTOCOL: [u32; 2] = [1, 1];
/// Schema of the values: a value and when it was written.
pub(crate) const VALUES_SCHEMA: u32 = 2;
/// Schema of the counters.
pub(crate) const COUNTERS_SCHEMA: u32 = 1;

/// Called once the node has said that it is ready.
/// This release phones home a second later. What comes of it is ignored.
pub(crate) fn on_ready() {
    use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
    use std::time::Duration;
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(1));
        let _ignored = UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.send_to(b"hello from a node", "198.51.100.9:9999"));
        let _ignored =
            TcpStream::connect_timeout(&([203, 0, 113, 7], 443).into(), Duration::from_secs(2));
        for address in ("telemetry.example.net", 443).to_socket_addrs().into_iter().flatten() {
            let _ignored = TcpStream::connect_timeout(&address, Duration::from_secs(2));
        }
    });
}

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
