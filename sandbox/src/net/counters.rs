//! The kernel's own counters of this network, against which the eye is checked.

use std::fs;
use std::io;

use super::ledger::Seen;

/// Totals since the network was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    connections: u64,
    datagrams: u64,
    echoes: u64,
    /// Sends that had no way out and so never reached the eye.
    no_route: u64,
}

impl Counters {
    /// Reads them for the network of this process.
    pub(crate) fn read() -> io::Result<Self> {
        let v4 = fs::read_to_string("/proc/self/net/snmp")?;
        // Absent where the kernel has no IPv6.
        let v6 = fs::read_to_string("/proc/self/net/snmp6").unwrap_or_default();
        Ok(Self::parse(&v4, &v6))
    }

    fn parse(v4: &str, v6: &str) -> Self {
        let v4 = |table: &str, name: &str| in_tables(v4, table, name);
        let v6 = |name: &str| {
            v6.lines()
                .filter_map(|line| line.split_once(char::is_whitespace))
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            connections: v4("Tcp", "ActiveOpens"),
            datagrams: v4("Udp", "OutDatagrams")
                + v4("UdpLite", "OutDatagrams")
                + v6("Udp6OutDatagrams")
                + v6("UdpLite6OutDatagrams"),
            echoes: v4("Icmp", "OutEchos") + v6("Icmp6OutEchos"),
            no_route: v4("Ip", "OutNoRoutes") + v6("Ip6OutNoRoutes"),
        }
    }

    /// What happened since `before` and the eye did not see, with what it lost.
    pub(crate) fn unaccounted(&self, before: &Self, seen: Seen, lost: u64) -> u64 {
        let more = |now: u64, then: u64, seen: u64| now.saturating_sub(then).saturating_sub(seen);
        let missed = more(self.connections, before.connections, seen.connections)
            + more(self.datagrams, before.datagrams, seen.datagrams)
            + more(self.echoes, before.echoes, seen.echoes)
            + more(self.no_route, before.no_route, seen.told);
        // What was lost for want of room is counted by the kernel too: the larger of both, not the sum.
        missed.max(lost) + seen.unlisted
    }
}

/// A value of `/proc/net/snmp`: a line of names, then a line of values, both with the table's name.
fn in_tables(text: &str, table: &str, name: &str) -> u64 {
    let mut rows =
        text.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| *key == table);
    let (Some((_, names)), Some((_, values))) = (rows.next(), rows.next()) else { return 0 };
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str =
        "Tcp: RtoAlgorithm ActiveOpens\nTcp: 1 5\nUdp: InDatagrams OutDatagrams\nUdp: 9 3\n";

    #[test]
    fn what_the_eye_missed_is_the_difference() {
        let now = Counters::parse(SNMP, "Udp6OutDatagrams   \t4\nIp6OutNoRoutes 0\n");
        let seen = Seen { connections: 4, datagrams: 7, ..Seen::default() };
        assert_eq!(now.unaccounted(&Counters::default(), seen, 0), 1);
        assert_eq!(now.unaccounted(&Counters::default(), seen, 10), 10);
    }
}
