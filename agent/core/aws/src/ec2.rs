//! EC2's Query API: instances by tag.

use crate::{ADDRESSES_MAX, AddrType, Refusal};
use roxmltree::{Document, Node, ParsingOptions};

/// The permission that the call takes.
pub const PERMISSION: &str = "ec2:DescribeInstances";

/// The type of the body.
pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Elements of an answer that are looked at; an answer that claims to hold more is refused.
const NODES_MAX: u32 = 2_000_000;

/// The body of a request for the running instances with a tag. `next` is the mark that the answer
/// before gave.
pub fn describe_instances(tag_key: &str, tag_value: &str, next: Option<&str>) -> String {
    let name = format!("tag:{tag_key}");
    let mut pairs = vec![
        ("Action", "DescribeInstances"),
        ("Version", "2016-11-15"),
        ("Filter.1.Name", name.as_str()),
        ("Filter.1.Value.1", tag_value),
        ("Filter.2.Name", "instance-state-name"),
        ("Filter.2.Value.1", "running"),
    ];
    pairs.extend(next.map(|mark| ("NextToken", mark)));
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", encoded(k), encoded(v)))
        .collect();
    pairs.join("&")
}

/// Percent-encoding that leaves RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// An instance of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its addresses of the kind that was asked for. Most have one.
    pub addresses: Vec<String>,
}

/// What an answer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// The instances.
    pub all: Vec<Instance>,
    /// The mark for the rest of them.
    pub next: Option<String>,
}

fn document(body: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions {
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(body, options).map_err(|e| format!("the answer is no XML: {e}"))
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|c| c.tag_name().name() == name)
}

fn text<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim)
}

/// The items of a list below a node.
fn items<'a>(node: Node<'a, 'a>, list: &str) -> impl Iterator<Item = Node<'a, 'a>> {
    let list = child(node, list).into_iter();
    list.flat_map(|l| l.children().filter(|c| c.tag_name().name() == "item"))
}

/// Reads the answer to [`describe_instances`].
///
/// # Errors
/// It is none.
pub fn instances(body: &str, addr_type: AddrType) -> Result<Instances, String> {
    let document = document(body)?;
    let root = document.root_element();
    if root.tag_name().name() != "DescribeInstancesResponse" {
        return Err(format!(
            "the answer is no list of instances but {}",
            root.tag_name().name()
        ));
    }
    let mut out = Instances {
        next: text(root, "nextToken")
            .filter(|t| !t.is_empty())
            .map(String::from),
        ..Instances::default()
    };
    let instances = items(root, "reservationSet").flat_map(|r| items(r, "instancesSet"));
    for instance in instances.take(ADDRESSES_MAX) {
        let one = |name| text(instance, name).into_iter().collect::<Vec<_>>();
        let addresses = match addr_type {
            AddrType::PrivateV4 => one("privateIpAddress"),
            AddrType::PublicV4 => one("ipAddress"),
            AddrType::PublicV6 => items(instance, "networkInterfaceSet")
                .flat_map(|nic| items(nic, "ipv6AddressesSet"))
                .filter_map(|address| text(address, "ipv6Address"))
                .collect(),
        };
        out.all.push(Instance {
            id: text(instance, "instanceId").unwrap_or_default().to_owned(),
            // What is no address would be looked up as a name.
            addresses: addresses
                .into_iter()
                .filter(|a| a.parse::<std::net::IpAddr>().is_ok())
                .map(String::from)
                .collect(),
        });
    }
    Ok(out)
}

/// Reads an answer that is a refusal.
pub fn refusal(status: u16, body: &str) -> Refusal {
    let read = || {
        let document = document(body).ok()?;
        let error = document
            .descendants()
            .find(|n| n.tag_name().name() == "Error")?;
        Some((
            text(error, "Code")?.to_owned(),
            text(error, "Message").unwrap_or_default().to_owned(),
        ))
    };
    let (code, message) = read().unwrap_or_else(|| {
        let shown: String = body.chars().take(200).collect();
        ("unexpected answer".to_owned(), shown)
    });
    Refusal {
        status,
        code,
        message,
        permission: PERMISSION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r</requestId>
  <reservationSet>
    <item><reservationId>r-1</reservationId><instancesSet>
      <item><instanceId>i-1</instanceId><privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>203.0.113.1</ipAddress>
        <networkInterfaceSet>
          <item><ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address></item><item><ipv6Address>2001:db8::2</ipv6Address></item></ipv6AddressesSet></item>
          <item><ipv6AddressesSet><item><ipv6Address>2001:db8::3</ipv6Address></item></ipv6AddressesSet></item>
        </networkInterfaceSet></item>
      <item><instanceId>i-2</instanceId><privateIpAddress>10.0.0.2</privateIpAddress></item>
    </instancesSet></item>
    <item><reservationId>r-2</reservationId><instancesSet>
      <item><instanceId>i-3</instanceId><privateIpAddress>not an address</privateIpAddress></item>
    </instancesSet></item>
  </reservationSet>
  <nextToken>more</nextToken>
</DescribeInstancesResponse>"#;

    fn all(addr_type: AddrType) -> Vec<String> {
        let all = instances(ANSWER, addr_type).unwrap().all;
        all.into_iter().flat_map(|i| i.addresses).collect()
    }

    #[test]
    fn instances_have_addresses_of_three_kinds() {
        assert_eq!(all(AddrType::PrivateV4), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(all(AddrType::PublicV4), ["203.0.113.1"]);
        assert_eq!(
            all(AddrType::PublicV6),
            ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
        );
        let read = instances(ANSWER, AddrType::PrivateV4).unwrap();
        assert_eq!(read.next.as_deref(), Some("more"));
        assert_eq!(read.all.len(), 3);
    }

    #[test]
    fn the_request_is_a_form() {
        assert_eq!(
            describe_instances("a b", "c&d", None),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aa%20b&Filter.1.Value.1=c%26d&Filter.2.Name=instance-state-name&Filter.2.Value.1=running"
        );
        assert!(describe_instances("a", "b", Some("x=")).ends_with("&NextToken=x%3D"));
    }

    #[test]
    fn refusals_are_read() {
        let body = "<?xml version=\"1.0\"?>\n<Response><Errors><Error><Code>AuthFailure</Code><Message>AWS was not able to validate</Message></Error></Errors><RequestID>x</RequestID></Response>";
        let got = refusal(401, body);
        assert_eq!((got.code.as_str(), got.status), ("AuthFailure", 401));
        assert_eq!(refusal(502, "Bad gateway").message, "Bad gateway");
        assert!(instances("<html/>", AddrType::PrivateV4).is_err());
        assert!(instances("nonsense", AddrType::PrivateV4).is_err());
    }

    proptest! {
        #[test]
        fn damaged_answers_are_errors_and_no_panics(at in 0..ANSWER.len(), with in any::<u8>()) {
            let mut bytes = ANSWER.as_bytes().to_vec();
            bytes[at] = with;
            let text = String::from_utf8_lossy(&bytes);
            let _ = instances(&text, AddrType::PublicV6);
            let _ = refusal(500, &text);
        }
    }
}
