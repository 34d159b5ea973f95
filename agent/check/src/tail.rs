//! The part of an output that is kept.

use std::collections::VecDeque;

/// Keeps the last bytes of what is written, however much that is. What comes out is valid UTF-8 of
/// at most `limit` bytes: a character cut by the limit is left out, bytes that are no UTF-8 become
/// U+FFFD.
#[derive(Debug)]
pub struct Tail {
    limit: usize,
    total: u64,
    kept: VecDeque<u8>,
}

impl Tail {
    /// Keeps at most `limit` bytes (at least one).
    pub fn new(limit: usize) -> Tail {
        Tail {
            limit: limit.max(1),
            total: 0,
            kept: VecDeque::new(),
        }
    }

    /// Takes more output in.
    pub fn write(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(self.limit);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
    }

    /// How many bytes were written in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether something was left out.
    pub fn is_cut(&self) -> bool {
        self.total > self.limit as u64
    }

    /// What is kept.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let start = if self.is_cut() {
            bytes
                .iter()
                .take(3)
                .take_while(|b| **b & 0xc0 == 0x80)
                .count()
        } else {
            0
        };
        let mut text = String::from_utf8_lossy(&bytes[start..]).into_owned();
        // A replacement character is longer than the byte it stands for.
        if text.len() > self.limit {
            let cut = text.ceil_char_boundary(text.len() - self.limit);
            text.drain(..cut);
        }
        text
    }

    /// What is kept, and how much was left out if anything was. Consul's form for scripts.
    pub fn text_with_note(&self) -> String {
        let text = self.text();
        if !self.is_cut() {
            return text;
        }
        format!(
            "Captured {} of {} bytes\n...\n{text}",
            self.limit, self.total
        )
    }
}

/// Keeps the beginning of a text and says how much that is, as Consul does with the notes of TTL
/// checks. `limit` counts bytes; a character that does not fit is left out.
pub fn keep_head(mut text: String, limit: usize) -> String {
    let total = text.len();
    if total > limit {
        text.truncate(text.floor_char_boundary(limit));
        let kept = text.len();
        text.push_str(&format!(" ... (captured {kept} of {total} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(limit: usize, parts: &[&[u8]]) -> Tail {
        let mut t = Tail::new(limit);
        parts.iter().for_each(|p| t.write(p));
        t
    }

    #[test]
    fn the_last_bytes_stay() {
        assert_eq!(tail(4, &[b"ab", b"cd"]).text_with_note(), "abcd");
        assert_eq!(
            tail(4, &[b"ab", b"cde"]).text_with_note(),
            "Captured 4 of 5 bytes\n...\nbcde"
        );
        assert_eq!(tail(4, &[b"x", b"abcdefgh"]).text(), "efgh");
        assert_eq!(tail(4, &[b"abcdefgh", b"x"]).text(), "fghx");
        assert_eq!(tail(4, &[]).text_with_note(), "");
        assert_eq!(tail(0, &[b"ab"]).text(), "b");
    }

    #[test]
    fn a_cut_character_is_left_out() {
        let text = "a\u{20ac}\u{1f600}z"; // 1 + 3 + 4 + 1 bytes
        for (limit, want) in [
            (1, "z"),
            (2, "z"),
            (4, "z"),
            (5, "\u{1f600}z"),
            (7, "\u{1f600}z"),
            (8, "\u{20ac}\u{1f600}z"),
            (9, text),
        ] {
            assert_eq!(tail(limit, &[text.as_bytes()]).text(), want, "{limit}");
            let one_by_one: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(tail(limit, &one_by_one).text(), want, "{limit}");
        }
    }

    #[test]
    fn what_is_no_text_becomes_text_within_the_limit() {
        assert_eq!(tail(8, &[b"a\xffb"]).text(), "a\u{fffd}b");
        assert_eq!(tail(8, &[b"\x80\x80"]).text(), "\u{fffd}\u{fffd}"); // not cut, so not left out
        for n in 1..40 {
            let t = tail(n, &[&[0xff; 100]]);
            assert!(t.text().len() <= n, "{n}");
        }
    }

    #[test]
    fn memory_does_not_grow_with_the_output() {
        let mut t = Tail::new(100);
        for _ in 0..10_000 {
            t.write(&[b'x'; 1000]);
        }
        assert_eq!(t.total(), 10_000_000);
        assert!(t.kept.capacity() <= 2_000, "{}", t.kept.capacity());
    }

    #[test]
    fn a_note_keeps_its_head() {
        assert_eq!(keep_head("abc".to_owned(), 3), "abc");
        assert_eq!(
            keep_head("abcd".to_owned(), 3),
            "abc ... (captured 3 of 4 bytes)"
        );
        assert_eq!(
            keep_head("ab\u{20ac}".to_owned(), 4),
            "ab ... (captured 2 of 5 bytes)"
        );
    }
}
