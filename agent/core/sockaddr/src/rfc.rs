//! Blocks of addresses that RFCs set apart.

use crate::address::Address;

/// The number go-sockaddr gives to its list of blocks that routers must not
/// forward. It is no RFC, but templates can name it.
pub(crate) const NOT_FORWARDABLE: u64 = 4_294_967_295;

/// The RFC of special-purpose addresses, which stands for "private".
pub(crate) const SPECIAL_PURPOSE: u64 = 6890;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Address {
    Address::v4([a, b, c, d], prefix)
}

/// An IPv6 network given by its first three groups.
const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Address {
    Address::v6([a, b, c, 0, 0, 0, 0, 0], prefix)
}

const THIS_NETWORK: Address = v4(0, 0, 0, 0, 8);
const LOOPBACK: Address = v4(127, 0, 0, 0, 8);
const PRIVATE_10: Address = v4(10, 0, 0, 0, 8);
const PRIVATE_172: Address = v4(172, 16, 0, 0, 12);
const PRIVATE_192: Address = v4(192, 168, 0, 0, 16);
const SHARED: Address = v4(100, 64, 0, 0, 10);
const LINK_LOCAL: Address = v4(169, 254, 0, 0, 16);
const PROTOCOL_ASSIGNMENTS: Address = v4(192, 0, 0, 0, 24);
const CONTINUITY: Address = v4(192, 0, 0, 0, 29);
const TEST_1: Address = v4(192, 0, 2, 0, 24);
const TEST_2: Address = v4(198, 51, 100, 0, 24);
const TEST_3: Address = v4(203, 0, 113, 0, 24);
const RELAY_ANYCAST: Address = v4(192, 88, 99, 0, 24);
const BENCHMARKING: Address = v4(198, 18, 0, 0, 15);
const MULTICAST: Address = v4(224, 0, 0, 0, 4);
const RESERVED: Address = v4(240, 0, 0, 0, 4);
const BROADCAST: Address = v4(255, 255, 255, 255, 32);

const UNSPECIFIED_6: Address = v6(0, 0, 0, 128);
const LOOPBACK_6: Address = Address::v6([0, 0, 0, 0, 0, 0, 0, 1], 128);
const COMPATIBLE_6: Address = v6(0, 0, 0, 96);
const MAPPED_6: Address = Address::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const TRANSLATION_6: Address = v6(0x64, 0xff9b, 0, 96);
const DISCARD_6: Address = v6(0x100, 0, 0, 64);
/// RFC 2928 sets apart 2001::/23. go-sockaddr takes the whole /16, and counts
/// with it much of the global address space as private.
const ASSIGNMENTS_6: Address = v6(0x2001, 0, 0, 16);
const SIX_TO_FOUR: Address = v6(0x2002, 0, 0, 16);
const UNIQUE_LOCAL_6: Address = v6(0xfc00, 0, 0, 7);
const LINK_LOCAL_6: Address = v6(0xfe80, 0, 0, 10);
const DOCUMENTATION_6: Address = v6(0x2001, 0xdb8, 0, 32);
const ORCHID_6: Address = v6(0x2001, 0x10, 0, 28);
const RELAY_ANYCAST_6: Address = v6(0x2002, 0xc058, 0x6301, 120);
const SITE_LOCAL_6: Address = v6(0xfec0, 0, 0, 10);
const MULTICAST_6: Address = v6(0xff00, 0, 0, 8);
const TEREDO_6: Address = v6(0x2001, 0, 0, 32);
const ASSIGNED_6: Address = v6(0x2001, 0, 0, 23);
const BENCHMARKING_6: Address = v6(0x2001, 0x200, 0, 48);

/// The blocks RFC `number` sets apart, as go-sockaddr lists them.
pub(crate) const fn blocks(number: u64) -> Option<&'static [Address]> {
    Some(match number {
        919 => &[BROADCAST],
        1112 | 3171 => &[MULTICAST],
        1122 => &[THIS_NETWORK, LOOPBACK],
        1918 => &[PRIVATE_10, PRIVATE_172, PRIVATE_192],
        2544 => &[BENCHMARKING],
        2765 | 4038 => &[MAPPED_6],
        2928 => &[ASSIGNMENTS_6],
        3056 => &[SIX_TO_FOUR],
        3068 => &[RELAY_ANYCAST, RELAY_ANYCAST_6],
        3330 => &[
            THIS_NETWORK,
            PRIVATE_10,
            LOOPBACK,
            LINK_LOCAL,
            PRIVATE_172,
            TEST_1,
            RELAY_ANYCAST,
            PRIVATE_192,
            BENCHMARKING,
            MULTICAST,
            RESERVED,
        ],
        3849 => &[DOCUMENTATION_6],
        3927 => &[LINK_LOCAL],
        4193 => &[UNIQUE_LOCAL_6],
        4291 => &[
            UNSPECIFIED_6,
            LOOPBACK_6,
            COMPATIBLE_6,
            MAPPED_6,
            LINK_LOCAL_6,
            SITE_LOCAL_6,
            MULTICAST_6,
        ],
        4380 => &[TEREDO_6],
        4773 => &[ASSIGNED_6],
        4843 => &[ORCHID_6],
        5180 => &[BENCHMARKING_6],
        5735 => &[TEST_1, TEST_2, TEST_3, BENCHMARKING],
        5737 => &[TEST_1, TEST_2, TEST_3],
        6052 => &[TRANSLATION_6],
        6333 | 7335 => &[CONTINUITY],
        6598 => &[SHARED],
        6666 => &[DISCARD_6],
        SPECIAL_PURPOSE => &[
            THIS_NETWORK,
            PRIVATE_10,
            SHARED,
            LOOPBACK,
            LINK_LOCAL,
            PRIVATE_172,
            PROTOCOL_ASSIGNMENTS,
            CONTINUITY,
            TEST_1,
            RELAY_ANYCAST,
            PRIVATE_192,
            BENCHMARKING,
            TEST_2,
            TEST_3,
            RESERVED,
            BROADCAST,
            LOOPBACK_6,
            UNSPECIFIED_6,
            TRANSLATION_6,
            MAPPED_6,
            DISCARD_6,
            ASSIGNMENTS_6,
            SIX_TO_FOUR,
            UNIQUE_LOCAL_6,
            LINK_LOCAL_6,
        ],
        NOT_FORWARDABLE => &[
            THIS_NETWORK,
            LOOPBACK,
            LINK_LOCAL,
            PROTOCOL_ASSIGNMENTS,
            TEST_1,
            TEST_2,
            TEST_3,
            RESERVED,
            BROADCAST,
            LOOPBACK_6,
            UNSPECIFIED_6,
            MAPPED_6,
            DOCUMENTATION_6,
            ORCHID_6,
            LINK_LOCAL_6,
        ],
        _ => return None,
    })
}

/// Whether one of `blocks` holds the whole network of `address`.
pub(crate) fn any_contains(blocks: &[Address], address: Address) -> bool {
    blocks.iter().any(|block| block.contains(address))
}

/// Whether RFC 6890 sets the address apart, as go-sockaddr reads it.
pub(crate) fn is_special_purpose(address: Address) -> bool {
    blocks(SPECIAL_PURPOSE).is_some_and(|blocks| any_contains(blocks, address))
}

/// Whether routers may forward the address.
pub(crate) fn is_forwardable(address: Address) -> bool {
    !blocks(NOT_FORWARDABLE).is_some_and(|blocks| any_contains(blocks, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every list of go-sockaddr 1.0.2, as it prints it. IPv4 mapped into IPv6
    /// prints as IPv4.
    const LISTS: &str = "\
919: 255.255.255.255
1112: 224.0.0.0/4
1122: 0.0.0.0/8 127.0.0.0/8
1918: 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16
2544: 198.18.0.0/15
2765: 0.0.0.0/96
2928: 2001::/16
3056: 2002::/16
3068: 192.88.99.0/24 2002:c058:6301::/120
3171: 224.0.0.0/4
3330: 0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
3849: 2001:db8::/32
3927: 169.254.0.0/16
4038: 0.0.0.0/96
4193: fc00::/7
4291: :: ::1 ::/96 0.0.0.0/96 fe80::/10 fec0::/10 ff00::/8
4380: 2001::/32
4773: 2001::/23
4843: 2001:10::/28
5180: 2001:200::/48
5735: 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 198.18.0.0/15
5737: 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24
6052: 64:ff9b::/96
6333: 192.0.0.0/29
6598: 100.64.0.0/10
6666: 100::/64
6890: 0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255 ::1 :: 64:ff9b::/96 0.0.0.0/96 100::/64 2001::/16 2002::/16 fc00::/7 fe80::/10
7335: 192.0.0.0/29
4294967295: 0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255 ::1 :: 0.0.0.0/96 2001:db8::/32 2001:10::/28 fe80::/10";

    #[test]
    fn lists_are_those_of_go_sockaddr() {
        let mut known = 0;
        for line in LISTS.lines() {
            let (number, expected) = line.split_once(": ").unwrap();
            let blocks = blocks(number.parse().unwrap()).unwrap();
            let got: Vec<String> = blocks.iter().map(Address::to_string).collect();
            assert_eq!(got.join(" "), expected, "RFC {number}");
            known += 1;
        }
        let all = (0..10_000)
            .filter(|&number| blocks(number).is_some())
            .count();
        assert_eq!(all + 1, known, "and there are no others");
    }
}
