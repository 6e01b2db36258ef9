//! Loopback up, and every address made this machine's own: three messages of rtnetlink.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `lo` is the first interface of every network namespace.
const LOOPBACK: u32 = 1;

const NLM_F_REQUEST_ACK_CREATE: u16 = 0x1 | 0x4 | 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// Brings loopback up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // struct ifinfomsg: family, pad, type, index, flags, change.
    let mut body = vec![0, 0, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    talk(RTM_NEWLINK, &body)
}

/// `ip route add local 0.0.0.0/0 dev lo`, and the same for `::/0` where this kernel has IPv6.
pub(crate) fn sink_everything(ipv6: bool) -> io::Result<()> {
    local_route(libc::AF_INET, libc::RT_SCOPE_HOST)?;
    if ipv6 { local_route(libc::AF_INET6, libc::RT_SCOPE_UNIVERSE) } else { Ok(()) }
}

fn local_route(family: i32, scope: u8) -> io::Result<()> {
    const PROTOCOL_BOOT: u8 = 3;
    const RTA_OIF: u16 = 4;
    let family = u8::try_from(family).map_err(io::Error::other)?;
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    let mut body =
        vec![family, 0, 0, 0, libc::RT_TABLE_LOCAL, PROTOCOL_BOOT, scope, libc::RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    body.extend(8_u16.to_ne_bytes());
    body.extend(RTA_OIF.to_ne_bytes());
    body.extend(LOOPBACK.to_ne_bytes());
    talk(RTM_NEWROUTE, &body)
}

/// Sends one request and reads its acknowledgement.
fn talk(kind: u16, body: &[u8]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(64);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK_CREATE.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut answer = [0; 1024];
    let read = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let answer = answer.get(..read).unwrap_or_default();
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code = answer.get(16..20).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("rtnetlink gave no answer")),
    }
}
