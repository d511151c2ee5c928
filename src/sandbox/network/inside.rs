//! The part of the container's first process.

use std::fs;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

use super::super::handoff::Handoff;
use super::super::namespaces::unshare;
use super::super::plan::{Failure, Message, Step};
use super::Plan;

/// `RTM_NEWLINK`, `NLM_F_REQUEST | NLM_F_ACK`, `IFF_UP`: rtnetlink(7), netdevice(7).
const NEWLINK: u16 = 16;
const REQUEST: u16 = 0x1 | 0x4;
const UP: u32 = 1;
/// The loopback of a new network namespace is its first interface.
const LOOPBACK: i32 = 1;

/// Makes the container's network.
pub(in super::super) fn enter(plan: Plan, handoff: &mut Handoff) -> Result<(), Failure> {
    if !plan.own {
        return Ok(());
    }
    unshare(UnshareFlags::NEWNET).map_err(Step::Namespaces.on("network"))?;
    raise_loopback().map_err(Step::Network.on("the loopback"))?;
    set_defaults();
    if plan.waits {
        handoff.tell(&Message::NetworkMade);
    }
    Ok(())
}

fn raise_loopback() -> Result<(), Errno> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEWLINK.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, which of them change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    // struct nlmsgerr behind the header: the error, negative, or 0.
    let mut answer = [0_u8; 256];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}

/// As docker sets them in a network namespace: everybody may ping, and serve at any port. Where they cannot be set, root alone may.
fn set_defaults() {
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let last = fs::read_to_string("/proc/self/gid_map").ok().and_then(|map| last_id(&map));
    let ranges = last.into_iter().chain([0]).map(|last| format!("0 {last}"));
    for range in ranges {
        if fs::write("/proc/sys/net/ipv4/ping_group_range", range).is_ok() {
            break;
        }
    }
}

/// The last of the ids that a map as in user_namespaces(7) has without a gap, and that a range may end with.
fn last_id(map: &str) -> Option<u32> {
    let mut next: u32 = 0;
    for line in map.lines() {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (Some(Ok(inside)), Some(_), Some(Ok(count))) = (fields.next(), fields.next(), fields.next())
        else {
            break;
        };
        if inside != next {
            break;
        }
        next = inside.saturating_add(count);
    }
    Some(next.checked_sub(1)?.min(i32::MAX.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_groups_is_what_the_map_has() {
        assert_eq!(last_id("0 1000 1\n"), Some(0));
        assert_eq!(last_id("0 1000 1\n1 100000 65536\n"), Some(65_536));
        assert_eq!(last_id("0 1000 1\n7 100000 65536\n"), Some(0));
        assert_eq!(last_id("0 0 4294967295\n"), Some(2_147_483_647));
        assert_eq!(last_id("x"), None);
    }
}
