//! What a text with `provider=aws` asks for.

use crate::{Credentials, Text};

/// The service that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// Instances by their tags.
    #[default]
    Ec2,
    /// Tasks by their tags; those with interfaces of their own (`awsvpc`).
    Ecs,
}

impl Service {
    /// Its name in endpoints and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Ecs => "ecs",
        }
    }
}

/// Which address of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddrType {
    /// The private one of version 4.
    #[default]
    PrivateV4,
    /// The public one of version 4.
    PublicV4,
    /// Those of version 6 on any of its interfaces.
    PublicV6,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The service.
    pub service: Service,
    /// The region, if it is given.
    pub region: Option<String>,
    /// The tag.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
    /// Which address.
    pub addr_type: AddrType,
    /// Credentials in the text itself.
    pub credentials: Option<Credentials>,
    /// Where the service answers, if it is not AWS's own place.
    pub endpoint: Option<String>,
    /// The cluster of ECS, by name or ARN; all if there is none.
    pub ecs_cluster: Option<String>,
    /// The family of the tasks.
    pub ecs_family: Option<String>,
    /// What the log should say about the text.
    pub notes: Vec<String>,
}

/// The keys that have a meaning.
const KEYS: [&str; 12] = [
    "provider",
    "region",
    "tag_key",
    "tag_value",
    "addr_type",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "service",
    "ecs_cluster",
    "ecs_family",
    "endpoint",
];

impl Wish {
    /// Reads a text whose provider is `aws`. Values that are none of a key's are noted and the
    /// default is taken, as Consul does.
    pub fn read(text: &Text) -> Wish {
        let given = |key: &str| text.get(key).filter(|v| !v.is_empty()).map(String::from);
        let mut notes = Vec::new();
        for key in text.keys().filter(|key| !KEYS.contains(key)) {
            notes.push(format!("{key} is no key of provider=aws and has no effect"));
        }
        let service = match text.get("service") {
            None | Some("ec2") => Service::Ec2,
            Some("ecs") => Service::Ecs,
            Some(other) => {
                notes.push(format!("Service type {other} is not supported, using ec2"));
                Service::Ec2
            }
        };
        let addr_type = match text.get("addr_type") {
            None | Some("private_v4") => AddrType::PrivateV4,
            Some("public_v4") => AddrType::PublicV4,
            Some("public_v6") => AddrType::PublicV6,
            Some(other) => {
                notes.push(format!(
                    "Address type {other} is not supported. Valid values are {{private_v4,public_v4,public_v6}}. Falling back to 'private_v4'"
                ));
                AddrType::PrivateV4
            }
        };
        let addr_type = if service == Service::Ecs && addr_type != AddrType::PrivateV4 {
            notes.push("Tasks of ECS have private addresses only, using private_v4".to_owned());
            AddrType::PrivateV4
        } else {
            addr_type
        };
        let keys = [given("access_key_id"), given("secret_access_key")];
        let credentials = match keys {
            [Some(access_key_id), Some(secret_access_key)] => Some(Credentials {
                access_key_id,
                secret_access_key,
                session_token: given("session_token"),
            }),
            [None, None] => None,
            _ => {
                notes.push(
                    "access_key_id and secret_access_key go together: both are left out of account"
                        .to_owned(),
                );
                None
            }
        };
        Wish {
            service,
            region: given("region"),
            tag_key: given("tag_key").unwrap_or_default(),
            tag_value: given("tag_value").unwrap_or_default(),
            addr_type,
            credentials,
            endpoint: given("endpoint"),
            ecs_cluster: given("ecs_cluster"),
            ecs_family: given("ecs_family"),
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Wish {
        Wish::read(&Text::parse(text).unwrap())
    }

    #[test]
    fn a_text_becomes_a_wish() {
        let wish = read(
            "provider=aws region=eu-west-1 tag_key=a tag_value=b addr_type=public_v6 access_key_id=k secret_access_key=\"s=\" endpoint=http://x",
        );
        assert_eq!(wish.region.as_deref(), Some("eu-west-1"));
        assert_eq!((wish.tag_key.as_str(), wish.tag_value.as_str()), ("a", "b"));
        assert_eq!(wish.addr_type, AddrType::PublicV6);
        assert_eq!(wish.credentials.unwrap().secret_access_key, "s=");
        assert_eq!(wish.endpoint.as_deref(), Some("http://x"));
        assert!(wish.notes.is_empty(), "{:?}", wish.notes);
    }

    #[test]
    fn strange_values_are_noted_and_replaced() {
        let wish = read("provider=aws addr_type=public service=s3 access_key_id=k tagkey=x");
        assert_eq!(wish.addr_type, AddrType::PrivateV4);
        assert_eq!((wish.service, wish.credentials), (Service::Ec2, None));
        assert_eq!(wish.notes.len(), 4, "{:?}", wish.notes);
    }
}
