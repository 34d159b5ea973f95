//! Reading the default route from what Linux shows in `/proc/net`.

/// The route is in use.
const RTF_UP: u32 = 0x1;
/// The route leads to a gateway.
const RTF_GATEWAY: u32 = 0x2;
/// Packets of this route are refused.
const RTF_REJECT: u32 = 0x200;

/// Finds the interface of the IPv4 default route in the text of
/// `/proc/net/route`: the one with the lowest metric that leads to a gateway.
///
/// go-sockaddr takes the first line `default via <gateway> dev <name>` that
/// `ip route` prints, which is the same one; default routes without a gateway
/// do not count for it. Lines that are not as the kernel writes them are passed
/// over.
pub fn parse_proc_net_route(text: &str) -> Option<&str> {
    lowest_metric(text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(8).collect();
        let [
            name,
            destination,
            _gateway,
            flags,
            _refs,
            _use,
            metric,
            mask,
        ] = fields[..]
        else {
            return None;
        };
        let everything = [destination, mask].iter().all(|f| hex(f) == Some(0));
        let usable = everything && leads_to_gateway(hex(flags)?);
        usable.then_some((metric.parse().ok()?, name))
    }))
}

/// The same for IPv6 and the text of `/proc/net/ipv6_route`.
///
/// go-sockaddr does not look at IPv6 routes. On a machine without an IPv4
/// default route this one tells which interface faces the outside.
pub fn parse_proc_net_ipv6_route(text: &str) -> Option<&str> {
    lowest_metric(text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let [
            destination,
            length,
            _source,
            _,
            _gateway,
            metric,
            _refs,
            _use,
            flags,
            name,
        ] = fields[..]
        else {
            return None;
        };
        let everything = destination.bytes().all(|b| b == b'0') && hex(length) == Some(0);
        let usable = everything && leads_to_gateway(hex(flags)?);
        usable.then_some((hex(metric)?, name))
    }))
}

const fn leads_to_gateway(flags: u32) -> bool {
    flags & (RTF_UP | RTF_GATEWAY | RTF_REJECT) == RTF_UP | RTF_GATEWAY
}

/// The first of the routes with the lowest metric.
fn lowest_metric<'a>(routes: impl Iterator<Item = (u32, &'a str)>) -> Option<&'a str> {
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, name)| name)
}

fn hex(field: &str) -> Option<u32> {
    u32::from_str_radix(field, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn ipv4() {
        let cases = [
            ("", None),
            (
                "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
                None,
            ),
            (
                "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
                Some("eth0"),
            ),
            // The lower metric wins, whatever the order.
            (
                "wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                 eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
                Some("eth0"),
            ),
            // Of equal ones the first.
            (
                "eth1\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                 eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
                Some("eth1"),
            ),
            // Without a gateway, rejecting, or not up.
            (
                "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
                None,
            ),
            (
                "*\t00000000\t00000000\t0203\t0\t0\t0\t00000000\t0\t0\t0\n",
                None,
            ),
            (
                "eth0\t00000000\t0100A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n",
                None,
            ),
            // Half of everything is not everything.
            (
                "tun0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n",
                None,
            ),
            // Not as the kernel writes it.
            (
                "eth0 zero\neth0\t00000000\tx\ty\t0\t0\t0\t00000000\n\n",
                None,
            ),
        ];
        for (lines, expected) in cases {
            let text = format!("{HEADER}{lines}");
            assert_eq!(parse_proc_net_route(&text), expected, "{lines}");
        }
    }

    #[test]
    fn ipv6() {
        let zero = "0".repeat(32);
        let route = |to: &str, length, metric, flags, name| {
            format!("{to} {length} {zero} 00 {zero} {metric} 00000001 00000000 {flags} {name}\n")
        };
        let reject = route(&zero, "00", "ffffffff", "00200200", "      lo");
        let network = route(&zero, "40", "00000100", "00000003", "    eth0");
        let slow = route(&zero, "00", "00000400", "00000003", "    eth1");
        let fast = route(&zero, "00", "00000064", "00450003", "    eth0");
        let link = route(&zero, "00", "00000001", "00000001", "    tun0");

        assert_eq!(parse_proc_net_ipv6_route(""), None);
        assert_eq!(parse_proc_net_ipv6_route(&reject), None);
        assert_eq!(parse_proc_net_ipv6_route(&network), None);
        assert_eq!(parse_proc_net_ipv6_route("0 1 2\n"), None);
        let all = [network, slow, fast, link, reject].concat();
        assert_eq!(parse_proc_net_ipv6_route(&all), Some("eth0"));
    }
}
