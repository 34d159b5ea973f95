//! LZW as in GIF with 8-bit literals: the only compression there is.

use weezl::{BitOrder, LzwStatus};

use super::PacketError;

/// Compresses; always ends with the end code, without which readers refuse the stream.
#[must_use]
pub fn compress(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 2 + 16);
    // Writing into memory cannot fail, and 8-bit literals cannot be out of range.
    let result = weezl::encode::Encoder::new(BitOrder::Lsb, 8)
        .into_vec(&mut out)
        .encode_all(data);
    debug_assert!(result.status.is_ok());
    out
}

/// Decompresses at most `limit` bytes.
///
/// # Errors
/// Malformed, without an end, or larger than the limit.
pub fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, PacketError> {
    const STEP: usize = 16 << 10;
    let mut decoder = weezl::decode::Decoder::new(BitOrder::Lsb, 8);
    let mut out = Vec::new();
    let mut filled = 0;
    let mut rest = data;
    loop {
        if filled == out.len() {
            if filled > limit {
                return Err(PacketError::TooLarge);
            }
            // One byte past the limit is enough to notice.
            out.resize(filled + (limit + 1 - filled).min(STEP), 0);
        }
        let step = decoder.decode_bytes(rest, &mut out[filled..]);
        rest = &rest[step.consumed_in.min(rest.len())..];
        filled += step.consumed_out;
        match step.status {
            Ok(LzwStatus::Done) => break,
            Ok(LzwStatus::Ok) if step.consumed_in > 0 || step.consumed_out > 0 => {}
            // No progress: the input ended without the end code.
            Ok(LzwStatus::Ok | LzwStatus::NoProgress) | Err(_) => {
                return Err(PacketError::Compression);
            }
        }
    }
    if filled > limit {
        return Err(PacketError::TooLarge);
    }
    out.truncate(filled);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, unhex};
    use proptest::prelude::*;

    const SMALL: [(&str, &str); 5] = [
        ("", "000302"),
        ("a", "00c30404"),
        ("aaaa", "00c3080c1310"),
        (
            "hello hello hello hello",
            "00d19461c3e60d0881040d222c787060c180",
        ),
        (
            "TOBEORNOTTOBEORTOBEORNOT",
            "00a93c1152e48914274fa80824687061c183090302",
        ),
    ];

    #[test]
    fn small_streams_of_the_reference_writer() {
        for (text, stream) in SMALL {
            assert_eq!(
                decompress(&unhex(stream), 100).unwrap(),
                text.as_bytes(),
                "{text}"
            );
            assert_eq!(hex(&compress(text.as_bytes())), stream, "{text}");
        }
    }

    #[test]
    fn without_the_end_code_it_is_an_error() {
        let whole = compress(b"hello hello hello hello");
        for len in 0..whole.len() - 1 {
            assert!(decompress(&whole[..len], 1000).is_err(), "{len}");
        }
    }

    #[test]
    fn the_limit_holds() {
        let bomb = compress(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4000);
        assert_eq!(decompress(&bomb, (1 << 20) - 1), Err(PacketError::TooLarge));
        assert_eq!(decompress(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn long_streams_cross_table_resets() {
        let mut x = 1_u32;
        let noise: Vec<u8> = (0..100_000)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect();
        let curve: Vec<u8> = (0..100_000_u64)
            .map(|i| ((i * i + i / 7) % 251) as u8)
            .collect();
        for data in [noise, curve, vec![0; 4096]] {
            assert_eq!(decompress(&compress(&data), data.len()).unwrap(), data);
        }
    }

    proptest! {
        #[test]
        fn round_trip(data: Vec<u8>) {
            prop_assert_eq!(decompress(&compress(&data), data.len()).unwrap(), data);
        }

        #[test]
        fn hostile_streams_stay_within_the_limit(data: Vec<u8>, limit in 0_usize..4096) {
            if let Ok(out) = decompress(&data, limit) {
                prop_assert!(out.len() <= limit);
            }
        }
    }
}
