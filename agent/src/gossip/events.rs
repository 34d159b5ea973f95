//! User events on the wire, as Consul's agents send them.
//!
//! An event of a user is the Serf event `consul:event:<name>`, whose payload is one msgpack map in
//! the newer form of that format (text of 32 bytes and more as str8, bytes as bin). A new leader
//! tells itself by `consul:new-leader`.

use super::driver::Heard;
use crate::agent::Shared;
use lictor_gossip::msgpack::{ReadError, Reader};
use lictor_wire::{Str, UserEvent};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events of users begin with this.
const USER: &str = "consul:event:";
/// A server tells that it leads now.
const NEW_LEADER: &str = "consul:new-leader";
/// Bytes of name and body together, before and after encoding (Serf's limit).
const SIZE_MAX: usize = 512;

/// Takes in what others, and we, fired.
pub async fn receive(shared: Arc<Shared>, mut heard: mpsc::Receiver<Heard>) {
    while let Some(event) = heard.recv().await {
        if let Some(name) = event.name.strip_prefix(USER) {
            match decode(&event.payload) {
                Ok(mut user) => {
                    user.ltime = event.ltime;
                    shared.events.receive(&shared, user);
                }
                Err(error) => {
                    tracing::error!(target: "agent", name, error = %error, "Failed to decode event");
                }
            }
        } else if event.name == NEW_LEADER {
            let leader = String::from_utf8_lossy(&event.payload);
            tracing::info!(target: "agent.server", payload = %leader, "New leader elected");
            if *leader != *shared.node_name {
                shared.gossip.server_up.send_modify(|n| *n += 1);
            }
        }
    }
}

/// Fires an event for all agents of the datacenter.
///
/// # Errors
/// It is too large, or this agent is leaving.
pub async fn fire(shared: &Shared, event: &UserEvent) -> Result<(), String> {
    if let Some(upstream) = shared.store.upstream() {
        // Servers decide who may.
        let sent = upstream.fire_event(&event.name, encode(event));
        return sent.await.map_err(|e| e.to_string());
    }
    fire_encoded(shared, &event.name, encode(event)).await
}

/// Fires an event whose body an agent has encoded.
///
/// # Errors
/// It is too large, or this agent is leaving.
pub async fn fire_encoded(shared: &Shared, name: &str, body: Vec<u8>) -> Result<(), String> {
    broadcast(shared, format!("{USER}{name}"), body).await
}

/// Tells all agents that this server leads.
pub async fn new_leader(shared: &Shared) {
    let name = shared.node_name.as_bytes().to_vec();
    if let Err(error) = broadcast(shared, NEW_LEADER.to_owned(), name).await {
        tracing::error!(target: "agent.server", error, "failed to broadcast new leader event");
    }
}

async fn broadcast(shared: &Shared, name: String, body: Vec<u8>) -> Result<(), String> {
    if name.len() + body.len() > SIZE_MAX {
        return Err(format!(
            "error broadcasting event: user event exceeds configured limit of {SIZE_MAX} bytes before encoding"
        ));
    }
    let fired = shared
        .gossip
        .lan()
        .with(move |core, now| core.fire_event(now, &name, &body, false));
    match fired.await {
        Some(Ok(_)) => Ok(()),
        Some(Err(lictor_gossip::serf::EventError::TooLarge { limit })) => Err(format!(
            "error broadcasting event: encoded user event exceeds configured limit of {limit} bytes after encoding"
        )),
        Some(Err(error)) => Err(format!("error broadcasting event: {error}")),
        None => Err("error broadcasting event: the agent is shutting down".to_owned()),
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Events are bounded by their packet: lengths beyond 16 bits are refused before they are sent.
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | u8::try_from(len).unwrap_or(0)),
        len @ 32..=255 => out.extend([0xd9, u8::try_from(len).unwrap_or(0)]),
        len => {
            out.push(0xda);
            out.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([0xc4, len]),
        Err(_) => {
            out.push(0xc5);
            out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend(bytes);
}

/// The body of an event.
fn encode(event: &UserEvent) -> Vec<u8> {
    let texts = [
        ("nf", &event.node_filter),
        ("sf", &event.service_filter),
        ("tf", &event.tag_filter),
    ];
    let mut keys = 3 + u8::from(!event.payload.is_empty());
    for (_, filter) in texts {
        keys += u8::from(!filter.is_empty());
    }
    let mut out = vec![0x80 | keys];
    text(&mut out, "ID");
    text(&mut out, &event.id);
    text(&mut out, "n");
    text(&mut out, &event.name);
    for (key, filter) in texts {
        if key == "sf" && !event.payload.is_empty() {
            text(&mut out, "p");
            bytes(&mut out, &event.payload);
        }
        if !filter.is_empty() {
            text(&mut out, key);
            text(&mut out, filter);
        }
    }
    text(&mut out, "v");
    out.push(0x01);
    out
}

fn decode(body: &[u8]) -> Result<UserEvent, ReadError> {
    let mut from = Reader::new(body);
    let mut event = UserEvent::default();
    for _ in 0..from.map()? {
        let key = from.raw()?;
        let into: &mut Str = match key {
            b"ID" => &mut event.id,
            b"n" => &mut event.name,
            b"nf" => &mut event.node_filter,
            b"sf" => &mut event.service_filter,
            b"tf" => &mut event.tag_filter,
            b"p" => {
                event.payload = Arc::from(from.raw()?);
                continue;
            }
            b"v" => {
                event.version = from.int()?;
                continue;
            }
            _ => {
                from.skip()?;
                continue;
            }
        };
        *into = Str::from(from.text()?);
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an agent of Consul sent it.
    const RECORDED: &str = "87a24944d92432336439323662622d396264342d653936652d376132632d373461383137623465663162a16ea66465706c6f79a26e66a3737276a170c40d68656c6c6f207061796c6f6164a27366a3776562a27466a27631a17601";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn a_recorded_body_is_read_and_written() {
        let body = unhex(RECORDED);
        let event = decode(&body).unwrap();
        assert_eq!(event.name, "deploy");
        assert_eq!(event.id, "23d926bb-9bd4-e96e-7a2c-74a817b4ef1b");
        assert_eq!(&event.payload[..], b"hello payload");
        assert_eq!(
            (
                &*event.node_filter,
                &*event.service_filter,
                &*event.tag_filter
            ),
            ("srv", "web", "v1")
        );
        assert_eq!(event.version, 1);
        assert_eq!(encode(&event), body);
    }

    #[test]
    fn what_is_not_there_is_not_sent_and_damage_is_an_error() {
        let bare = UserEvent {
            id: "u".into(),
            name: "x".repeat(40).into(),
            version: 1,
            ..UserEvent::default()
        };
        let body = encode(&bare);
        assert_eq!(body[0], 0x83);
        assert_eq!(decode(&body).unwrap(), bare);
        for cut in 0..body.len() {
            assert!(decode(&body[..cut]).is_err(), "{cut}");
        }
    }
}
