//! Which container this process runs in.

/// The id of the container of this process, as far as its mounts tell. Docker mounts the files
/// `hostname`, `hosts` and `resolv.conf` from a folder that has the id as its name.
pub fn container_id() -> Option<String> {
    id_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Finds a container's id in the text of `/proc/self/mountinfo`.
pub fn id_in(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        // Fields: id, parent, device, root, mount point, ...
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if !matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let id = root
            .split('/')
            .find(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some(id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_in_the_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let text = format!(
            "700 600 0:50 / / rw - overlay overlay rw\n701 700 254:1 /var/lib/docker/containers/{id}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(id_in(&text), Some(id.clone()));
        let host = format!(
            "30 1 254:1 / / rw - ext4 /dev/vda rw\n40 30 0:50 /containers/{id} /mnt/x rw - overlay overlay rw\n"
        );
        assert_eq!(id_in(&host), None);
    }
}
