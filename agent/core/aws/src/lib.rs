//! What AWS is asked and what its answers mean, as pure functions: the clock, the environment and
//! all bytes are arguments.
//!
//! [`Text`] reads `provider=aws tag_key=...` as Consul does, [`Wish`] is what it asks for.
//! [`credentials`] knows where keys may come from, [`ec2`] and [`ecs`] build the requests and read
//! the answers, [`sigv4`] signs them. [`notice`] reads what announces the end of an instance.

pub mod credentials;
pub mod ec2;
pub mod ecs;
pub mod notice;
pub mod sigv4;
mod text;
mod wish;

pub use credentials::Credentials;
pub use text::{Text, TextError};
pub use wish::{AddrType, Service, Wish};

/// Addresses taken from one discovery. More than that helps nobody to join.
pub const ADDRESSES_MAX: usize = 1_000;

/// A refusal by one of AWS's services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message} (status code: {status}){}", hint(code, permission))]
pub struct Refusal {
    /// The code of HTTP.
    pub status: u16,
    /// AWS's code, as `UnauthorizedOperation`.
    pub code: String,
    /// AWS's words.
    pub message: String,
    /// The permission that the call takes, as `ec2:DescribeInstances`.
    pub permission: &'static str,
}

/// What usually mends a refusal.
fn hint(code: &str, permission: &str) -> String {
    match code {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            format!(": the role or user lacks the permission {permission}")
        }
        "RequestExpired" | "RequestInTheFuture" => {
            ": the clock of this machine is wrong".to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            ": the session of these credentials is over".to_owned()
        }
        "AuthFailure" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            ": AWS does not know these credentials, or not in this region".to_owned()
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            ": the secret key does not belong to the access key, or the clock is wrong".to_owned()
        }
        _ => String::new(),
    }
}

/// Where a service of a region answers. AWS has partitions with domains of their own; for others
/// than these two `endpoint` has to be given.
///
/// # Errors
/// The region has characters that no region has.
pub fn endpoint(service: Service, region: &str) -> Result<String, String> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if region.is_empty() || region.len() > 32 || !region.bytes().all(good) {
        return Err(format!("{region:?} is no region of AWS"));
    }
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    Ok(format!("https://{}.{region}.{domain}", service.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_endpoints() {
        let ec2 = |region| endpoint(Service::Ec2, region);
        assert_eq!(
            ec2("eu-west-1").unwrap(),
            "https://ec2.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            ec2("cn-north-1").unwrap(),
            "https://ec2.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(
            endpoint(Service::Ecs, "us-gov-west-1").unwrap(),
            "https://ecs.us-gov-west-1.amazonaws.com"
        );
        for bad in ["", "evil.example/", "eu west", "a@b"] {
            assert!(ec2(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_say_what_mends_them() {
        let refusal = Refusal {
            status: 403,
            code: "UnauthorizedOperation".into(),
            message: "You are not authorized.".into(),
            permission: ec2::PERMISSION,
        };
        assert_eq!(
            refusal.to_string(),
            "UnauthorizedOperation: You are not authorized. (status code: 403): the role or user lacks the permission ec2:DescribeInstances"
        );
    }
}
