//! The test's own networks and disks: what they are told to do wrong, they do wrong.

use lictor_tests::Folder;
use lictor_tests::netns::{Net, Place, SmallDisk};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

fn socket(place: &Place) -> UdpSocket {
    let address = SocketAddr::from((place.address(), 7_000));
    let socket = place.enter(|| UdpSocket::bind(address)).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a limit");
    socket
}

/// How many of `count` packets arrive.
fn arrive(from: &UdpSocket, to: &UdpSocket, count: usize) -> usize {
    let target = to.local_addr().expect("its address");
    let mut buffer = [0; 8];
    let mut arrived = 0;
    for _ in 0..count {
        from.send_to(b"x", target).expect("sent");
        // At most one is under way, so nothing is lost for want of room. The last of a wait
        // in vain is counted by the next.
        arrived += usize::from(to.recv(&mut buffer).is_ok());
    }
    arrived
}

#[test]
fn faults_do_what_they_say() {
    let net = Net::new();
    let (a, b, c) = (net.machine(1), net.machine(2), net.machine(3));
    let (sa, sb, sc) = (socket(&a), socket(&b), socket(&c));
    assert_eq!(arrive(&sa, &sb, 3), 3);

    net.cut_one_way(&a, &b);
    assert_eq!((arrive(&sa, &sb, 2), arrive(&sb, &sa, 2)), (0, 2));
    net.heal();
    assert_eq!(arrive(&sa, &sb, 2), 2);

    net.cut(&[&a], &[&b]);
    assert_eq!((arrive(&sa, &sb, 1), arrive(&sb, &sa, 1)), (0, 0));
    assert_eq!((arrive(&sa, &sc, 2), arrive(&sc, &sb, 2)), (2, 2));
    net.heal();
    net.isolate(&c);
    assert_eq!((arrive(&sa, &sc, 1), arrive(&sc, &sb, 1)), (0, 0));
    assert_eq!(arrive(&sa, &sb, 2), 2);
    net.heal();

    // Half of 200: fewer than 50 or more than 150 come once in 10^12 runs.
    for socket in [&sa, &sb] {
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .expect("a limit");
    }
    net.lose(50);
    let arrived = arrive(&sa, &sb, 200);
    assert!((50..150).contains(&arrived), "{arrived}");
}

#[test]
fn rules_follow_an_address() {
    let net = Net::new();
    let (a, b) = (net.machine(1), net.machine(2));
    let sb = socket(&b);
    net.cut(&[&a], &[&b]);
    a.move_to(Ipv4Addr::new(10, 99, 7, 1));
    let sa = socket(&a);
    assert_eq!(arrive(&sa, &sb, 1), 0);
    net.heal();
    assert_eq!(arrive(&sa, &sb, 2), 2);
}

#[test]
fn nothing_is_left_after_a_panic() {
    let name = Mutex::new(PathBuf::new());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let net = Net::new();
        *name.lock().expect("the name") = net.machine(1).namespace();
        panic!("on purpose");
    }));
    assert!(result.is_err());
    let name = name.into_inner().expect("the name");
    assert!(name.starts_with("/run/netns") && !name.exists());
}

#[test]
fn a_small_disk_is_full_soon() {
    let folder = Folder::new();
    let disk = SmallDisk::mount(&folder.join("disk"), 1 << 20);
    let filler = disk.fill();
    assert!(std::fs::write(disk.path().join("more"), [0; 5_000]).is_err());
    std::fs::remove_file(filler).expect("removed");
    std::fs::write(disk.path().join("more"), [0; 5_000]).expect("room again");
}
