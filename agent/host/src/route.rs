//! Which of its addresses this machine uses towards others.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The addresses that packets to anywhere would leave with, IPv4 first, as far as there is a route.
/// No packet is sent: connecting a UDP socket only asks the kernel for the route.
pub fn default_route_sources() -> Vec<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): nobody is there, the default route leads
    // there.
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(|(own, other)| {
            let socket = UdpSocket::bind(own.parse::<SocketAddr>().ok()?).ok()?;
            socket.connect(other.parse::<SocketAddr>().ok()?).ok()?;
            let address = socket.local_addr().ok()?.ip();
            (!address.is_unspecified()).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_of_this_machine() {
        let own: Vec<IpAddr> = crate::interfaces()
            .unwrap()
            .into_iter()
            .flat_map(|i| i.addresses)
            .map(|(address, _)| address)
            .collect();
        for address in default_route_sources() {
            assert!(own.contains(&address), "{address} of {own:?}");
        }
    }
}
