//! Users and groups by name, from the files that hold them. The C library is not asked: in a static
//! binary it could only read the same files.

/// The number of an account: `who` itself when it is one, else looked up in the text of
/// `/etc/passwd` or `/etc/group` (name first, number third, separated by colons).
pub(crate) fn id_of(who: &str, file: &str) -> Option<u32> {
    if let Ok(number) = who.parse() {
        return Some(number);
    }
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == who)
            .then(|| fields.nth(1)?.trim().parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nshort\nconsul:x:100:1000::/:/sbin/nologin\n";

    #[test]
    fn names_and_numbers() {
        assert_eq!(id_of("root", PASSWD), Some(0));
        assert_eq!(id_of("consul", PASSWD), Some(100));
        assert_eq!(id_of("4711", PASSWD), Some(4711));
        assert_eq!(id_of("nobody", PASSWD), None);
        assert_eq!(id_of("short", PASSWD), None);
        assert_eq!(id_of("", PASSWD), None);
    }
}
