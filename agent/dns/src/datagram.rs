//! Datagrams that are answered from the address they were sent to.
//!
//! A socket on the wildcard address hears whatever is sent to any address of the host, but the
//! kernel picks the source of an answer by its route alone: a container that asks the host by the
//! address of another network would get the answer from an address it did not ask, and drop it.
//! So the destination of each question is read (`IP_PKTINFO`, RFC 3542) and made the source of
//! its answer. Sockets on one address need none of this.

use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;

/// The address of ours that a datagram was sent to, where it has to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local(IpAddr);

/// A UDP socket that knows whether it has to care.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    everywhere: bool,
}

impl Datagrams {
    /// Takes a bound socket.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Datagrams> {
        let everywhere =
            socket.local_addr()?.ip().is_unspecified() && system::tell_destination(&socket)?;
        Ok(Datagrams { socket, everywhere })
    }

    /// Waits until there may be a datagram.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Reads a datagram if there is one.
    pub(crate) fn try_recv(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        if self.everywhere {
            return self.socket.try_io(tokio::io::Interest::READABLE, || {
                system::receive(&self.socket, buffer)
            });
        }
        self.socket
            .try_recv_from(buffer)
            .map(|(length, from)| (length, from, None))
    }

    /// Sends a datagram, after waiting for room if there is none.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<Local>,
    ) -> io::Result<()> {
        let Some(from) = from else {
            if let Err(error) = self.socket.try_send_to(bytes, to)
                && error.kind() == io::ErrorKind::WouldBlock
            {
                self.socket.send_to(bytes, to).await?;
            }
            return Ok(());
        };
        let interest = tokio::io::Interest::WRITABLE;
        self.socket
            .async_io(interest, || system::send(&self.socket, bytes, to, from))
            .await
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::Local;
    use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, SockRef};
    use std::io::{self, IoSlice};
    use std::mem::{MaybeUninit, size_of};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;
    use tokio::net::UdpSocket;

    /// The parts of a control message's header (cmsg(3)): length, level, type.
    const LEVEL_AT: usize = size_of::<usize>();
    const TYPE_AT: usize = LEVEL_AT + 4;
    const DATA_AT: usize = TYPE_AT + 4;
    /// `in_pktinfo`: interface, local address, address in the header.
    const V4_SIZE: usize = 12;
    /// `in6_pktinfo`: address, interface.
    const V6_SIZE: usize = 20;

    /// Room for one control message, aligned as the kernel wants it.
    #[repr(align(8))]
    pub(super) struct Control(pub(super) [u8; 64]);

    /// Asks the kernel to tell the destination of each datagram.
    pub(super) fn tell_destination(socket: &UdpSocket) -> io::Result<bool> {
        let (level, option) = match socket.local_addr()? {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads
        // no more than `size` bytes, which is the size of `on`.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                size,
            )
        };
        if done == 0 {
            Ok(true)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The same bytes for a call that only writes to them.
    fn for_writing(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
        let length = bytes.len();
        // SAFETY: same pointer, length and lifetime, and `MaybeUninit<u8>` has the layout of `u8`.
        // Nobody writes uninitialised bytes through it: it goes to recvmsg alone, and what the
        // kernel writes is initialised.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), length) }
    }

    pub(super) fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        let mut control = Control([0; 64]);
        // Filled in by the kernel: an address of the socket's own family has the length of this.
        let mut from = SockAddr::from(socket.local_addr()?);
        let mut parts = [MaybeUninitSlice::new(for_writing(buffer))];
        let mut message = MsgHdrMut::new()
            .with_addr(&mut from)
            .with_buffers(&mut parts)
            .with_control(for_writing(&mut control.0));
        let length = SockRef::from(socket).recvmsg(&mut message, 0)?;
        let used = message.control_len().min(control.0.len());
        let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((length, from, read(&control.0[..used])))
    }

    pub(super) fn send(
        socket: &UdpSocket,
        bytes: &[u8],
        to: SocketAddr,
        from: Local,
    ) -> io::Result<()> {
        let mut control = Control([0; 64]);
        let used = write(&mut control, from);
        let to = SockAddr::from(to);
        let parts = [IoSlice::new(bytes)];
        let message = MsgHdr::new()
            .with_addr(&to)
            .with_buffers(&parts)
            .with_control(&control.0[..used]);
        SockRef::from(socket).sendmsg(&message, 0).map(|_| ())
    }

    fn number(bytes: &[u8], at: usize) -> Option<i32> {
        Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }

    /// The destination in the first control message: no other is asked for.
    pub(super) fn read(control: &[u8]) -> Option<Local> {
        let data = control.get(DATA_AT..)?;
        match (number(control, LEVEL_AT)?, number(control, TYPE_AT)?) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let ip: [u8; 4] = data.get(4..8)?.try_into().ok()?;
                Some(Local(IpAddr::V4(Ipv4Addr::from(ip))))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip: [u8; 16] = data.get(..16)?.try_into().ok()?;
                Some(Local(IpAddr::V6(Ipv6Addr::from(ip))))
            }
            _ => None,
        }
    }

    /// Writes the control message that sets the source, and gives its length with padding.
    pub(super) fn write(control: &mut Control, from: Local) -> usize {
        let (level, kind, size) = match from.0 {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, V4_SIZE),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, V6_SIZE),
        };
        let bytes = &mut control.0;
        bytes[..LEVEL_AT].copy_from_slice(&(DATA_AT + size).to_ne_bytes());
        bytes[LEVEL_AT..TYPE_AT].copy_from_slice(&level.to_ne_bytes());
        bytes[TYPE_AT..DATA_AT].copy_from_slice(&kind.to_ne_bytes());
        // The interface stays zero: the route decides it.
        match from.0 {
            IpAddr::V4(ip) => bytes[DATA_AT + 4..DATA_AT + 8].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes[DATA_AT..DATA_AT + 16].copy_from_slice(&ip.octets()),
        }
        (DATA_AT + size).next_multiple_of(size_of::<usize>())
    }
}

/// Elsewhere the kernel's choice of the source has to do.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::Local;
    use std::io;
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    pub(super) fn tell_destination(_: &UdpSocket) -> io::Result<bool> {
        Ok(false)
    }

    pub(super) fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        socket
            .try_recv_from(buffer)
            .map(|(length, from)| (length, from, None))
    }

    pub(super) fn send(
        socket: &UdpSocket,
        bytes: &[u8],
        to: SocketAddr,
        _: Local,
    ) -> io::Result<()> {
        socket.try_send_to(bytes, to).map(|_| ())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::system::{Control, read, write};
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for ip in ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"] {
            let local = Local(ip.parse().unwrap());
            let mut control = Control([0; 64]);
            let used = write(&mut control, local);
            assert_eq!(read(&control.0[..used]), Some(local));
            for length in 0..16 {
                assert_eq!(read(&control.0[..length]), None);
            }
        }
    }

    async fn exchange(bind: &str, ask_at: &str) -> bool {
        let server = Datagrams::new(UdpSocket::bind(bind).await.unwrap()).unwrap();
        let port = server.socket.local_addr().unwrap().port();
        let client = UdpSocket::bind(if ask_at.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        })
        .await
        .unwrap();
        // Hears this address alone.
        client.connect(format!("{ask_at}:{port}")).await.unwrap();
        client.send(b"question").await.unwrap();
        let mut buffer = [0; 100];
        let (length, from, local) = loop {
            server.readable().await.unwrap();
            if let Ok(got) = server.try_recv(&mut buffer) {
                break got;
            }
        };
        assert_eq!(
            (&buffer[..length], from.port()),
            (&b"question"[..], client.local_addr().unwrap().port())
        );
        server.send(b"answer", from, local).await.unwrap();
        let wait = std::time::Duration::from_secs(2);
        matches!(
            tokio::time::timeout(wait, client.recv(&mut buffer)).await,
            Ok(Ok(6))
        )
    }

    #[tokio::test]
    async fn answers_come_from_where_the_question_went() {
        // The kernel would answer the second from 127.0.0.1.
        assert!(exchange("127.0.0.1:0", "127.0.0.1").await);
        assert!(exchange("0.0.0.0:0", "127.0.0.77").await);
        // A host without IPv6 has no such socket.
        if UdpSocket::bind("[::1]:0").await.is_ok() {
            assert!(exchange("[::]:0", "[::1]").await);
            assert!(exchange("[::]:0", "127.0.0.78").await);
        }
    }
}
