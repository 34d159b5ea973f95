//! DNS messages: the questions that the client asks and what it takes from the answers (pure).

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::IpAddr;

/// An SRV record, with the addresses of its target as far as the answer gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
    pub addresses: Vec<IpAddr>,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// Records, at least one.
    Found(Vec<T>),
    /// There is no such name, or nothing of that kind at it.
    Nothing,
    /// It was cut short: ask again over TCP.
    Truncated,
}

/// The bytes of a question. UDP answers of up to 1232 bytes are welcome, which passes everywhere.
pub fn question(id: u16, name: &str, kind: RecordType) -> Result<Vec<u8>, String> {
    let full = format!("{}.", name.trim_end_matches('.'));
    let name = Name::from_ascii(&full).map_err(|err| format!("{name:?} is no name: {err}"))?;
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().map_err(|err| err.to_string())
}

/// Whether the bytes are an answer to the question with this number.
pub fn belongs(bytes: &[u8], id: u16) -> bool {
    bytes.len() >= 12 && bytes[..2] == id.to_be_bytes() && bytes[2] & 0x80 != 0
}

fn decode(bytes: &[u8]) -> Result<Answer<Message>, String> {
    let message = Message::from_vec(bytes).map_err(|err| format!("not a DNS message: {err}"))?;
    if message.metadata.truncation {
        return Ok(Answer::Truncated);
    }
    match message.metadata.response_code {
        ResponseCode::NoError => Ok(Answer::Found(vec![message])),
        ResponseCode::NXDomain => Ok(Answer::Nothing),
        code => Err(format!("the resolver answered {code}")),
    }
}

fn some<T>(list: Vec<T>) -> Answer<T> {
    if list.is_empty() {
        Answer::Nothing
    } else {
        Answer::Found(list)
    }
}

fn address_of(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    }
}

/// The SRV records of an answer, those of the best priority only.
pub fn read_srv(bytes: &[u8]) -> Result<Answer<Srv>, String> {
    let message = match decode(bytes)? {
        Answer::Found(mut messages) => match messages.pop() {
            Some(message) => message,
            None => return Ok(Answer::Nothing),
        },
        Answer::Nothing => return Ok(Answer::Nothing),
        Answer::Truncated => return Ok(Answer::Truncated),
    };
    let mut found: Vec<Srv> = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        .map(|srv| Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
            addresses: message
                .additionals
                .iter()
                .filter(|record| record.name == srv.target)
                .filter_map(|record| address_of(&record.data))
                .collect(),
        })
        .collect();
    let best = found.iter().map(|s| s.priority).min();
    found.retain(|s| Some(s.priority) == best);
    Ok(some(found))
}

/// The addresses of an answer.
pub fn read_addresses(bytes: &[u8]) -> Result<Answer<IpAddr>, String> {
    Ok(match decode(bytes)? {
        Answer::Found(messages) => some(
            messages
                .iter()
                .flat_map(|m| &m.answers)
                .filter_map(|r| address_of(&r.data))
                .collect(),
        ),
        Answer::Nothing => Answer::Nothing,
        Answer::Truncated => Answer::Truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SRV};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn answer(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut m = Message::new(7, MessageType::Response, OpCode::Query);
        edit(&mut m);
        m.to_vec().unwrap()
    }

    #[test]
    fn a_question_asks_what_it_should() {
        let bytes = question(7, "v1.web.service.consul", RecordType::SRV).unwrap();
        let m = Message::from_vec(&bytes).unwrap();
        assert_eq!(
            (m.metadata.id, m.queries[0].query_type()),
            (7, RecordType::SRV)
        );
        assert_eq!(m.queries[0].name().to_ascii(), "v1.web.service.consul.");
        assert_eq!(m.max_payload(), 1232);
        assert!(!belongs(&bytes, 7), "a question is no answer");
        let reply = answer(|_| {});
        assert!(belongs(&reply, 7) && !belongs(&reply, 8) && !belongs(&reply[..5], 7));
        assert!(question(1, &"a".repeat(70), RecordType::A).is_err());
    }

    #[test]
    fn srv_records_come_with_their_addresses_and_the_best_priority_wins() {
        let bytes = answer(|m| {
            for (priority, port, target) in [
                (2, 1, "far.node."),
                (1, 80, "n1.node."),
                (1, 81, "n2.node."),
            ] {
                let srv = SRV::new(priority, 3, port, name(target));
                m.add_answer(Record::from_rdata(
                    name("web.service.consul."),
                    0,
                    RData::SRV(srv),
                ));
            }
            m.add_additional(Record::from_rdata(
                name("N1.node."),
                0,
                RData::A(A::new(10, 0, 0, 1)),
            ));
        });
        let Answer::Found(found) = read_srv(&bytes).unwrap() else {
            panic!()
        };
        let short: Vec<_> = found
            .iter()
            .map(|s| (s.port, s.weight, s.addresses.clone()))
            .collect();
        assert_eq!(
            short,
            [(80, 3, vec!["10.0.0.1".parse().unwrap()]), (81, 3, vec![])]
        );
        assert_eq!(found[1].target, "n2.node.");
    }

    #[test]
    fn nothing_cut_and_refused_are_told_apart() {
        let coded = |code| answer(|m| m.metadata.response_code = code);
        assert_eq!(
            read_srv(&coded(ResponseCode::NXDomain)),
            Ok(Answer::Nothing)
        );
        assert_eq!(read_srv(&coded(ResponseCode::NoError)), Ok(Answer::Nothing));
        assert!(read_srv(&coded(ResponseCode::Refused)).is_err());
        assert_eq!(
            read_addresses(&answer(|m| m.metadata.truncation = true)),
            Ok(Answer::Truncated)
        );
        assert!(read_addresses(b"short").is_err());
    }
}
