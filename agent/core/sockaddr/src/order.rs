//! Functions on the order and length of lists: `sort`, `unique`, `limit`,
//! `offset`, and `join`.

use std::cmp::Ordering;

use crate::interface::IfAddr;
use crate::limits;
use crate::quote::{quote, quote_ascii};
use crate::rfc::is_special_purpose;

/// How two addresses compare by one clause; equal defers to the next.
type Compare = fn(&IfAddr<'_>, &IfAddr<'_>) -> Ordering;

/// Clauses `sort` takes at most; there are only seven to choose from.
const MAX_CLAUSES: usize = 64;

/// Applies `sort`: clauses separated by commas, `-` before one reverses it.
pub(crate) fn sort<'a>(clauses: &str, list: &[IfAddr<'a>]) -> Result<Vec<IfAddr<'a>>, String> {
    let clauses = clauses
        .split(',')
        .map(parse_clause)
        .collect::<Result<Vec<_>, _>>()?;
    if clauses.len() > MAX_CLAUSES {
        return Err(format!("more than {MAX_CLAUSES} sort types"));
    }
    let mut sorted = list.to_vec();
    sort_by(&mut sorted, &|a, b| {
        clauses
            .iter()
            .map(|(compare, reverse)| {
                let order = compare(a, b);
                if *reverse { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    Ok(sorted)
}

fn parse_clause(clause: &str) -> Result<(Compare, bool), String> {
    let lower = clause.to_lowercase();
    let name = lower.trim();
    let (name, reverse) = match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name.strip_prefix('+').unwrap_or(name), false),
    };
    let compare: Compare = match name {
        "address" => by_address,
        "default" => by_default,
        "name" => |a, b| a.interface.name.cmp(&b.interface.name),
        // No address of an interface has a port.
        "port" => |_, _| Ordering::Equal,
        "private" => by_private,
        "size" => by_size,
        "type" => |a, b| a.address.family.cmp(&b.address.family),
        _ => return Err(format!("unknown sort type: {}", quote(clause))),
    };
    Ok((compare, reverse))
}

/// Compares within a family only; across families the clause does not decide.
fn by_address(a: &IfAddr<'_>, b: &IfAddr<'_>) -> Ordering {
    if a.address.family == b.address.family {
        a.address.bits.cmp(&b.address.bits)
    } else {
        Ordering::Equal
    }
}

fn by_default(a: &IfAddr<'_>, b: &IfAddr<'_>) -> Ordering {
    b.interface
        .is_default_route
        .cmp(&a.interface.is_default_route)
}

/// Larger networks first, within a family only.
fn by_size(a: &IfAddr<'_>, b: &IfAddr<'_>) -> Ordering {
    if a.address.family == b.address.family {
        a.address.prefix.cmp(&b.address.prefix)
    } else {
        Ordering::Equal
    }
}

/// What RFC 6890 sets apart first.
///
/// Across families go-sockaddr looks at the first address only, so that this
/// is no consistent order; the sorting below has to cope with that.
fn by_private(a: &IfAddr<'_>, b: &IfAddr<'_>) -> Ordering {
    let first = is_special_purpose(a.address);
    if a.address.family != b.address.family {
        return if first {
            Ordering::Less
        } else {
            Ordering::Equal
        };
    }
    is_special_purpose(b.address).cmp(&first)
}

/// The order in which addresses are chosen: by family, then larger networks
/// first.
pub(crate) fn sort_by_type_and_size(list: &mut [IfAddr<'_>]) {
    sort_by(list, &|a, b| {
        a.address
            .family
            .cmp(&b.address.family)
            .then_with(|| by_size(a, b))
    });
}

/// The same with the default route's interface first.
pub(crate) fn sort_by_default_type_and_size(list: &mut [IfAddr<'_>]) {
    sort_by(list, &|a, b| {
        by_default(a, b)
            .then_with(|| a.address.family.cmp(&b.address.family))
            .then_with(|| by_size(a, b))
    });
}

/// Lists up to this length are sorted by insertion, as Go's `sort` does.
const INSERTION: usize = 12;

/// A stable sort that also copes with comparisons that contradict each other.
///
/// The order of mixed families depends on the algorithm, since some clauses do
/// not compare across families. Up to twelve addresses this is Go's insertion
/// sort, step by step; beyond that Go's order is not specified, and here runs
/// of twelve are merged. The standard library's sort may panic on such
/// comparisons.
fn sort_by<'a>(list: &mut [IfAddr<'a>], compare: &impl Fn(&IfAddr<'a>, &IfAddr<'a>) -> Ordering) {
    for run in list.chunks_mut(INSERTION) {
        for i in 1..run.len() {
            let mut j = i;
            while j > 0 && compare(&run[j], &run[j - 1]).is_lt() {
                run.swap(j, j - 1);
                j -= 1;
            }
        }
    }
    let mut width = INSERTION;
    while width < list.len() {
        for pair in list.chunks_mut(2 * width) {
            if pair.len() > width {
                merge(pair, width, compare);
            }
        }
        width *= 2;
    }
}

/// Merges the sorted halves before and after `middle`.
fn merge<'a>(
    list: &mut [IfAddr<'a>],
    middle: usize,
    compare: &impl Fn(&IfAddr<'a>, &IfAddr<'a>) -> Ordering,
) {
    let copy = list.to_vec();
    let (left, right) = copy.split_at(middle);
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    for slot in list {
        let from_right = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => compare(b, a).is_lt(),
            (None, _) => true,
            (_, None) => false,
        };
        let next = if from_right {
            right.next()
        } else {
            left.next()
        };
        if let Some(next) = next {
            *slot = *next;
        }
    }
}

/// Applies `unique`: drops what repeats its predecessor.
pub(crate) fn unique<'a>(selector: &str, list: &[IfAddr<'a>]) -> Result<Vec<IfAddr<'a>>, String> {
    let text = |item: &IfAddr<'_>| match selector.to_lowercase().as_str() {
        "address" => Ok(item.address.to_string()),
        "name" => Ok(item.interface.name.clone()),
        _ => Err(format!(
            "unsupported unique constraint {}",
            quote_ascii(selector)
        )),
    };
    let mut last = String::new();
    let mut kept = Vec::new();
    for item in list {
        let text = text(item)?;
        if last.is_empty() || last != text {
            kept.push(*item);
            last = text;
        }
    }
    Ok(kept)
}

/// Applies `limit`: at most so many from the start.
pub(crate) fn limit<'a>(count: u64, list: &[IfAddr<'a>]) -> Vec<IfAddr<'a>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    list[..count.min(list.len())].to_vec()
}

/// Applies `offset`: drops so many from the start, or for a negative count
/// keeps so many at the end.
pub(crate) fn offset<'a>(count: i64, list: &[IfAddr<'a>]) -> Result<Vec<IfAddr<'a>>, String> {
    let distance = count.unsigned_abs();
    let kept = usize::try_from(distance).ok().and_then(|distance| {
        let start = if count < 0 {
            list.len().checked_sub(distance)?
        } else {
            distance
        };
        list.get(start..)
    });
    kept.map(<[_]>::to_vec).ok_or_else(|| {
        format!(
            "unable to seek past the end of the interface array: \
             offset ({distance}) exceeds the number of interfaces ({})",
            list.len()
        )
    })
}

/// Applies `join`: an attribute of every address, with a separator between.
pub(crate) fn join(
    attribute: &str,
    separator: &str,
    list: &[IfAddr<'_>],
) -> Result<String, String> {
    let mut joined = String::new();
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item.attribute(attribute)?);
        if joined.len() > limits::TEXT {
            return Err(limits::too_much_text());
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::interface::{Interface, all};

    #[test]
    fn long_lists_are_sorted_stably() {
        // Every address four times, on interfaces that tell the copies apart.
        let interfaces: Vec<Interface> = (0..4)
            .map(|copy| Interface {
                index: copy,
                addresses: (0..100u8)
                    .map(|i| {
                        let scattered = i.wrapping_mul(37) % 100;
                        (IpAddr::V4(Ipv4Addr::new(10, 0, 0, scattered)), 8)
                    })
                    .collect(),
                ..Interface::default()
            })
            .collect();
        let list = all(&interfaces);
        assert_eq!(list.len(), 400);
        let sorted = sort("address", &list).unwrap();
        let key = |item: &IfAddr<'_>| (item.address.bits, item.interface.index);
        assert!(sorted.is_sorted_by_key(key));
        let reversed = sort("-address", &list).unwrap();
        assert!(
            reversed.is_sorted_by_key(|item| (u128::MAX - item.address.bits, item.interface.index))
        );
    }

    #[test]
    fn contradicting_comparisons_lose_nothing() {
        let addresses = (0..60u8)
            .map(|i| match i % 3 {
                0 => (IpAddr::V4(Ipv4Addr::new(8, 8, 8, i)), 24),
                1 => (IpAddr::V4(Ipv4Addr::new(10, 0, 0, i)), 8),
                _ => ("fd00::1".parse().unwrap(), 64),
            })
            .collect();
        let interfaces = [Interface {
            addresses,
            ..Interface::default()
        }];
        let list = all(&interfaces);
        for clauses in ["private", "-private", "size,address", "-address,private"] {
            let mut sorted: Vec<u128> = sort(clauses, &list)
                .unwrap()
                .iter()
                .map(|item| item.address.bits)
                .collect();
            let mut expected: Vec<u128> = list.iter().map(|item| item.address.bits).collect();
            sorted.sort_unstable();
            expected.sort_unstable();
            assert_eq!(sorted, expected, "{clauses}");
        }
    }

    #[test]
    fn extremes_of_limit_and_offset() {
        let interfaces = [Interface {
            addresses: vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)],
            ..Interface::default()
        }];
        let list = all(&interfaces);
        assert_eq!(limit(u64::MAX, &list).len(), 1);
        assert_eq!(offset(1, &list).unwrap().len(), 0);
        assert_eq!(offset(-1, &list).unwrap().len(), 1);
        for count in [2, -2, i64::MAX, i64::MIN] {
            let error = offset(count, &list).unwrap_err();
            assert!(error.contains("number of interfaces (1)"), "{error}");
        }
    }

    #[test]
    fn joined_text_is_bounded() {
        let interfaces = [Interface {
            addresses: vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 8); 1000],
            ..Interface::default()
        }];
        let separator = " ".repeat(10_000);
        let error = join("address", &separator, &all(&interfaces)).unwrap_err();
        assert_eq!(error, limits::too_much_text());
    }
}
