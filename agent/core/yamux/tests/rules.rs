//! The rules of the protocol, frame by frame.

use std::time::Duration;

use bytes::Bytes;
use lictor_yamux::{
    Code, End, Event, Flags, HALF_CLOSED_TIMEOUT, Header, HeaderError, KEEP_ALIVE, Kind, Limits,
    MAX_CONTROL, MAX_UNACKNOWLEDGED, OPEN_TIMEOUT, OpenError, PING_TIMEOUT, Role, STALL_TIMEOUT,
    Session, StreamError, StreamId, WINDOW,
};

const NOW: Duration = Duration::from_secs(1000);

fn session(role: Role) -> Session {
    Session::new(role, Limits::default(), NOW)
}

fn frame(kind: Kind, flags: u16, stream: u32, length: u32) -> [u8; 12] {
    let flags = Flags(flags);
    Header {
        kind,
        flags,
        stream,
        length,
    }
    .encode()
}

fn data(stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(Kind::Data, 0, stream, body.len() as u32).to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// All that waits, as frames with their bodies.
fn output(session: &mut Session) -> Vec<(Header, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        session.poll_output(NOW, &mut bytes, 65_536);
        session.progress(NOW, true);
        if bytes.len() == before {
            break;
        }
    }
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let header = Header::decode(*head).expect("ours");
        let length = match header.kind {
            Kind::Data => header.length as usize,
            _ => 0,
        };
        let (body, after) = after.split_at(length);
        frames.push((header, body.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    frames
}

fn headers(session: &mut Session) -> Vec<[u8; 12]> {
    output(session).iter().map(|(h, _)| h.encode()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// A server with stream 1 accepted and everything sent.
fn with_stream() -> (Session, StreamId) {
    let mut server = session(Role::Server);
    server
        .handle_bytes(NOW, &frame(Kind::Window, 1, 1, 0))
        .expect("opened");
    let id = server.accept().expect("it waits");
    output(&mut server);
    events(&mut server);
    (server, id)
}

#[test]
fn a_request_of_a_real_client_and_its_answer() {
    let mut server = session(Role::Server);
    let mut input = frame(Kind::Window, 1, 1, 0).to_vec();
    input.extend_from_slice(&data(1, &[7; 200]));
    server.handle_bytes(NOW, &input).expect("well-formed");
    assert_eq!(
        events(&mut server),
        [Event::Incoming, Event::Readable(StreamId(1))]
    );
    assert_eq!(headers(&mut server).len(), 0, "nothing before accept");
    assert_eq!(server.accept(), Some(StreamId(1)));
    assert_eq!(server.accept(), None);
    let mut read = Vec::new();
    let got = server.read_into(StreamId(1), &mut read).expect("there");
    assert_eq!((read, got.bytes, got.end), (vec![7; 200], 200, false));
    server
        .write(StreamId(1), Bytes::from_static(b"reply"))
        .expect("open");
    let frames = output(&mut server);
    assert_eq!(frames[0].0.encode(), frame(Kind::Window, 2, 1, 0), "ACK");
    assert_eq!(frames[1].0.encode(), frame(Kind::Data, 0, 1, 5));
    assert_eq!(frames[1].1, b"reply");
    assert_eq!(events(&mut server), [Event::Sent(StreamId(1))]);
}

#[test]
fn own_streams_count_in_twos() {
    for (role, numbers) in [(Role::Client, [1, 3, 5]), (Role::Server, [2, 4, 6])] {
        let mut session = session(role);
        for number in numbers {
            assert_eq!(session.open_stream(NOW), Ok(StreamId(number)));
        }
        let opened = headers(&mut session);
        assert_eq!(opened[0], frame(Kind::Window, 1, numbers[0], 0));
        assert_eq!(opened.len(), 3);
    }
}

#[test]
fn credit_comes_while_data_arrives() {
    let (mut server, id) = with_stream();
    let mut read = Vec::new();
    let part = vec![1; WINDOW as usize / 4];
    server.handle_bytes(NOW, &data(1, &part)).expect("allowed");
    server.read_into(id, &mut read).expect("there");
    assert!(output(&mut server).is_empty(), "a quarter is not enough");
    server.handle_bytes(NOW, &data(1, &part)).expect("allowed");
    assert!(output(&mut server).is_empty(), "nor is half, unread");
    server.read_into(id, &mut read).expect("there");
    assert_eq!(
        headers(&mut server),
        [frame(Kind::Window, 0, 1, WINDOW / 2)]
    );
}

#[test]
fn the_window_is_the_receivers_and_the_senders_limit() {
    let (mut server, id) = with_stream();
    // The sender stops at the window,
    server
        .write(id, vec![9; WINDOW as usize + 1000].into())
        .expect("open");
    let sent: usize = output(&mut server).iter().map(|f| f.1.len()).sum();
    assert_eq!(sent, WINDOW as usize);
    assert_eq!(server.queued(id), 1000);
    assert_eq!(events(&mut server), []);
    // and goes on with credit.
    server
        .handle_bytes(NOW, &frame(Kind::Window, 0, 1, 999))
        .expect("credit");
    let sent: usize = output(&mut server).iter().map(|f| f.1.len()).sum();
    assert_eq!((sent, server.queued(id)), (999, 1));
    server
        .handle_bytes(NOW, &frame(Kind::Window, 0, 1, 999))
        .expect("credit");
    output(&mut server);
    assert_eq!(events(&mut server), [Event::Sent(id)]);

    // The receiver ends the session one byte beyond, by the header alone.
    server
        .handle_bytes(NOW, &data(1, &vec![0; WINDOW as usize]))
        .expect("a window");
    let end = server.handle_bytes(NOW, &frame(Kind::Data, 0, 1, 1));
    assert_eq!(end, Err(End::Window(1)));
    assert_eq!(
        headers(&mut server),
        [Header::go_away(Code::Protocol).encode()]
    );
    assert_eq!(server.handle_bytes(NOW, &[0; 12]), Err(End::Window(1)));
}

#[test]
fn a_length_that_lies_takes_nothing() {
    for stream in [1, 77] {
        let (mut server, _) = with_stream();
        let end = server.handle_bytes(NOW, &frame(Kind::Data, 0, stream, u32::MAX));
        assert_eq!(end, Err(End::Window(stream)));
    }
}

#[test]
fn larger_windows_may_be_given_at_the_start() {
    let mut server = session(Role::Server);
    server
        .handle_bytes(NOW, &frame(Kind::Window, 1, 1, 1 << 20))
        .expect("opened");
    let id = server.accept().expect("it waits");
    server.write(id, vec![0; 4 << 20].into()).expect("open");
    let sent: usize = output(&mut server).iter().map(|f| f.1.len()).sum();
    assert_eq!(sent, (1 << 20) + WINDOW as usize);
}

#[test]
fn streams_take_turns() {
    let mut client = session(Role::Client);
    let a = client.open_stream(NOW).expect("opened");
    let b = client.open_stream(NOW).expect("opened");
    client.write(a, vec![1; 200_000].into()).expect("open");
    client.write(b, vec![2; 100].into()).expect("open");
    let order: Vec<u32> = output(&mut client)
        .iter()
        .filter(|f| f.0.kind == Kind::Data)
        .map(|f| f.0.stream)
        .collect();
    assert_eq!(order[..3], [1, 3, 1]);
}

#[test]
fn pings_are_answered_and_asked() {
    let mut server = session(Role::Server);
    server
        .handle_bytes(NOW, &frame(Kind::Ping, 1, 0, 0xabcd))
        .expect("a question");
    assert_eq!(headers(&mut server), [frame(Kind::Ping, 2, 0, 0xabcd)]);
    assert_eq!(server.poll_timeout(), NOW + KEEP_ALIVE);

    let asked = NOW + KEEP_ALIVE;
    server
        .handle_timeout(asked - Duration::from_nanos(1))
        .expect("early");
    assert!(output(&mut server).is_empty());
    server.handle_timeout(asked).expect("asks");
    assert_eq!(headers(&mut server), [frame(Kind::Ping, 1, 0, 1)]);
    server.progress(asked, true);
    assert_eq!(server.poll_timeout(), asked + PING_TIMEOUT);
    let answered = asked + PING_TIMEOUT - Duration::from_secs(1);
    server
        .handle_bytes(answered, &frame(Kind::Ping, 2, 0, 1))
        .expect("an answer");
    assert!(output(&mut server).is_empty(), "an answer to none");
    assert_eq!(server.poll_timeout(), answered + KEEP_ALIVE);

    let asked = answered + KEEP_ALIVE;
    server.handle_timeout(asked).expect("asks again");
    output(&mut server);
    server.progress(asked, true);
    let end = server.handle_timeout(asked + PING_TIMEOUT);
    assert_eq!(end, Err(End::KeepAlive));
}

#[test]
fn output_that_stalls_ends_the_session() {
    let (mut server, id) = with_stream();
    server.write(id, vec![0; 1000].into()).expect("open");
    let mut out = Vec::new();
    server.poll_output(NOW, &mut out, 65_536);
    assert_eq!(server.poll_timeout(), NOW + STALL_TIMEOUT);
    let later = NOW + STALL_TIMEOUT / 2;
    server.progress(later, false);
    server
        .handle_timeout(NOW + STALL_TIMEOUT)
        .expect("some has left");
    let end = server.handle_timeout(later + STALL_TIMEOUT);
    assert_eq!(end, Err(End::Stalled));
}

#[test]
fn streams_that_are_not_taken_end_the_session() {
    let mut client = session(Role::Client);
    client.open_stream(NOW).expect("opened");
    output(&mut client);
    let mut now;
    loop {
        now = client.poll_timeout();
        // The other side lives, and answers pings.
        match client.handle_timeout(now) {
            Ok(()) => {
                output(&mut client);
                client
                    .handle_bytes(now, &frame(Kind::Ping, 2, 0, 1))
                    .expect("an answer");
            }
            Err(end) => {
                assert_eq!(end, End::Unacknowledged);
                break;
            }
        }
    }
    assert!(now >= NOW + OPEN_TIMEOUT && now < NOW + OPEN_TIMEOUT + Duration::from_secs(30));
}

#[test]
fn half_closed_streams_are_reset_in_the_end() {
    let (mut server, id) = with_stream();
    server.close(id, NOW);
    assert_eq!(headers(&mut server), [frame(Kind::Window, 4, 1, 0)]);
    ends_in_a_reset(server, id);
    // So are those whose last bytes nobody takes.
    let (mut server, id) = with_stream();
    let all = vec![0; WINDOW as usize + 1];
    server.write(id, all.into()).expect("open");
    server.close(id, NOW);
    output(&mut server);
    ends_in_a_reset(server, id);
}

fn ends_in_a_reset(mut server: Session, id: StreamId) {
    let mut now = NOW;
    while server.streams() > 0 {
        now = server.poll_timeout();
        server
            .handle_bytes(now, &frame(Kind::Ping, 2, 0, 0))
            .expect("it lives");
        server.handle_timeout(now).expect("no reason to end");
        assert!(now < NOW + HALF_CLOSED_TIMEOUT * 2);
    }
    assert!(now >= NOW + HALF_CLOSED_TIMEOUT);
    assert_eq!(events(&mut server), [Event::Reset(id)]);
    assert!(headers(&mut server).contains(&frame(Kind::Window, 8, 1, 0)));
}

#[test]
fn each_side_ends_its_own_direction() {
    let (mut server, id) = with_stream();
    let mut input = data(1, b"last words");
    input.extend_from_slice(&frame(Kind::Window, 4, 1, 0));
    server.handle_bytes(NOW, &input).expect("closed");
    assert_eq!(
        events(&mut server),
        [Event::Readable(id), Event::Closed(id)]
    );
    let mut read = Vec::new();
    let got = server.read_into(id, &mut read).expect("there");
    assert_eq!((&read[..], got.end), (&b"last words"[..], true));
    server
        .write(id, Bytes::from_static(b"answer"))
        .expect("still open");
    server.close_write(id, NOW);
    assert_eq!(server.write(id, Bytes::new()), Err(StreamError::Closed));
    let frames = output(&mut server);
    assert_eq!(frames[0].1, b"answer");
    assert_eq!(
        frames[1].0.encode(),
        frame(Kind::Window, 4, 1, 0),
        "then FIN"
    );
    assert_eq!(server.streams(), 0);
    assert_eq!(server.read_into(id, &mut read), Err(StreamError::Gone));
}

#[test]
fn the_end_comes_after_the_body_of_its_frame() {
    let (mut server, id) = with_stream();
    server
        .handle_bytes(NOW, &frame(Kind::Data, 4, 1, 4))
        .expect("a header");
    server.handle_bytes(NOW, b"ab").expect("half");
    let mut read = Vec::new();
    assert!(!server.read_into(id, &mut read).expect("there").end);
    server.handle_bytes(NOW, b"cd").expect("the rest");
    assert!(server.read_into(id, &mut read).expect("there").end);
    assert_eq!(read, b"abcd");
    let end = server.handle_bytes(NOW, &data(1, b"x"));
    assert_eq!(end, Err(End::Window(1)), "nothing after the end");
}

#[test]
fn closed_streams_read_no_more() {
    let (mut server, id) = with_stream();
    server.close(id, NOW);
    output(&mut server);
    server
        .handle_bytes(NOW, &data(1, &vec![0; WINDOW as usize]))
        .expect("allowed, and nobody's");
    assert!(output(&mut server).is_empty(), "no credit");
    assert_eq!(events(&mut server), []);
    server
        .handle_bytes(NOW, &frame(Kind::Window, 4, 1, 0))
        .expect("closed");
    assert_eq!(server.streams(), 0);
}

#[test]
fn resets_drop_what_waits() {
    let (mut server, id) = with_stream();
    server.write(id, vec![0; 5000].into()).expect("open");
    server.handle_bytes(NOW, &data(1, b"unread")).expect("data");
    server
        .handle_bytes(NOW, &frame(Kind::Window, 8, 1, 0))
        .expect("reset");
    assert_eq!(events(&mut server), [Event::Readable(id), Event::Reset(id)]);
    assert!(output(&mut server).is_empty());
    assert_eq!(server.write(id, Bytes::new()), Err(StreamError::Gone));
    // What was under way for it is let pass.
    server.handle_bytes(NOW, &data(1, b"late")).expect("late");
    assert_eq!(events(&mut server), []);

    let (mut server, id) = with_stream();
    server.write(id, vec![0; 5000].into()).expect("open");
    server.reset(id);
    assert_eq!(headers(&mut server), [frame(Kind::Window, 8, 1, 0)]);
}

#[test]
fn too_many_waiting_streams_are_reset() {
    let mut server = session(Role::Server);
    for i in 0..258 {
        server
            .handle_bytes(NOW, &frame(Kind::Window, 1, 2 * i + 1, 0))
            .expect("opened");
    }
    assert_eq!(
        headers(&mut server),
        [
            frame(Kind::Window, 8, 513, 0),
            frame(Kind::Window, 8, 515, 0)
        ]
    );
    assert_eq!(server.streams(), 256);
    server.accept().expect("it waits");
    server
        .handle_bytes(NOW, &frame(Kind::Window, 1, 517, 0))
        .expect("opened");
    assert_eq!(server.streams(), 257);
    // A stream that is reset while it waits leaves its place.
    server
        .handle_bytes(NOW, &frame(Kind::Window, 8, 517, 0))
        .expect("reset");
    server
        .handle_bytes(NOW, &frame(Kind::Window, 1, 519, 0))
        .expect("opened");
    assert_eq!(std::iter::from_fn(|| server.accept()).count(), 256);
}

#[test]
fn too_many_streams_are_reset() {
    let limits = Limits {
        max_streams: 2,
        ..Limits::default()
    };
    let mut server = Session::new(Role::Server, limits, NOW);
    for id in [1, 3, 5] {
        server
            .handle_bytes(NOW, &frame(Kind::Window, 1, id, 0))
            .expect("opened");
        server.accept();
    }
    assert_eq!(
        headers(&mut server)[2],
        frame(Kind::Window, 8, 5, 0),
        "the third"
    );
    assert_eq!(server.open_stream(NOW), Err(OpenError::TooMany));
}

#[test]
fn unread_bytes_are_bounded_over_all_streams() {
    let limits = Limits {
        max_unread: 10_000,
        ..Limits::default()
    };
    let mut server = Session::new(Role::Server, limits, NOW);
    for id in [1, 3] {
        let mut input = frame(Kind::Window, 1, id, 0).to_vec();
        input.extend_from_slice(&data(id, &[0; 6000]));
        server.handle_bytes(NOW, &input).expect("well-formed");
    }
    assert_eq!(server.streams(), 1);
    assert!(events(&mut server).contains(&Event::Reset(StreamId(3))));
    assert_eq!(headers(&mut server), [frame(Kind::Window, 8, 3, 0)]);
}

#[test]
fn own_streams_wait_until_others_are_taken() {
    let mut client = session(Role::Client);
    for _ in 0..MAX_UNACKNOWLEDGED {
        client.open_stream(NOW).expect("opened");
    }
    assert_eq!(client.open_stream(NOW), Err(OpenError::Backlog));
    client
        .handle_bytes(NOW, &frame(Kind::Window, 2, 1, 0))
        .expect("acknowledged");
    assert_eq!(events(&mut client), [Event::Acknowledged(StreamId(1))]);
    client.open_stream(NOW).expect("opened");
    client.reset(StreamId(3));
    client.open_stream(NOW).expect("opened");
    assert_eq!(client.open_stream(NOW), Err(OpenError::Backlog));
}

#[test]
fn go_away() {
    let (mut server, id) = with_stream();
    server.go_away(Code::Normal);
    server.go_away(Code::Normal);
    assert_eq!(
        headers(&mut server),
        [Header::go_away(Code::Normal).encode()]
    );
    assert_eq!(server.open_stream(NOW), Err(OpenError::Ended));
    server
        .handle_bytes(NOW, &frame(Kind::Window, 1, 3, 0))
        .expect("late");
    assert_eq!(headers(&mut server), [frame(Kind::Window, 8, 3, 0)]);
    server
        .write(id, Bytes::from_static(b"goes on"))
        .expect("open");
    assert_eq!(output(&mut server)[0].1, b"goes on");

    let mut client = session(Role::Client);
    client.open_stream(NOW).expect("opened");
    client
        .handle_bytes(NOW, &frame(Kind::GoAway, 0, 0, 0))
        .expect("no more streams");
    assert_eq!(events(&mut client), [Event::GoAway(Code::Normal)]);
    assert_eq!(client.open_stream(NOW), Err(OpenError::GoneAway));
    let end = client.handle_bytes(NOW, &frame(Kind::GoAway, 0, 0, 2));
    assert_eq!(end, Err(End::GoneAway(Code::Internal)));
}

#[test]
fn what_cannot_be_ends_the_session() {
    let cases: [(Vec<u8>, End); 6] = [
        (vec![1; 12], End::Header(HeaderError::Version(1))),
        (
            frame(Kind::Data, 0, 0, 0).map(|b| b).to_vec(),
            End::Stream(0),
        ),
        (frame(Kind::Window, 1, 2, 0).to_vec(), End::Stream(2)),
        (frame(Kind::Window, 1, 0, 0).to_vec(), End::Stream(0)),
        (frame(Kind::Window, 1, 1, 0).to_vec(), End::Stream(1)),
        (
            [&[0, 9][..], &[0; 10]].concat(),
            End::Header(HeaderError::Kind(9)),
        ),
    ];
    for (bytes, want) in cases {
        let (mut server, _) = with_stream();
        let got = server.handle_bytes(NOW, &bytes);
        if bytes == frame(Kind::Data, 0, 0, 0) {
            assert_eq!(got, Ok(()), "data of no length for no stream is nothing");
            continue;
        }
        assert_eq!(got, Err(want), "{bytes:?}");
        assert_eq!(server.ended(), Some(want));
        assert_eq!(
            headers(&mut server),
            [Header::go_away(Code::Protocol).encode()]
        );
        assert_eq!(server.handle_timeout(NOW), Err(want));
    }
}

#[test]
fn questions_without_taking_answers_end_the_session() {
    let mut server = session(Role::Server);
    let question = frame(Kind::Ping, 1, 0, 5);
    for _ in 0..MAX_CONTROL / 12 {
        server.handle_bytes(NOW, &question).expect("answered");
    }
    assert_eq!(server.handle_bytes(NOW, &question), Err(End::Overrun));
}

#[test]
fn clients_that_take_no_streams_reset_them() {
    let limits = Limits {
        backlog: 0,
        ..Limits::default()
    };
    let mut client = Session::new(Role::Client, limits, NOW);
    client
        .handle_bytes(NOW, &frame(Kind::Window, 1, 2, 0))
        .expect("refused");
    assert_eq!(headers(&mut client), [frame(Kind::Window, 8, 2, 0)]);
    assert_eq!(events(&mut client), []);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
}
